from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_assets.stac.formats import format_date_time, is_duration, parse_date_time

_zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(min_value=datetime(1972, 1, 1), max_value=datetime(2100, 1, 1), timezones=_zones))  # noqa: DTZ001 - hypothesis wants naive bounds
def test_written_times_are_read_back(moment: datetime) -> None:
    text = format_date_time(moment)
    assert text.endswith("Z")
    assert parse_date_time(text) == moment


@pytest.mark.parametrize("text", ["", "2024-06-15", "2024-13-15T00:00:00Z", "now", "2024-06-15 10:00:00Z"])
def test_other_texts_are_no_times(text: str) -> None:
    assert parse_date_time(text) is None


@pytest.mark.parametrize("text", ["PT24H", "PT3H", "P1M", "P1Y2M3DT4H5M6.5S", "P2W"])
def test_durations_are_recognised(text: str) -> None:
    assert is_duration(text)


@pytest.mark.parametrize("text", ["", "P", "PT", "P1DT", "24H", "P1H", "PT1D", "P1M\n"])
def test_other_texts_are_no_durations(text: str) -> None:
    assert not is_duration(text)
