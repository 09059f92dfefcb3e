"""Time, place and size of a Sentinel-1 IW GRDH product."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from .clock import compact

FULL_LINES: Final = 16676
FULL_SAMPLES: Final = 26144
LEAST_LINES: Final = 16
LEAST_SAMPLES: Final = 24
PIXEL_SPACING: Final = 10.0
"""Metres, in a product of full size."""

DURATION: Final = timedelta(seconds=25)
DATA_TAKE: Final = "069C3D"
POLARISATIONS: Final = ("VV", "VH")
SLANT_RANGE_TIME: Final = 5.34e-3
"""Two-way seconds to the near edge."""

RANGE_SAMPLING_RATE: Final = 6.434523812571428e07
"""Hertz, in a product of full size."""

REFERENCE_ORBIT: Final = 54337
REFERENCE_TIME: Final = datetime(2024, 6, 15, 17, 15, tzinfo=UTC)
ORBITS_PER_CYCLE: Final = 175
CYCLE: Final = timedelta(days=12)
ORBIT_OFFSETS: Final = {"A": 73, "B": 27, "C": 172}
"""Absolute orbit at which the first relative orbit began, by satellite."""


@dataclass(frozen=True)
class GrdFrame:
    """A slice seen from an ascending orbit, from the Ligurian Sea to the Alps.

    A small product shows the whole frame with coarser pixels.

    Args:
        start: time of the first line, UTC.
        unit: letter of the satellite.
        scale: size relative to a real product.
    """

    start: datetime
    unit: str
    scale: float

    @property
    def lines(self) -> int:
        """Number of lines (azimuth)."""
        return max(LEAST_LINES, round(FULL_LINES * self.scale))

    @property
    def samples(self) -> int:
        """Number of samples in a line (range)."""
        return max(LEAST_SAMPLES, round(FULL_SAMPLES * self.scale))

    @property
    def line_interval(self) -> timedelta:
        """Time between two lines."""
        return DURATION / (self.lines - 1)

    @property
    def stop(self) -> datetime:
        """Time of the last line."""
        return self.start + DURATION

    @property
    def ascending_node(self) -> datetime:
        """Time at which the orbit crossed the equator."""
        return self.start - timedelta(minutes=12)

    @property
    def orbit(self) -> int:
        """Absolute orbit number, that of Sentinel-1A at this time."""
        passed = (self.start - REFERENCE_TIME) * ORBITS_PER_CYCLE / CYCLE
        return max(1, REFERENCE_ORBIT + round(passed))

    @property
    def relative_orbit(self) -> int:
        """Orbit within the repeat cycle, from 1."""
        return (self.orbit - ORBIT_OFFSETS[self.unit]) % ORBITS_PER_CYCLE + 1

    @property
    def range_sampling_rate(self) -> float:
        """Hertz."""
        return RANGE_SAMPLING_RATE * self.samples / FULL_SAMPLES

    @property
    def name(self) -> str:
        """Name of the product, that of its folder."""
        period = f"{compact(self.start)}_{compact(self.stop)}"
        return f"S1{self.unit}_IW_GRDH_1SDV_{period}_{self.orbit:06d}_{DATA_TAKE}_5AFE.SAFE"

    def stem(self, polarisation: str) -> str:
        """Name without suffix of the files of a polarisation."""
        period = f"{compact(self.start)}-{compact(self.stop)}"
        number = POLARISATIONS.index(polarisation) + 1
        parts = f"{polarisation}-{period}-{self.orbit:06d}-{DATA_TAKE}-{number:03d}"
        return f"s1{self.unit}-iw-grd-{parts}".lower()

    def time_of(self, line: float) -> datetime:
        """Time at which a line was seen."""
        return self.start + DURATION * (line / (self.lines - 1))

    def latitude(self, line: float, sample: float) -> float:
        """Degrees north."""
        return 42.9 + 1.5 * line / self.lines + 0.4 * sample / self.samples

    def longitude(self, line: float, sample: float) -> float:
        """Degrees east."""
        return 7.1 + 3.1 * sample / self.samples - 0.43 * line / self.lines

    def swaths(self) -> list[tuple[str, int, int]]:
        """Name, first and last sample of each subswath."""
        edges = [self.samples * part // 3 for part in range(4)]
        return [(f"IW{part + 1}", edges[part], edges[part + 1] - 1) for part in range(3)]

    def share_of(self, full: int, least: int = 2) -> int:
        """How many records a list holds that has `full` of them in a real product."""
        return max(least, min(full, round(full * self.scale)))
