"""The weather beside a Sentinel-2 tile: GRIB 1 files of ECMWF and CAMS."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Final

import eccodes
import numpy as np

POINTS: Final = 9
STEP_DEGREES: Final = 0.125
CAMS_TABLE: Final = 210
DEFAULT_TABLE: Final = 128

WEATHER: Final = {137: 18.0, 151: 101325.0, 206: 0.0075, 165: 3.0, 166: -1.0, 157: 60.0}
"""Value by parameter of table 128: vapour, pressure, ozone, winds, humidity."""

SURFACE_GEOPOTENTIAL: Final = {129: 2500.0}
AEROSOLS: Final = {
    213: 0.2,
    207: 0.15,
    214: 0.12,
    215: 0.08,
    216: 0.05,
    211: 0.01,
    209: 0.03,
    210: 0.05,
    208: 0.02,
    212: 0.04,
}
"""Optical depth by parameter of table 210 (https://codes.ecmwf.int/grib/param-db/)."""


def write_auxiliary(folder: Path, outline: list[tuple[float, float]], time: datetime) -> None:
    """Write ``AUX_ECMWFT`` and ``AUX_CAMSFO``.

    Args:
        folder: where to; it is made.
        outline: ring of latitude and longitude, degrees; the grid lies around its middle.
        time: the day of the forecast.
    """
    folder.mkdir(parents=True, exist_ok=True)
    latitude, longitude = (_snapped(np.mean(values)) for values in zip(*outline[:-1], strict=True))
    grid = _grid(latitude, longitude, time)
    with (folder / "AUX_ECMWFT").open("wb") as file:
        _write_messages(file, grid, DEFAULT_TABLE, WEATHER)
    with (folder / "AUX_CAMSFO").open("wb") as file:
        _write_messages(file, grid, DEFAULT_TABLE, SURFACE_GEOPOTENTIAL)
        _write_messages(file, grid, CAMS_TABLE, AEROSOLS)


def _snapped(degrees: np.floating) -> float:
    return round(float(degrees) / STEP_DEGREES) * STEP_DEGREES


def _grid(latitude: float, longitude: float, time: datetime) -> dict[str, float]:
    reach = STEP_DEGREES * (POINTS // 2)
    return {
        "dataDate": int(time.strftime("%Y%m%d")),
        "dataTime": 0,
        "Ni": POINTS,
        "Nj": POINTS,
        "latitudeOfFirstGridPointInDegrees": latitude + reach,
        "latitudeOfLastGridPointInDegrees": latitude - reach,
        "longitudeOfFirstGridPointInDegrees": longitude - reach,
        "longitudeOfLastGridPointInDegrees": longitude + reach,
        "iDirectionIncrementInDegrees": STEP_DEGREES,
        "jDirectionIncrementInDegrees": STEP_DEGREES,
    }


def _write_messages(
    file: IO[bytes], grid: Mapping[str, float], table: int, values: Mapping[int, float]
) -> None:
    variation = 1 + 0.01 * np.linspace(-1, 1, POINTS * POINTS)
    for parameter, value in values.items():
        message = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib1")
        keys = {"table2Version": table, "indicatorOfParameter": parameter, **grid}
        for key, setting in keys.items():
            eccodes.codes_set(message, key, setting)
        eccodes.codes_set_values(message, value * variation)
        eccodes.codes_write(message, file)
        eccodes.codes_release(message)
