"""What the netCDF files of an OLCI product hold.

Names, types and attributes follow the Sentinel-3 OLCI Product Data Format Specification
(S3IPF.PDS.004).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .scene import Scene, Surface
from .sentinel3_bands import BANDS
from .sentinel3_frame import OlciFrame

Attributes: TypeAlias = Mapping[str, Any]

PIXELS: Final = ("rows", "columns")
TIES: Final = ("tie_rows", "tie_columns")
REMOVED: Final = ("rows", "removed_pixels")
REMOVED_PIXELS: Final = 12
EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
SUN_FACTOR: Final = 0.25
"""Cosine of the sun's zenith angle over pi."""

INT32_FILL: Final = np.int32(-2147483648)
UINT32_FILL: Final = np.uint32(4294967295)
RADIANCE_UNITS: Final = "mW.m-2.sr-1.nm-1"
FLAGS: Final = (
    "land",
    "coastline",
    "fresh_inland_water",
    "tidal_region",
    "bright",
    "straylight_risk",
    "invalid",
    "cosmetic",
    "duplicated",
    "sun_glint_risk",
    "dubious",
)
FLAG_MASKS: Final = {name: 1 << (31 - index) for index, name in enumerate(FLAGS)}
PRESSURE_LEVELS: Final = (
    1000, 950, 925, 900, 850, 800, 700, 600, 500, 400, 300, 250, 200,
    150, 100, 70, 50, 30, 20, 10, 7, 5, 3, 2, 1,
)  # fmt: skip
"""hPa."""

METEOROLOGY: Final = {
    "humidity": 61.0,
    "sea_level_pressure": 1013.2,
    "total_columnar_water_vapour": 18.0,
    "total_ozone": 0.007,
}


def _range(kind: type[np.generic], low: float, high: float) -> Attributes:
    return {"valid_min": kind(low), "valid_max": kind(high)}


LATITUDE: Final[Attributes] = {
    "scale_factor": 1e-6,
    "units": "degrees_north",
    **_range(np.int32, -90_000_000, 90_000_000),
}
LONGITUDE: Final[Attributes] = {
    "scale_factor": 1e-6,
    "units": "degrees_east",
    **_range(np.int32, -180_000_000, 180_000_000),
}
ALTITUDE: Final[Attributes] = {"units": "m", **_range(np.int16, -1000, 9000)}
AZIMUTH: Final[Attributes] = {
    "scale_factor": 1e-6,
    "units": "degrees",
    **_range(np.int32, -180_000_000, 180_000_000),
}
ZENITH: Final[Attributes] = {"scale_factor": 1e-6, "units": "degrees", **_range(np.uint32, 0, 180_000_000)}
UNCERTAINTY: Final[Attributes] = {
    "scale_factor": 0.02,
    "add_offset": 0.0,
    "units": RADIANCE_UNITS,
    **_range(np.uint8, 0, 254),
}
DETECTOR: Final = _range(np.int16, 0, 3699)
OFFSET: Final = _range(np.int8, -15, 15)


@dataclass(frozen=True, eq=False)
class Variable:
    """A variable of a netCDF file.

    Args:
        name: in the file.
        dimensions: names, as many as the data has axes.
        data: values as stored.
        attributes: beside the fill value.
        fill: value that stands for no data.
    """

    name: str
    dimensions: tuple[str, ...]
    data: NDArray[Any]
    attributes: Attributes = field(default_factory=dict)
    fill: np.generic | None = None


def files(frame: OlciFrame, scene: Scene) -> Iterator[tuple[str, list[Variable]]]:
    """The name without suffix and the variables of each file of a product."""
    for index in range(len(BANDS)):
        radiance = _radiance(scene, index)
        name = f"Oa{index + 1:02d}_radiance"
        yield name, [radiance]
        yield f"{name}_unc", [_uncertainty(f"{name}_unc", PIXELS, (radiance.data >> 9).astype(np.uint8))]
    latitude, longitude = frame.latitude(), frame.longitude()
    step = frame.tie_step
    ties = latitude[:, ::step].shape
    yield "geo_coordinates", [*_place(PIXELS, latitude, longitude), _altitude(PIXELS, _heights(scene))]
    yield "instrument_data", _instrument(frame)
    yield "time_coordinates", [_time(frame)]
    yield "tie_geo_coordinates", _place(TIES, latitude[:, ::step], longitude[:, ::step])
    yield "tie_geometries", _angles(ties)
    yield "tie_meteo", _meteorology(ties)
    yield "qualityFlags", [_flags(PIXELS, _quality(scene))]
    yield "removed_pixels", _removed(frame.rows)


