from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, AssetEventTagsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.runs.schema import RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

from conversion_assets.backfilling import Request, cancel, launch, pause
from conversion_assets.criteria import CodeVersions, Criteria
from conversion_assets.partitions import DAILY_REPORT, REPORT_JOB, find_order, report_days, safe_items
from conversion_assets.quarantining import quarantine_of
from conversion_assets.resources.folder_object_store import FolderObjectStore
from conversion_assets.resources.object_store import ObjectStore
from conversion_assets.selecting import PUBLISHED, ZARR, History, latest_records, select
from conversion_assets.settings import Settings
from conversion_assets.standing import standing_of
from conversion_assets.upkeep import pruning
from conversion_assets.upkeep.pruning import Pruned, prune
from conversion_assets_tests.resources.test_quarantine import record
from conversion_assets_tests.upkeep.conftest import Line, unzipped_safe

LATER = datetime.now(UTC) + timedelta(days=91)
QUARTER = timedelta(days=90)


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    return FolderObjectStore(root=str(settings.home))


def pruned(
    instance: dg.DagsterInstance,
    settings: Settings,
    store: ObjectStore,
    now: datetime = LATER,
    most: int = 9,
) -> Pruned:
    jobs = ("upkeep",)
    return prune(instance, store, quarantine_of(settings), now - QUARTER, now, most=most, jobs=jobs)


def retired(instance: dg.DagsterInstance, *keys: str) -> None:
    for key in keys:
        instance.delete_dynamic_partition(str(safe_items.name), key)


def runs(instance: dg.DagsterInstance) -> set[str]:
    return set(instance.get_run_ids())


@contextmanager
def tables(instance: dg.DagsterInstance) -> Iterator[tuple[sa.Connection, sa.Connection]]:
    events, known = instance.event_log_storage, instance.run_storage
    assert isinstance(events, SqlEventLogStorage)
    assert isinstance(known, SqlRunStorage)
    with events.index_connection() as of_events, known.connect() as of_runs:
        yield of_events, of_runs


def rows_of(instance: dg.DagsterInstance, run_id: str) -> int:
    """Count what the databases keep of a run besides its events."""
    checks, tags = AssetCheckExecutionsTable, RunTagsTable
    with tables(instance) as (of_events, of_runs):
        one = of_events.execute(sa.select(checks.c.id).where(checks.c.run_id == run_id)).fetchall()
        other = of_runs.execute(sa.select(tags.c.id).where(tags.c.run_id == run_id)).fetchall()
    return len(one) + len(other)


def event_tags(instance: dg.DagsterInstance) -> int:
    with tables(instance) as (of_events, _):
        return len(of_events.execute(sa.select(AssetEventTagsTable.c.id)).fetchall())


def files_of(settings: Settings, run_id: str) -> list[Path]:
    return [path for path in settings.dagster_home.rglob("*") if run_id in str(path) and path.is_file()]


def test_runs_of_retired_orders_go_and_what_they_made_stays_known(
    of_home: dg.DagsterInstance, settings: Settings, store: ObjectStore, line: Line
) -> None:
    first, second = line(of_home, "A"), line(of_home, "A")
    published = dict(latest_records(of_home, PUBLISHED, ["A"]))["A"]
    assert rows_of(of_home, second) > 0
    assert len(files_of(settings, second)) > 1
    retired(of_home, "A")
    assert pruned(of_home, settings, store, datetime.now(UTC)) == Pruned()
    assert pruned(of_home, settings, store) == Pruned(runs=2, carried_over=3)
    assert pruned(of_home, settings, store) == Pruned()
    assert runs(of_home) == set()
    for run_id in (first, second):
        assert rows_of(of_home, run_id) == 0
        assert files_of(settings, run_id) == []
        assert of_home.all_logs(run_id) == []
    standing = standing_of(of_home, "A")
    assert (standing.status, standing.item) == ("retired", "file:///catalogue/A.json")
    kept = dict(latest_records(of_home, PUBLISHED, ["A"]))["A"]
    assert (kept.run_id, kept.timestamp) == ("", published.timestamp)
    assert find_order(of_home, "A") is not None
    old, now = Criteria(stale=True), CodeVersions(eopf="9.9.9", types=frozenset({"abc"}))
    assert select(History(of_home), old, now) == ("A",)
    product = dict(latest_records(of_home, ZARR, ["A"]))["A"].asset_materialization
    assert product is not None
    assert set(product.metadata) == {"arrays"}


