from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_assets.figures import (
    Delays,
    Figures,
    Ordered,
    Publication,
    Tally,
    by_day,
    by_day_and_type,
    by_order,
    by_type,
    everything,
    quantile,
)
from conversion_assets.zarr.conversion import ConversionReport

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
COUNTS = st.one_of(st.none(), st.integers(0, 10**15))


@given(
    figures=st.builds(
        Figures,
        cpu_seconds=st.one_of(st.none(), st.floats(0, 10**6)),
        peak_memory_bytes=COUNTS.map(lambda number: number and number // 1000 * 1000),
        bytes_read=COUNTS.map(lambda number: number and number // 1000 * 1000),
        objects=COUNTS,
    )
)
def test_what_people_read_can_be_read_back(figures: Figures) -> None:
    assert Figures.of_numbers(figures.numbers()) == figures


def test_a_product_that_was_converted_before_took_nothing(report: ConversionReport) -> None:
    assert Figures.of(None, 9, 3).numbers() == {"MB": 0.0, "objects": 3}
    assert Figures.of(report, 9, 3).cpu_seconds == 2.5


@pytest.fixture
def report() -> ConversionReport:
    return ConversionReport.model_validate(
        {
            "product": "/X.zarr",
            "name": "X",
            "product_type": "S02MSIL1C",
            "eopf_version": "2.8.1",
            "cpu_seconds": 2.5,
        }
    )


@given(numbers=st.lists(st.floats(0, 100), min_size=1), share=st.floats(0.01, 1))
def test_a_quantile_is_one_of_the_numbers_and_enough_do_not_exceed_it(
    numbers: list[float], share: float
) -> None:
    found = quantile(numbers, share)
    assert found is not None
    assert found in numbers
    assert sum(number <= found for number in numbers) >= share * len(numbers) - 1e-6


def test_of_nothing_there_is_no_quantile() -> None:
    assert quantile([], 0.5) is None


def published(key: str, when: datetime, kind: str = "S02MSIL1C", **numbers: float) -> Publication:
    figures = Figures(
        cpu_seconds=numbers.get("cpu"), peak_memory_bytes=int(numbers.get("peak", 0)), bytes_read=5, objects=2
    )
    return Publication(key, when, kind, figures, Delays(numbers.get("order"), numbers.get("source")))


@pytest.fixture
def tally() -> Tally:
    filled = Tally(everything, by_day, by_type, by_day_and_type, by_order)
    filled.add_orders(
        [
            Ordered("A", NOON, "S02MSIL1C", is_published=True),
            Ordered("B", NOON, "S02MSIL1C", is_failed=True),
            Ordered("C", NOON, "S03OLCEFR"),
            Ordered("A", NOON + DAY, "S02MSIL1C", is_published=True),
        ]
    )
    filled.add_publications(
        [
            published("A", NOON, cpu=10, peak=100, order=60, source=3600),
            published("A", NOON + DAY, cpu=20, peak=50, order=90, source=7200),
            published("Z", NOON + 2 * DAY, cpu=7),
        ]
    )
    return filled


def test_everything_is_added_up(tally: Tally) -> None:
    (row,) = tally.rows()
    assert (row.orders, row.published, row.failed, row.publications) == (4, 2, 1, 3)
    assert row.completeness_percent == 50
    assert (row.cpu_seconds, row.peak_memory_bytes, row.bytes_read, row.objects) == (37, 100, 15, 6)
    assert (row.order_seconds_p50, row.order_seconds_p95) == (60, 90)
    assert (row.source_seconds_p50, row.source_seconds_p95) == (3600, 7200)


def test_orders_and_work_count_on_their_own_days(tally: Tally) -> None:
    rows = {row.day: (row.orders, row.publications, row.completeness_percent) for row in tally.rows(1)}
    assert rows == {
        date(2026, 3, 1): (3, 1, 33.33),
        date(2026, 3, 2): (1, 1, 100),
        date(2026, 3, 3): (0, 1, None),
    }


def test_types_days_of_types_and_orders_have_rows(tally: Tally) -> None:
    assert [row.product_type for row in tally.rows(2)] == ["S02MSIL1C", "S03OLCEFR"]
    assert len(tally.rows(3)) == 4
    assert [(row.order, row.cpu_seconds) for row in tally.rows(4)] == [
        ("A", 30),
        ("B", 0),
        ("Z", 7),
        ("C", 0),
    ]


def test_a_day_is_one_of_utc() -> None:
    tally = Tally(by_day)
    tally.add_orders([Ordered("A", datetime.fromisoformat("2026-03-02T01:00:00+02:00"), "T")])
    assert [row.day for row in tally.rows()] == [date(2026, 3, 1)]
