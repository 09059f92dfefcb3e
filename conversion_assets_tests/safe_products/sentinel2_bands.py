"""The bands of the MSI instrument (https://sentiwiki.copernicus.eu/web/s2-mission)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from .xml import Tree


@dataclass(frozen=True)
class Band:
    """A spectral band.

    Args:
        name: as in file names.
        resolution: metres.
        wavelength: centre in nm.
        half_width: half of the width in nm.
        irradiance: of the sun, W/m2/um.
    """

    name: str
    resolution: int
    wavelength: float
    half_width: int
    irradiance: float


BANDS: Final = (
    Band("B01", 60, 442.7, 10, 1884.69),
    Band("B02", 10, 492.7, 33, 1959.66),
    Band("B03", 10, 559.8, 18, 1823.24),
    Band("B04", 10, 664.6, 15, 1512.06),
    Band("B05", 20, 704.1, 8, 1424.64),
    Band("B06", 20, 740.5, 8, 1287.61),
    Band("B07", 20, 782.8, 10, 1162.08),
    Band("B08", 10, 832.8, 53, 1041.63),
    Band("B8A", 20, 864.7, 10, 955.32),
    Band("B09", 60, 945.1, 10, 812.92),
    Band("B10", 60, 1373.5, 15, 367.15),
    Band("B11", 20, 1613.7, 45, 245.59),
    Band("B12", 20, 2202.4, 90, 85.25),
)
BAND_BY_NAME: Final = {band.name: band for band in BANDS}
L2A_BANDS: Final = {
    10: ("B02", "B03", "B04", "B08"),
    20: ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B11", "B12"),
    60: ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B09", "B11", "B12"),
}
"""Bands delivered at Level-2A, by resolution in metres."""


def spectral_information() -> list[Tree]:
    """The bands as the product metadata describe them."""
    return [_spectral(index, band) for index, band in enumerate(BANDS)]


def _spectral(index: int, band: Band) -> Tree:
    low, high = int(band.wavelength - band.half_width), int(band.wavelength + band.half_width)
    response = [
        math.exp(-(((wavelength - band.wavelength) / band.half_width) ** 2))
        for wavelength in range(low, high + 1)
    ]
    return {
        "@bandId": index,
        "@physicalBand": band.name.replace("B0", "B"),
        "RESOLUTION": band.resolution,
        "Wavelength": {
            "MIN": {"@unit": "nm", "#": low},
            "MAX": {"@unit": "nm", "#": high},
            "CENTRAL": {"@unit": "nm", "#": band.wavelength},
        },
        "Spectral_Response": {
            "STEP": {"@unit": "nm", "#": 1},
            "VALUES": " ".join(f"{value:.6f}" for value in response),
        },
    }
