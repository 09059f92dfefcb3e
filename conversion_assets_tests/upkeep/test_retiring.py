from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from conversion_assets.backfilling import Request, launch
from conversion_assets.partitions import find_order, record_order, safe_items
from conversion_assets.quarantining import quarantine_of
from conversion_assets.selecting import History
from conversion_assets.settings import Settings
from conversion_assets.standing import latest_orders, standing_of
from conversion_assets.upkeep.retiring import retire
from conversion_assets_tests.resources.test_quarantine import record
from conversion_assets_tests.upkeep.conftest import Line, unzipped_safe

MONTH = timedelta(days=30)
LATER = datetime.now(UTC) + MONTH + timedelta(days=1)


def retired(
    instance: dg.DagsterInstance, settings: Settings, now: datetime = LATER, most: int = 9
) -> tuple[str, ...]:
    return retire(instance, quarantine_of(settings), now - MONTH, now, most)


def live(instance: dg.DagsterInstance) -> list[str]:
    return list(instance.get_dynamic_partitions(str(safe_items.name)))


def test_published_long_ago_retires_and_its_history_stays(
    instance: dg.DagsterInstance, settings: Settings, line: Line
) -> None:
    line(instance, "A")
    line(instance, "B")
    assert retired(instance, settings, datetime.now(UTC)) == ()
    assert retired(instance, settings) == ("A", "B")
    assert retired(instance, settings) == ()
    assert live(instance) == []
    standing = standing_of(instance, "A")
    assert (standing.status, standing.item) == ("retired", "file:///catalogue/A.json")
    assert {one.order: one.status for one in latest_orders(instance)} == {"A": "retired", "B": "retired"}
    assert History(instance).keys == ("A", "B")
    order = find_order(instance, "A")
    assert order is not None
    record_order(instance, order)
    assert standing_of(instance, "A").status == "published"


def test_bounded_number_retires_at_once(instance: dg.DagsterInstance, settings: Settings, line: Line) -> None:
    for key in "ABC":
        line(instance, key)
    assert retired(instance, settings, most=2) == ("A", "B")
    assert retired(instance, settings, most=2) == ("C",)


def test_what_somebody_needs_does_not_retire(
    instance: dg.DagsterInstance, settings: Settings, line: Line
) -> None:
    line(instance, "unpublished", unzipped_safe)
    for key in ("quarantined", "backfilled", "active"):
        line(instance, key)
    quarantine_of(settings).write(record("quarantined"))
    launch(instance, Request(("backfilled",)))

    @dg.job
    def a_job() -> None:
        """Do nothing."""

    instance.create_run_for_job(
        a_job, tags={"dagster/partition": "active"}, status=dg.DagsterRunStatus.STARTED
    )
    assert retired(instance, settings) == ()
    assert len(live(instance)) == 4


def test_order_that_comes_while_its_key_goes_keeps_it(
    instance: dg.DagsterInstance, settings: Settings, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line(instance, "A")
    ordered, delete = find_order(instance, "A"), instance.delete_dynamic_partition
    assert ordered is not None
    again = ordered.model_copy(update={"updated": "2026-01-01"})

    def overtaken(name: str, key: str) -> None:
        other = threading.Thread(target=record_order, args=(instance, again))
        other.start()
        other.join()
        delete(name, key)

    monkeypatch.setattr(instance, "delete_dynamic_partition", overtaken)
    moment = datetime.now(UTC)
    assert retire(instance, quarantine_of(settings), moment, LATER, 9) == ()
    assert live(instance) == ["A"]
