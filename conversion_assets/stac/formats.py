"""The two text formats that STAC asks for: points in time and durations."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_DURATION = re.compile(r"P(?=.)(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?)", re.ASCII)


def parse_date_time(text: str) -> datetime | None:
    """Read an RFC 3339 date-time (https://www.rfc-editor.org/rfc/rfc3339#section-5.6).

    Args:
        text: such as ``2024-06-15T10:25:59.024Z``.

    Returns:
        The time as written, without time zone if none is written; None for any other text.
    """
    try:
        return datetime.fromisoformat(text.upper()) if "T" in text.upper() else None
    except ValueError:
        return None


def format_date_time(moment: datetime) -> str:
    """Write a point in time as STAC wants it.

    Args:
        moment: a point in time; one without time zone is taken as UTC.

    Returns:
        RFC 3339 in UTC, ending in ``Z``.
    """
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")


def is_duration(text: str) -> bool:
    """Recognise an ISO 8601 duration.

    Args:
        text: such as ``PT24H`` or ``P1M``.

    Returns:
        Whether it is one.
    """
    return _DURATION.fullmatch(text) is not None
