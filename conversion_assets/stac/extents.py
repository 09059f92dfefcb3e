"""Extents of collections: what they cover in space and time, no less and no more than their items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from conversion_assets.stac.formats import format_date_time

Document = dict[str, Any]
Box = tuple[float, float, float, float]
Interval = tuple[datetime, datetime]

_ALWAYS: Interval = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
# Half of the last decimal of a footprint's coordinates.
_MARGIN_DEGREES = 5e-8
_TICK = timedelta(microseconds=1)


def extent_of(item: Mapping[str, Any]) -> Document:
    """Give the extent of a collection that holds one item.

    Args:
        item: a STAC item with ``bbox``.

    Returns:
        An extent object of STAC 1.1 (https://github.com/radiantearth/stac-spec/blob/v1.1.0/collection-spec).
    """
    return _extent(_box_of(item["bbox"]), _interval_of(item))


def holds(extent: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    """Say whether an item lies within an extent."""
    box, (start, end) = _overall(extent)
    first, last = _interval_of(item)
    return _box_holds(box, _box_of(item["bbox"])) and start <= first and last <= end


def grown(extent: Mapping[str, Any], item: Mapping[str, Any]) -> Document:
    """Give an extent that holds an item as well.

    Args:
        extent: an extent object; an open end of its interval stays open.
        item: a STAC item with ``bbox``.

    Returns:
        The extent, as it was where it holds the item already.
    """
    if holds(extent, item):
        return dict(extent)
    box, (start, end) = _overall(extent)
    first, last = _interval_of(item)
    return _extent(_united(box, _box_of(item["bbox"])), (min(start, first), max(end, last)))


def searches_beyond(extent: Mapping[str, Any]) -> Iterator[Document]:
    """Give the parameters of STAC API searches that together find what reaches beyond an extent.

    Yields:
        One ``bbox`` for each side and one ``datetime`` for each end behind which something can be.
    """
    (west, south, east, north), (start, end) = _overall(extent)
    crossing = west > east
    south, north = south - _MARGIN_DEGREES, north + _MARGIN_DEGREES
    west, east = west - _MARGIN_DEGREES, east + _MARGIN_DEGREES
    sides = [(-180.0, -90.0, 180.0, south), (-180.0, north, 180.0, 90.0)]
    if crossing:
        sides.append((east, -90.0, west, 90.0))
    else:
        sides += [(-180.0, -90.0, west, 90.0), (east, -90.0, 180.0, 90.0)]
    yield from ({"bbox": list(side)} for side in sides if side[0] < side[2] and side[1] < side[3])
    if start > _ALWAYS[0]:
        yield {"datetime": f"../{format_date_time(start - _TICK)}"}
    if end < _ALWAYS[1]:
        yield {"datetime": f"{format_date_time(end + _TICK)}/.."}


def _extent(box: Box, interval: Interval) -> Document:
    ends = [None if end in _ALWAYS else format_date_time(end) for end in interval]
    return {"spatial": {"bbox": [list(box)]}, "temporal": {"interval": [ends]}}


def _overall(extent: Mapping[str, Any]) -> tuple[Box, Interval]:
    start, end = extent["temporal"]["interval"][0]
    return _box_of(extent["spatial"]["bbox"][0]), (
        _moment(start) if start else _ALWAYS[0],
        _moment(end) if end else _ALWAYS[1],
    )


def _box_of(bbox: list[float]) -> Box:
    """Read a box of two dimensions, or of three without their heights."""
    half = len(bbox) // 2
    return bbox[0], bbox[1], bbox[half], bbox[half + 1]


def _interval_of(item: Mapping[str, Any]) -> Interval:
    properties = item["properties"]
    start, end = (
        _moment(properties.get(name) or properties["datetime"]) for name in ("start_datetime", "end_datetime")
    )
    return start, end


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _box_holds(outer: Box, inner: Box) -> bool:
    return (
        outer[1] <= inner[1]
        and inner[3] <= outer[3]
        and all(
            any(west <= first and last <= east for west, east in _longitudes(outer))
            for first, last in _longitudes(inner)
        )
    )


def _longitudes(box: Box) -> list[tuple[float, float]]:
    west, _, east, _ = box
    return [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]


def _united(one: Box, other: Box) -> Box:
    """Unite two boxes; if one of them alone crosses the antimeridian, the union goes round the globe."""
    if _box_holds(one, other):
        return one
    if _box_holds(other, one):
        return other
    crossing = (one[0] > one[2]) + (other[0] > other[2])
    west, east = min(one[0], other[0]), max(one[2], other[2])
    if crossing == 1 or (crossing and west <= east):
        west, east = -180.0, 180.0
    return west, min(one[1], other[1]), east, max(one[3], other[3])
