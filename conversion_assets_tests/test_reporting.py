from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from conversion_assets import reporting
from conversion_assets.criteria import TimeRange
from conversion_assets.figures import Delays, Figures, Row, by_day, by_order, by_type, everything
from conversion_assets.orders import Order
from conversion_assets.partitions import order_event
from conversion_assets.reporting import delays_of, tally_of
from conversion_assets.selecting import PUBLISHED
from conversion_assets_tests.past_events import materialized_at
from conversion_assets_tests.safe.products import S1_NAME, S2_NAME

S1_KEY, S2_KEY = S1_NAME.removesuffix(".SAFE"), S2_NAME.removesuffix(".SAFE")
HOUR = timedelta(hours=1)
NO_DELAYS = Delays()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def order_of(key: str, href: str = "s3://bucket/X.zip", published: datetime | None = None) -> Order:
    return Order(
        key=key,
        item_id=key,
        href=href,
        derived_from="https://source.test/X",
        owner="me",
        published=published,
    )


def ordered(
    instance: dg.DagsterInstance, key: str, href: str = "s3://bucket/X.zip", version: str | None = None
) -> None:
    instance.report_runless_asset_event(order_event(order_of(key, href), version))


def published(
    instance: dg.DagsterInstance,
    key: str,
    delays: Delays = NO_DELAYS,
    kind: str = "S02MSIL1C",
    cpu: float = 2,
) -> None:
    numbers = Figures(cpu_seconds=cpu, peak_memory_bytes=10**9, objects=7).numbers() | delays.numbers()
    metadata = {"product type": kind, "item": "file:///X.json", **numbers}
    instance.report_runless_asset_event(dg.AssetMaterialization(PUBLISHED, partition=key, metadata=metadata))


def ended(instance: dg.DagsterInstance, key: str, status: dg.DagsterRunStatus) -> None:
    @dg.job
    def a_job() -> None:
        """Do nothing."""

    instance.create_run_for_job(a_job, tags={"dagster/partition": key}, status=status)


def now() -> datetime:
    return datetime.now(UTC)


def around_now() -> TimeRange:
    return TimeRange(now() - HOUR, now() + HOUR)


def row_of(instance: dg.DagsterInstance) -> Row:
    (row,) = tally_of(instance, around_now(), everything).rows()
    return row


def test_orders_are_published_failed_or_under_way(instance: dg.DagsterInstance) -> None:
    for key in ("done", "failed", "canceled", "running", "waiting", "mended"):
        ordered(instance, key)
    for key in ("done", "mended"):
        published(instance, key)
    for key, status in (
        ("failed", dg.DagsterRunStatus.FAILURE),
        ("canceled", dg.DagsterRunStatus.CANCELED),
        ("running", dg.DagsterRunStatus.STARTED),
        ("mended", dg.DagsterRunStatus.FAILURE),
    ):
        ended(instance, key, status)
    row = row_of(instance)
    assert (row.orders, row.published, row.failed) == (6, 2, 2)


def test_what_was_ordered_anew_and_is_not_published_since_is_not_published(
    instance: dg.DagsterInstance,
) -> None:
    published(instance, "X")
    ordered(instance, "X")
    assert (row_of(instance).orders, row_of(instance).published) == (1, 0)
    published(instance, "X")
    assert (row_of(instance).orders, row_of(instance).published, row_of(instance).publications) == (1, 1, 2)


def test_what_a_watch_orders_again_though_it_was_published_is_published(instance: dg.DagsterInstance) -> None:
    ordered(instance, "X", version="1")
    time.sleep(0.01)
    published(instance, "X")
    time.sleep(0.01)
    start = now()
    for _ in range(2):
        ordered(instance, "X", version="1")
    for time_of in (around_now(), TimeRange(start, None)):
        (row,) = tally_of(instance, time_of, everything).rows()
        assert (row.orders, row.published) == (1, 1)


@pytest.mark.parametrize("versions", [("1", "2"), ("1", "2", "2"), ("1", "2", "1"), ("1", None), (None, "1")])
def test_what_a_watch_orders_anew_is_missing_until_it_is_published(
    instance: dg.DagsterInstance, versions: tuple[str | None, ...]
) -> None:
    first, *others = versions
    ordered(instance, "X", version=first)
    published(instance, "X")
    time.sleep(0.01)
    for version in others:
        ordered(instance, "X", version=version)
    assert (row_of(instance).orders, row_of(instance).published) == (1, 0)
    published(instance, "X")
    assert row_of(instance).published == 1


