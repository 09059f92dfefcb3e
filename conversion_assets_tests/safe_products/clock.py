"""Times as the different SAFE formats write them."""

from __future__ import annotations

from datetime import UTC, datetime

from conversion_assets.errors import OrderError


def compact(time: datetime) -> str:
    """``20240615T102559``, as in file names."""
    return time.strftime("%Y%m%dT%H%M%S")


def iso_microseconds(time: datetime) -> str:
    """``2024-06-15T10:25:59.024000``, without a zone: the Sentinel-1 form."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.%f")


def iso_milliseconds_z(time: datetime) -> str:
    """``2024-06-15T10:25:59.024Z``: the Sentinel-2 form."""
    return iso_microseconds(time)[:-3] + "Z"


def iso_microseconds_z(time: datetime) -> str:
    """``2024-06-15T10:25:59.024000Z``: the Sentinel-3 form."""
    return iso_microseconds(time) + "Z"


def in_utc(start: datetime | None, default: datetime) -> datetime:
    """Return `start` in UTC, or `default` where none is given.

    Raises:
        OrderError: `start` has no time zone.
    """
    if start is None:
        return default
    if start.tzinfo is None:
        raise OrderError(start.isoformat(), "a start time without time zone", "Add tzinfo=UTC.")
    return start.astimezone(UTC)
