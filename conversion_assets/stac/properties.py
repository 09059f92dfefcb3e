"""Which of the values that eopf writes in ``stac_discovery`` may stand in an item, and in which form.

A value passes only if a table names its field and the field's rule accepts it. What eopf 2.8.1 is known
to get wrong (texts for numbers, the text "null", constants in place of measured values) is mended where
the truth is known, and left out where it is not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from conversion_assets.stac.formats import format_date_time, is_duration, parse_date_time

Rule = Callable[[object], Any]
"""Takes a raw value and gives the value to write, or None if there is nothing sound to write."""

_PLACEHOLDERS = frozenset({"", "null", "none", "nan", "todo", "unknown", "n/a"})
_PROVIDER_ROLES = frozenset({"licensor", "producer", "processor", "host"})
_RESOLUTION_GROUP = re.compile(r"r(\d{1,4})m", re.ASCII)

# COSPAR designators: https://nssdc.gsfc.nasa.gov/nmc/. Platforms not listed get none.
_DESIGNATORS = {
    "sentinel-1a": "2014-016A",
    "sentinel-1b": "2016-025A",
    "sentinel-2a": "2015-028A",
    "sentinel-2b": "2017-013A",
    "sentinel-3a": "2016-011A",
    "sentinel-3b": "2018-039A",
}
_LEVELS = (
    (re.compile(r"S01S.{2}(GRD|SLC)"), "L1"),
    (re.compile(r"S01S.{2}OCN"), "L2"),
)


def _text(value: object) -> str | None:
    if not isinstance(value, str) or value.strip().lower() in _PLACEHOLDERS:
        return None
    return value.strip()


def _lower_case(value: object) -> str | None:
    text = _text(value)
    return text.lower() if text else None


def _number(lowest: float = -math.inf, highest: float = math.inf) -> Rule:
    def rule(value: object) -> int | float | None:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return None
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        if not (math.isfinite(number) and lowest <= number <= highest):
            return None
        return int(number) if number.is_integer() else number

    return rule


def _integer(lowest: int) -> Rule:
    number = _number(lowest)

    def rule(value: object) -> int | None:
        found = number(value)
        return found if isinstance(found, int) else None

    return rule


def _rounded(decimals: int) -> Rule:
    number = _number(0)

    def rule(value: object) -> float | None:
        found = number(value)
        return None if found is None else round(found, decimals)

    return rule


def _one_of(*choices: str) -> Rule:
    return lambda value: value if isinstance(value, str) and value in choices else None


def _like(pattern: str) -> Rule:
    compiled = re.compile(pattern, re.ASCII)
    return lambda value: value if isinstance(value, str) and compiled.fullmatch(value) else None


def _list_of(rule: Rule, length: int | None = None) -> Rule:
    def listed(value: object) -> list[Any] | None:
        if not isinstance(value, list) or not value or len(value) != (length or len(value)):
            return None
        members = [rule(member) for member in value]
        return None if None in members else members

    return listed


def _date_time(value: object) -> str | None:
    moment = parse_date_time(value) if isinstance(value, str) else None
    return format_date_time(moment) if moment else None


def _duration(value: object) -> str | None:
    return value if isinstance(value, str) and is_duration(value) else None


def _provider(value: object) -> dict[str, Any] | None:
    if not isinstance(value, Mapping) or not (name := _text(value.get("name"))):
        return None
    raw = value.get("roles")
    roles = [role for role in raw if role in _PROVIDER_ROLES] if isinstance(raw, list) else []
    return {"name": name, "roles": roles} if roles else {"name": name}


_PROPERTY_RULES: dict[str, Rule] = {
    "platform": _lower_case,
    "constellation": _lower_case,
    "mission": _lower_case,
    "instruments": _list_of(_lower_case),
    "gsd": _number(lowest=0.001),
    "providers": _list_of(_provider),
    "eo:cloud_cover": _number(0, 100),
    "eo:snow_cover": _number(0, 100),
    "eopf:datastrip_id": _text,
    "eopf:datatake_id": _text,
    "eopf:instrument_configuration_id": _integer(0),
    "eopf:instrument_mode": _text,
    "eopf:origin_datetime": _date_time,
    "processing:level": _like(r"RAW|L[0-4][A-D]?"),
    "product:timeliness": _duration,
    "product:timeliness_category": _text,
    "product:acquisition_type": _one_of("nominal", "calibration", "other"),
    "proj:code": _like(r"EPSG:\d{4,6}"),
    "proj:bbox": _list_of(_number(), length=4),
    "sar:beam_ids": _list_of(_text),
    "sar:center_frequency": _number(lowest=0.001),
    "sar:frequency_band": _one_of("P", "L", "S", "C", "X", "Ku", "K", "Ka"),
    "sar:instrument_mode": _text,
    "sar:looks_azimuth": _integer(1),
    "sar:looks_equivalent_number": _number(0),
    "sar:looks_range": _integer(1),
    "sar:observation_direction": _one_of("left", "right"),
    "sar:pixel_spacing_azimuth": _number(0),
    "sar:pixel_spacing_range": _number(0),
    "sar:polarizations": _list_of(_one_of("HH", "VV", "HV", "VH")),
    "sar:product_type": _text,
    "sar:resolution_azimuth": _number(0),
    "sar:resolution_range": _number(0),
    "sat:absolute_orbit": _integer(1),
    "sat:anx_datetime": _date_time,
    "sat:orbit_cycle": _integer(1),
    "sat:orbit_state": _one_of("ascending", "descending", "geostationary"),
    "sat:relative_orbit": _integer(1),
    "sci:doi": _like(r"10\.[0-9a-zA-Z]{4,}/\S+"),
    "view:azimuth": _number(0, 360),
    "view:incidence_angle": _number(0, 90),
    "view:off_nadir": _number(0, 90),
    "view:sun_azimuth": _number(0, 360),
    "view:sun_elevation": _number(-90, 90),
}

_BAND_RULES: dict[str, Rule] = {
    "name": _text,
    "description": _text,
    "eo:common_name": _one_of(
        *("pan", "coastal", "blue", "green", "green05", "yellow", "red", "rededge", "rededge071"),
        *("rededge075", "rededge078", "nir", "nir08", "nir09", "cirrus", "swir16", "swir22"),
        *("lwir", "lwir11", "lwir12"),
    ),
    "eo:center_wavelength": _rounded(6),
    "eo:full_width_half_max": _rounded(6),
    "eo:solar_illumination": _rounded(3),
}


def sound_properties(
    discovery: Mapping[str, Any], product_type: str, measurement_groups: tuple[str, ...]
) -> dict[str, Any]:
    """Take from ``stac_discovery`` the item properties that are known, well-typed and true.

    Args:
        discovery: the ``stac_discovery`` document that eopf wrote.
        product_type: EOPF product type, such as ``S02MSIL1C``.
        measurement_groups: paths of the product's measurement groups.

    Returns:
        Properties of STAC's common metadata and of the extensions `conversion_assets.stac.item` declares.
    """
    raw = _raw_properties(discovery)
    found = _apply(_PROPERTY_RULES, {"providers": raw.get("provider"), **raw})
    found |= {
        "product:type": product_type,
        "gsd": found.get("gsd") or min(filter(None, map(resolution, measurement_groups)), default=None),
        "processing:level": found.get("processing:level") or _level(product_type),
        "sat:platform_international_designator": _DESIGNATORS.get(found.get("platform", "")),
    }
    for field in _unsound(found):
        found.pop(field, None)
    return {field: value for field, value in found.items() if value is not None}


def sound_bands(discovery: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Take the bands from ``stac_discovery``, where eopf lists them for the product as a whole.

    Args:
        discovery: the ``stac_discovery`` document that eopf wrote.

    Returns:
        Band objects of STAC 1.1 (https://github.com/radiantearth/stac-spec/blob/v1.1.0/commons), each with
        a name.
    """
    raw = _raw_properties(discovery).get("bands")
    candidates = raw if isinstance(raw, list) else []
    bands = [_apply(_BAND_RULES, band) for band in candidates if isinstance(band, Mapping)]
    return tuple(band for band in bands if "name" in band)


