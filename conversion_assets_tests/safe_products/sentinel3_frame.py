"""Time, place and size of a Sentinel-3 OLCI Level-1 frame."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .clock import compact

LEAST_PIXELS: Final = 8
LEAST_TIE_CELLS: Final = 4
CENTRE_LATITUDE: Final = 43.5
CENTRE_LONGITUDE: Final = 9.5
SWATH_DEGREES: Final = 15.6
"""Longitudes that the swath of 1270 km spans at the centre."""

METRES_PER_DEGREE: Final = 111_200
ROW_SECONDS: Final = 0.044
"""Time between two rows of full resolution."""

REFERENCE_ORBIT: Final = 43210
REFERENCE_TIME: Final = datetime(2024, 6, 15, 9, 30, tzinfo=UTC)
ORBITS_PER_CYCLE: Final = 385
CYCLE: Final = timedelta(days=27)
CYCLE_NUMBER: Final = 113
RELATIVE_ORBIT: Final = 307
ALONG_TRACK: Final = 2160


@dataclass(frozen=True)
class Resolution:
    """Size of a real product.

    Args:
        grid: name of the resolution in the manifest.
        rows: along the track.
        columns: across the track.
        detectors: of the five cameras.
        tie_step: columns between two tie points.
        metres: distance of the rows.
    """

    grid: str
    rows: int
    columns: int
    detectors: int
    tie_step: int
    metres: int


RESOLUTIONS: Final = {
    "EFR": Resolution("Full Resolution", 4091, 4865, 3700, 64, 300),
    "ERR": Resolution("Reduced Resolution", 1217, 1217, 925, 16, 1200),
}


@dataclass(frozen=True)
class OlciFrame:
    """A frame over the western Mediterranean and the Alps, seen from a descending orbit.

    A small product shows the whole frame with coarser pixels.

    Args:
        kind: ``EFR`` or ``ERR``.
        start: time of the first row, UTC.
        unit: letter of the satellite.
        scale: size relative to a real product.
    """

    kind: str
    start: datetime
    unit: str
    scale: float

    @property
    def full(self) -> Resolution:
        """Size at scale 1."""
        return RESOLUTIONS[self.kind]

    @property
    def rows(self) -> int:
        """Rows of the images."""
        return self._scaled(self.full.rows)

    @property
    def tie_step(self) -> int:
        """Columns between two tie points."""
        return min(self.full.tie_step, self._scaled(self.full.columns) // LEAST_TIE_CELLS)

    @property
    def columns(self) -> int:
        """Columns of the images; the last one is a tie point."""
        return (self._scaled(self.full.columns) - 1) // self.tie_step * self.tie_step + 1

    @property
    def detectors(self) -> int:
        """Number of detectors."""
        return self._scaled(self.full.detectors)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the images."""
        return self.rows, self.columns

    @property
    def duration(self) -> timedelta:
        """Time from the first row to the last."""
        return timedelta(seconds=ROW_SECONDS * self.full.rows * self.full.metres / 300)

    @property
    def stop(self) -> datetime:
        """Time of the last row."""
        return self.start + self.duration

    @property
    def made(self) -> datetime:
        """Time of processing."""
        return self.start + timedelta(hours=26)

    @property
    def row_metres(self) -> int:
        """Distance of the rows."""
        return round(self.full.metres * self.full.rows / self.rows)

    @property
    def orbit(self) -> int:
        """Absolute orbit number."""
        return max(1, REFERENCE_ORBIT + round((self.start - REFERENCE_TIME) * ORBITS_PER_CYCLE / CYCLE))

    @property
    def name(self) -> str:
        """Name of the product, that of its folder."""
        period = f"{compact(self.start)}_{compact(self.stop)}_{compact(self.made)}"
        seconds = int(self.duration.total_seconds())
        frame = f"{seconds:04d}_{CYCLE_NUMBER:03d}_{RELATIVE_ORBIT:03d}_{ALONG_TRACK:04d}"
        return f"S3{self.unit}_OL_1_{self.kind}____{period}_{frame}_PS1_O_NT_004.SEN3"

    def latitude(self) -> NDArray[np.float64]:
        """Degrees north of every pixel."""
        down, across = self._position()
        height = self.full.rows * self.full.metres / METRES_PER_DEGREE
        return CENTRE_LATITUDE + height * (0.5 - down + 0.1 * (across - 0.5))

    def longitude(self) -> NDArray[np.float64]:
        """Degrees east of every pixel."""
        down, across = self._position()
        return CENTRE_LONGITUDE + SWATH_DEGREES * (across - 0.5 - 0.2 * (down - 0.5))

    def _position(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Place within the frame along and across the track, 0 to 1."""
        return np.linspace(0, 1, self.rows)[:, None], np.linspace(0, 1, self.columns)[None, :]

    def _scaled(self, full: int) -> int:
        return max(LEAST_PIXELS, round(full * self.scale))