def test_what_was_never_published_is_missing_however_often_it_is_ordered(
    instance: dg.DagsterInstance,
) -> None:
    for _ in range(3):
        ordered(instance, "X", version="1")
    assert (row_of(instance).orders, row_of(instance).published) == (1, 0)


def test_an_order_of_one_day_counts_once(instance: dg.DagsterInstance) -> None:
    for _ in range(3):
        ordered(instance, "X")
    assert row_of(instance).orders == 1


def test_numbers_are_those_of_the_publications(instance: dg.DagsterInstance) -> None:
    published(instance, "X", Delays(60, 3600), cpu=2)
    published(instance, "X", cpu=3)
    row = row_of(instance)
    assert (row.cpu_seconds, row.peak_memory_bytes, row.objects) == (5, 10**9, 14)
    assert (row.order_seconds_p95, row.source_seconds_p95) == (60, 3600)


def test_the_type_is_told_by_name_by_source_or_by_what_was_published(instance: dg.DagsterInstance) -> None:
    ordered(instance, S1_KEY)
    ordered(instance, "an-item", href=f"s3://bucket/{S2_NAME}.zip")
    ordered(instance, "mystery")
    ordered(instance, "published")
    published(instance, "published", kind="S03OLCEFR")
    rows = tally_of(instance, around_now(), by_type).rows()
    assert [row.product_type for row in rows] == ["S01SIWGRD", "S02MSIL1C", "S03OLCEFR", "unknown"]
    assert {row.orders for row in rows} == {1}


def test_only_the_time_asked_for_counts(instance: dg.DagsterInstance) -> None:
    ordered(instance, "early")
    time.sleep(0.01)
    start = now()
    ordered(instance, "late")
    for key in ("early", "late"):
        published(instance, key)
    after = TimeRange(start, None)
    assert [
        (row.order, row.orders, row.publications) for row in tally_of(instance, after, by_order).rows()
    ] == [
        ("early", 0, 1),
        ("late", 1, 1),
    ]
    # What was published later than the time asked for still tells what became of its orders.
    before = tally_of(instance, TimeRange(None, start), by_order).rows()
    assert [(row.order, row.published, row.publications) for row in before] == [("early", 1, 0)]


def test_all_pages_are_read(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "MOST_EVENTS", 5)
    number = 13
    for count in range(number):
        ordered(instance, f"K{count}")
        published(instance, f"K{count}", cpu=1)
    (row,) = tally_of(instance, around_now(), by_day).rows()
    assert (row.orders, row.published, row.publications, row.cpu_seconds) == (number,) * 4


def test_an_empty_history_has_no_rows(instance: dg.DagsterInstance) -> None:
    assert tally_of(instance, around_now(), by_day).rows() == []


def test_delays_are_those_of_the_first_publication_of_an_order(instance: dg.DagsterInstance) -> None:
    order = order_of("X", published=now() - 2 * HOUR)
    assert delays_of(instance, order, now()) == Delays()
    instance.report_runless_asset_event(order_event(order))
    delays = delays_of(instance, order, now() + HOUR)
    assert delays.since_order == pytest.approx(3600, abs=60)
    assert delays.since_source == pytest.approx(3 * 3600, abs=60)
    published(instance, "X")
    assert delays_of(instance, order, now()) == Delays()
    instance.report_runless_asset_event(order_event(order))
    assert delays_of(instance, order, now()).since_order is not None


def test_a_source_that_does_not_tell_when_it_published_has_no_delay(instance: dg.DagsterInstance) -> None:
    ordered(instance, "X")
    assert delays_of(instance, order_of("X"), now()).since_source is None


def test_midnight_belongs_to_the_day_that_begins(instance: dg.DagsterInstance) -> None:
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    materialized_at(instance, order_event(order_of("X")), midnight)
    materialized_at(instance, dg.AssetMaterialization(PUBLISHED, partition="X"), midnight)
    for day, number in (("2026-03-01", 0), ("2026-03-02", 1)):
        rows = tally_of(instance, TimeRange.parse(day), by_day).rows()
        assert [(row.orders, row.publications) for row in rows] == [(1, 1)] * number