def test_superseded_runs_of_live_orders_go_and_the_rest_stays(
    instance: dg.DagsterInstance, settings: Settings, store: ObjectStore, line: Line
) -> None:
    old, whole, latest = line(instance, "A"), line(instance, "A"), line(instance, "A", unzipped_safe)
    before = event_tags(instance)
    assert pruned(instance, settings, store) == Pruned(runs=1)
    assert runs(instance) == {whole, latest}
    assert event_tags(instance) < before
    assert old not in runs(instance)
    assert standing_of(instance, "A").item == "file:///catalogue/A.json"


def test_runs_of_upkeep_itself_go_and_of_other_jobs_stay(
    instance: dg.DagsterInstance, settings: Settings, store: ObjectStore
) -> None:
    @dg.job
    def upkeep() -> None:
        """Do nothing."""

    @dg.job
    def another() -> None:
        """Do nothing."""

    for job in (upkeep, another):
        job.execute_in_process(instance=instance)
    assert pruned(instance, settings, store) == Pruned(runs=1)
    assert [run.job_name for run in instance.get_runs()] == ["another"]


@dg.asset(key=DAILY_REPORT, partitions_def=report_days)
def a_report() -> dg.MaterializeResult[None]:
    """Stand for the report of a day."""
    return dg.MaterializeResult(metadata={"orders": 4})


def test_runs_of_reports_go_and_the_latest_numbers_of_each_day_stay(
    instance: dg.DagsterInstance, settings: Settings, store: ObjectStore
) -> None:
    report = dg.define_asset_job(REPORT_JOB, [DAILY_REPORT])
    definitions = dg.Definitions([a_report], jobs=[report])
    days = ("2026-03-01", "2026-03-01", "2026-03-02")
    for day in days:
        definitions.resolve_job_def(REPORT_JOB).execute_in_process(instance=instance, partition_key=day)
    made = {day: record.timestamp for day, record in latest_records(instance, DAILY_REPORT, days)}
    assert pruned(instance, settings, store, datetime.now(UTC)) == Pruned()
    assert pruned(instance, settings, store) == Pruned(runs=3, carried_over=2)
    assert pruned(instance, settings, store) == Pruned()
    assert runs(instance) == set()
    kept = dict(latest_records(instance, DAILY_REPORT, days))
    assert {day: record.timestamp for day, record in kept.items()} == made
    for record_of_day in kept.values():
        assert record_of_day.asset_materialization is not None
        assert record_of_day.asset_materialization.metadata["orders"].value == 4


def test_what_somebody_needs_stays(
    instance: dg.DagsterInstance, settings: Settings, store: ObjectStore, line: Line
) -> None:
    made = {line(instance, key) for key in ("quarantined", "backfilled", "held")}
    quarantine_of(settings).write(record("quarantined"))
    launch(instance, Request(("backfilled",)))
    retired(instance, "quarantined", "backfilled", "held")
    with store.turn("held"):
        assert pruned(instance, settings, store) == Pruned()
    assert runs(instance) == made
    assert pruned(instance, settings, store) == Pruned(runs=1, carried_over=3)


def test_pruning_is_bounded_and_completed_after_a_kill(
    instance: dg.DagsterInstance,
    settings: Settings,
    store: ObjectStore,
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = line(instance, "A"), line(instance, "B")
    retired(instance, "A", "B")
    with monkeypatch.context() as patch:
        patch.setattr(instance.run_storage, "delete_run", killed)
        with pytest.raises(KeyboardInterrupt):
            pruned(instance, settings, store)
    assert runs(instance) == {first, second}
    assert pruned(instance, settings, store, most=1) == Pruned(runs=1)
    assert runs(instance) == {second}
    assert pruned(instance, settings, store) == Pruned(runs=1, carried_over=3)
    assert standing_of(instance, "A").item == "file:///catalogue/A.json"


def killed(run_id: str) -> None:
    raise KeyboardInterrupt(run_id)


def test_backfills_that_ended_go(
    instance: dg.DagsterInstance, settings: Settings, store: ObjectStore, line: Line
) -> None:
    line(instance, "A")
    over, waiting, going_on = (launch(instance, Request(("A",), title=title)) for title in ("a", "b", "c"))
    pause(instance, waiting, lambda _: None)
    cancel(instance, over)
    done = instance.get_backfill(over)
    assert done is not None
    instance.update_backfill(done._replace(status=type(done.status).CANCELED))
    assert pruned(instance, settings, store, datetime.now(UTC)).backfills == 0
    assert pruned(instance, settings, store).backfills == 1
    assert {one.backfill_id for one in instance.get_backfills()} == {waiting, going_on}
    assert pruning.AT_ONCE > 1
