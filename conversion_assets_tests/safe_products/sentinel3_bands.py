"""The bands of the OLCI instrument (https://sentiwiki.copernicus.eu/web/s3-olci-instrument)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Band:
    """A spectral band.

    Args:
        wavelength: centre in nm.
        width: nm.
        irradiance: of the sun, about, mW/m2/nm.
    """

    wavelength: float
    width: float
    irradiance: float


BANDS: Final = (
    Band(400.0, 15.0, 1482.0),
    Band(412.5, 10.0, 1710.0),
    Band(442.5, 10.0, 1868.0),
    Band(490.0, 10.0, 1930.0),
    Band(510.0, 10.0, 1921.0),
    Band(560.0, 10.0, 1796.0),
    Band(620.0, 10.0, 1649.0),
    Band(665.0, 10.0, 1529.0),
    Band(673.75, 7.5, 1498.0),
    Band(681.25, 7.5, 1468.0),
    Band(708.75, 10.0, 1405.0),
    Band(753.75, 7.5, 1266.0),
    Band(761.25, 2.5, 1246.0),
    Band(764.375, 3.75, 1236.0),
    Band(767.5, 2.5, 1229.0),
    Band(778.75, 15.0, 1175.0),
    Band(865.0, 20.0, 957.0),
    Band(885.0, 10.0, 929.0),
    Band(900.0, 10.0, 895.0),
    Band(940.0, 20.0, 825.0),
    Band(1020.0, 40.0, 698.0),
)