def _scale(index: int) -> float:
    """Radiance of one count."""
    return 0.0139 - 0.0005 * index


def _radiance(scene: Scene, index: int) -> Variable:
    band = BANDS[index]
    radiance = scene.seen_at(band.wavelength) * band.irradiance * SUN_FACTOR
    counts = np.clip(np.round(radiance / _scale(index)), 0, 65534).astype(np.uint16)
    return _radiance_variable(index, PIXELS, counts)


def _radiance_variable(index: int, dimensions: tuple[str, ...], counts: NDArray[np.uint16]) -> Variable:
    name = f"Oa{index + 1:02d}_radiance"
    attributes: Attributes = {
        "scale_factor": _scale(index),
        "add_offset": 0.0,
        "units": RADIANCE_UNITS,
        "long_name": f"TOA radiance for OLCI acquisition band Oa{index + 1:02d}",
        **_range(np.uint16, 0, 65534),
    }
    return Variable(name, dimensions, counts, attributes, np.uint16(65535))


def _uncertainty(name: str, dimensions: tuple[str, ...], counts: NDArray[np.uint8]) -> Variable:
    return Variable(name, dimensions, counts, UNCERTAINTY, np.uint8(255))


def _place(dimensions: tuple[str, ...], latitude: NDArray[Any], longitude: NDArray[Any]) -> list[Variable]:
    """Latitude and longitude, given in degrees."""
    return [
        Variable("latitude", dimensions, _micro(latitude), LATITUDE, INT32_FILL),
        Variable("longitude", dimensions, _micro(longitude), LONGITUDE, INT32_FILL),
    ]


def _micro(degrees: NDArray[Any]) -> NDArray[np.int32]:
    return np.round(degrees * 1e6).astype(np.int32)


def _heights(scene: Scene) -> NDArray[np.int16]:
    return np.clip(scene.height * 1500, 0, 4800).astype(np.int16)


def _altitude(dimensions: tuple[str, ...], metres: NDArray[np.int16]) -> Variable:
    return Variable("altitude", dimensions, metres, ALTITUDE, np.int16(-32768))


def _instrument(frame: OlciFrame) -> list[Variable]:
    across = np.linspace(0, frame.detectors - 1, frame.columns).astype(np.int16)
    return [
        Variable("detector_index", PIXELS, np.tile(across, (frame.rows, 1)), DETECTOR, np.int16(-1)),
        Variable("frame_offset", PIXELS, np.zeros(frame.shape, np.int8), OFFSET, np.int8(-128)),
        _of_detectors(frame, "lambda0", [band.wavelength for band in BANDS], "nm"),
        _of_detectors(frame, "FWHM", [band.width for band in BANDS], "nm"),
        _of_detectors(frame, "solar_flux", [band.irradiance for band in BANDS], "mW.m-2.nm-1"),
        Variable(
            "relative_spectral_covariance",
            ("bands", "bands2"),
            np.eye(len(BANDS), dtype=np.float32),
            fill=np.float32("nan"),
        ),
    ]


def _of_detectors(frame: OlciFrame, name: str, per_band: list[float], units: str) -> Variable:
    values = np.tile(np.array(per_band, np.float32)[:, None], (1, frame.detectors))
    attributes: Attributes = {"units": units, **_range(np.float32, 0, 3000)}
    return Variable(name, ("bands", "detectors"), values, attributes, np.float32(-1))


def _time(frame: OlciFrame) -> Variable:
    first, last = ((time - EPOCH).total_seconds() * 1e6 for time in (frame.start, frame.stop))
    attributes: Attributes = {
        "units": "microseconds since 2000-01-01 00:00:00",
        "calendar": "gregorian",
        "long_name": "Elapsed time since 01 Jan 2000 0h",
    }
    stamps = np.linspace(first, last, frame.rows).astype(np.int64)
    return Variable("time_stamp", ("rows",), stamps, attributes, np.int64(-1))


