"""Time, place and size of a Sentinel-2 tile."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from rasterio.crs import CRS
from rasterio.warp import transform

from conversion_assets.errors import OrderError

from .clock import compact

FULL_ROWS_60M: Final = 1830
LEAST_ROWS_60M: Final = 4
RESOLUTIONS: Final = (10, 20, 60)
"""Metres."""

BASELINE: Final = "05.10"
RELATIVE_ORBIT: Final = 108
CENTRE: Final = "2BPS"
REFERENCE_ORBIT: Final = 46865
REFERENCE_TIME: Final = datetime(2024, 6, 15, 10, 25, 59, tzinfo=UTC)
ORBITS_PER_CYCLE: Final = 143
CYCLE: Final = timedelta(days=10)

GRID_METRES: Final = 60
SQUARE_METRES: Final = 100_000
ROWS_REPEAT_METRES: Final = 2_000_000
METRES_PER_DEGREE: Final = 110_600
BAND_DEGREES: Final = 8
COLUMN_SETS: Final = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")
"""Letters of the columns of squares, by zone modulo 3."""

ROW_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUV"
BAND_LETTERS: Final = "CDEFGHJKLMNPQRSTUVWX"
TILE: Final = re.compile(rf"(\d\d)([{BAND_LETTERS}])([A-HJ-NP-Z])([{ROW_LETTERS}])")


@dataclass(frozen=True)
class TileGrid:
    """Where the raster of a tile begins.

    Args:
        epsg: code of the UTM zone.
        left: easting of the upper left corner, metres.
        top: northing of the upper left corner, metres.
    """

    epsg: int
    left: int
    top: int

    @classmethod
    def of(cls, tile: str) -> TileGrid:
        """Place a tile such as ``32TLN``.

        A tile is a square of the Military Grid Reference System (NGA.STND.0037), its corner moved
        outwards to a multiple of 60 m.

        Raises:
            OrderError: the text names no square of the grid.
        """
        match = TILE.fullmatch(tile)
        zone = int(match[1]) if match else 0
        if not match or not 1 <= zone <= 60 or match[3] not in COLUMN_SETS[zone % 3]:
            raise OrderError(tile, "no tile of the Sentinel-2 grid", "Name one such as 32TLN.")
        easting = (COLUMN_SETS[zone % 3].index(match[3]) + 1) * SQUARE_METRES
        upper = _northing(zone, match[2], match[4]) + SQUARE_METRES
        south = match[2] < "N"
        return cls(
            epsg=(32700 if south else 32600) + zone,
            left=easting // GRID_METRES * GRID_METRES,
            top=-(-upper // GRID_METRES) * GRID_METRES,
        )


def _northing(zone: int, band: str, row: str) -> int:
    """Northing of the lower edge of a square, metres; the rows' letters repeat every 2000 km."""
    shift = 0 if zone % 2 else 5
    residue = (ROW_LETTERS.index(row) - shift) % len(ROW_LETTERS) * SQUARE_METRES
    degrees = (BAND_LETTERS.index(band) - 10) * BAND_DEGREES
    false_northing = 10_000_000 if degrees < 0 else 0
    lowest = degrees * METRES_PER_DEGREE + false_northing - SQUARE_METRES
    return residue + -((residue - lowest) // ROWS_REPEAT_METRES) * ROWS_REPEAT_METRES


@dataclass(frozen=True)
class TileFrame:
    """A product of one tile; a small one covers the upper left corner of the tile.

    Args:
        level: ``L1C`` or ``L2A``.
        start: start of the data take, UTC.
        unit: letter of the satellite.
        tile: name in the Military Grid Reference System.
        scale: size relative to a real product.
    """

    level: str
    start: datetime
    unit: str
    tile: str
    scale: float

    @property
    def grid(self) -> TileGrid:
        """Corner and projection of the rasters."""
        return TileGrid.of(self.tile)

    def rows(self, resolution: int) -> int:
        """Rows, and columns, of a raster of so many metres."""
        return max(LEAST_ROWS_60M, round(FULL_ROWS_60M * self.scale)) * (60 // resolution)

    @property
    def extent(self) -> int:
        """Length of a side, metres."""
        return self.rows(60) * 60

    @property
    def sensed(self) -> datetime:
        """Time at which the tile was seen."""
        return self.start + timedelta(seconds=6)

    @property
    def made(self) -> datetime:
        """Time of processing."""
        return self.start + timedelta(hours=3)

    @property
    def orbit(self) -> int:
        """Absolute orbit number."""
        return max(1, REFERENCE_ORBIT + round((self.start - REFERENCE_TIME) * ORBITS_PER_CYCLE / CYCLE))

    @property
    def name(self) -> str:
        """Name of the product, that of its folder."""
        version = f"N{BASELINE.replace('.', '')}_R{RELATIVE_ORBIT:03d}_T{self.tile}"
        return f"S2{self.unit}_MSI{self.level}_{compact(self.start)}_{version}_{compact(self.made)}.SAFE"

    @property
    def granule(self) -> str:
        """Folder of the granule in the product."""
        return f"GRANULE/{self.level}_T{self.tile}_A{self.orbit:06d}_{compact(self.sensed)}"

    @property
    def datastrip(self) -> str:
        """Folder of the datastrip in the product."""
        return f"DATASTRIP/DS_{CENTRE}_{compact(self.made)}_S{compact(self.sensed)}"

    @property
    def datastrip_id(self) -> str:
        """Identifier of the datastrip."""
        strip = f"DS_{CENTRE}_{compact(self.made)}_S{compact(self.sensed)}_N{BASELINE}"
        return f"S2{self.unit}_OPER_MSI_{self.level}_{strip}"

    @property
    def granule_id(self) -> str:
        """Identifier of the granule."""
        tile = f"TL_{CENTRE}_{compact(self.made)}_A{self.orbit:06d}_T{self.tile}_N{BASELINE}"
        return f"S2{self.unit}_OPER_MSI_{self.level}_{tile}"

    @property
    def datatake_id(self) -> str:
        """Identifier of the data take."""
        return f"GS2{self.unit}_{compact(self.start)}_{self.orbit:06d}_N{BASELINE}"

    @property
    def stem(self) -> str:
        """What the names of the images begin with."""
        return f"T{self.tile}_{compact(self.start)}"

    def ring(self) -> list[tuple[float, float]]:
        """Outline as a closed ring of latitude and longitude, degrees."""
        left, top, side = float(self.grid.left), float(self.grid.top), float(self.extent)
        eastings = [left, left + side, left + side, left, left]
        northings = [top, top, top - side, top - side, top]
        source, target = CRS.from_epsg(self.grid.epsg), CRS.from_epsg(4326)
        longitudes, latitudes = transform(source, target, eastings, northings)
        return list(zip(latitudes, longitudes, strict=True))

    def ring_text(self) -> str:
        """The outline as the metadata write it."""
        return " ".join(f"{latitude:.8f} {longitude:.8f}" for latitude, longitude in self.ring())