def resolution(group: str) -> int | None:
    """Read the ground sampling distance from the name of a measurement group.

    Args:
        group: a path such as ``measurements/reflectance/r10m``.

    Returns:
        Metres; None if the last part of the path does not say.
    """
    found = _RESOLUTION_GROUP.fullmatch(group.rsplit("/", 1)[-1])
    return int(found[1]) if found and int(found[1]) > 0 else None


def _raw_properties(discovery: Mapping[str, Any]) -> Mapping[str, Any]:
    raw = discovery.get("properties")
    return raw if isinstance(raw, Mapping) else {}


def _apply(rules: Mapping[str, Rule], raw: Mapping[str, Any]) -> dict[str, Any]:
    mended = {field: rule(raw[field]) for field, rule in rules.items() if raw.get(field) is not None}
    return {field: value for field, value in mended.items() if value is not None}


def _level(product_type: str) -> str | None:
    """Sentinel-1 products carry no level: their type implies it (Sentinel-1 product specification)."""
    return next((level for pattern, level in _LEVELS if pattern.fullmatch(product_type)), None)


def _unsound(found: Mapping[str, Any]) -> set[str]:
    """Name the fields whose value says nothing about this product."""
    unsound = set()
    if found.get("constellation") == "sentinel-2":  # eopf writes PT3H for every Sentinel-2 product
        unsound |= {"product:timeliness", "product:timeliness_category"}
    if "product:timeliness" not in found:
        unsound.add("product:timeliness_category")
    if "proj:code" not in found:
        unsound.add("proj:bbox")
    return unsound