def _angles(shape: tuple[int, ...]) -> list[Variable]:
    """Azimuth and zenith of observer and sun, in degrees rising over the swath."""
    ramp = np.tile(np.linspace(0, 55, shape[1]), (shape[0], 1))
    return [
        Variable("OAA", TIES, _micro(ramp + 100), AZIMUTH, INT32_FILL),
        Variable("SAA", TIES, _micro(ramp + 120), AZIMUTH, INT32_FILL),
        Variable("OZA", TIES, _micro(ramp).astype(np.uint32), ZENITH, UINT32_FILL),
        Variable("SZA", TIES, _micro(ramp + 25).astype(np.uint32), ZENITH, UINT32_FILL),
    ]


def _meteorology(shape: tuple[int, ...]) -> list[Variable]:
    levels = len(PRESSURE_LEVELS)
    limits = _range(np.float32, 0, 2000)
    temperatures = np.tile(np.linspace(288, 220, levels, dtype=np.float32), (*shape, 1))
    wind = np.full((*shape, 2), 3.5, np.float32)
    single = [
        Variable(name, TIES, np.full(shape, value, np.float32), {"units": "1", **limits}, np.float32(-1))
        for name, value in METEOROLOGY.items()
    ]
    return [
        Variable(
            "reference_pressure_level",
            ("tie_pressure_levels",),
            np.array(PRESSURE_LEVELS, np.float32),
            {"units": "hPa"},
        ),
        Variable(
            "atmospheric_temperature_profile",
            (*TIES, "tie_pressure_levels"),
            temperatures,
            {"units": "K", **limits},
            np.float32(-1),
        ),
        Variable(
            "horizontal_wind",
            (*TIES, "wind_vectors"),
            wind,
            {"units": "m.s-1", **_range(np.float32, -100, 100)},
            np.float32(9.96921e36),
        ),
        *single,
    ]


def _quality(scene: Scene) -> NDArray[np.uint32]:
    flags = np.zeros(scene.shape, np.uint32)
    flags[scene.height > 0] |= np.uint32(FLAG_MASKS["land"])
    flags[scene.surface == Surface.CLOUD] |= np.uint32(FLAG_MASKS["bright"])
    return flags


def _flags(dimensions: tuple[str, ...], data: NDArray[np.uint32]) -> Variable:
    attributes: Attributes = {
        "flag_masks": np.array(list(FLAG_MASKS.values()), np.uint32),
        "flag_meanings": " ".join(FLAG_MASKS),
    }
    return Variable("quality_flags", dimensions, data, attributes)


def _removed(rows: int) -> list[Variable]:
    """Pixels that fell out of the grid: none, so that all hold their fill value."""
    shape = (rows, REMOVED_PIXELS)
    angle = np.full(shape, UINT32_FILL)
    counts, uncertainties = np.full(shape, np.uint16(65535)), np.full(shape, np.uint8(255))
    radiances = [_radiance_variable(index, REMOVED, counts) for index in range(len(BANDS))]
    return [
        Variable("nb_removed_pixels", ("rows",), np.zeros(rows, np.uint16)),
        Variable("latitude", REMOVED, np.full(shape, INT32_FILL), LATITUDE, INT32_FILL),
        Variable("longitude", REMOVED, np.full(shape, INT32_FILL), LONGITUDE, INT32_FILL),
        _altitude(REMOVED, np.full(shape, np.int16(-32768))),
        Variable("frame_offset", REMOVED, np.full(shape, np.int8(-128)), OFFSET, np.int8(-128)),
        Variable("detector_index", REMOVED, np.full(shape, np.int16(-1)), DETECTOR, np.int16(-1)),
        _flags(REMOVED, np.zeros(shape, np.uint32)),
        Variable("SZA", REMOVED, angle, ZENITH, UINT32_FILL),
        *radiances,
        *[_uncertainty(f"{one.name}_unc", REMOVED, uncertainties) for one in radiances],
    ]
