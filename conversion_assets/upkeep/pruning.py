"""Pruning of Dagster's history: old runs go, with all their events, checks and logs, and old backfills.

Of a live key the latest run and all runs that made what is there stay. Of a retired key nothing of its runs
stays but what was made last: these materializations are kept as events without a run, with their time and
their data versions, and without their pictures. So are the numbers of a day that were reported last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.events import DagsterEvent, StepMaterializationData
from dagster._core.execution.backfill import BulkActionsFilter, PartitionBackfill
from dagster._core.instance.utils import RUNLESS_JOB_NAME, RUNLESS_RUN_ID
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs.schema import BackfillTagsTable, BulkActionsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

from conversion_assets.backfilling import PAUSED_TAG, UNDER_WAY
from conversion_assets.partitions import DAILY_REPORT, safe_items
from conversion_assets.resources.object_store import ObjectStore
from conversion_assets.resources.quarantine import Quarantine
from conversion_assets.run_traces import PARTITION_TAG
from conversion_assets.selecting import in_batches, latest_records
from conversion_assets.standing import ASSETS, is_report, order_key
from conversion_assets.upkeep.live_orders import active_keys

LASTING = ("unzipped_safe", "zarr_product", "published_item")
"""Assets whose latest materialization is never lost: it tells data versions, type, time and place."""
PICTURE = "data:image/"
AT_ONCE = 200
FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dataclass(frozen=True)
class Pruned:
    """What went.

    Attributes:
        runs: how many runs.
        carried_over: how many materializations were kept as events without a run.
        backfills: how many rows of backfills.
    """

    runs: int = 0
    carried_over: int = 0
    backfills: int = 0


def prune(
    instance: dg.DagsterInstance,
    store: ObjectStore,
    quarantine: Quarantine,
    before: datetime,
    now: datetime,
    *,
    most: int,
    jobs: Collection[str],
) -> Pruned:
    """Let old runs go that tell nothing which is not known without them.

    Killed anywhere, it is completed by repeating.

    Args:
        instance: whose runs.
        store: knows which orders are worked on.
        quarantine: the runs of what is in it stay.
        before: runs that began before it are old.
        now: with time zone.
        most: how many go at most, the oldest first.
        jobs: also runs of these jobs, which are of no order. Those of daily reports go anyway.
    """
    kept = active_keys(instance, now) | {record.key for record in quarantine.records()}
    pruning = _Pruning(instance, store, kept, frozenset(jobs), most)
    for page in _old_runs(instance, before):
        pruning.look_at(page)
        if pruning.is_done:
            break
    backfills = _prune_backfills(instance, before)
    return Pruned(pruning.runs, pruning.carried_over, backfills)


@dataclass
class _Pruning:
    instance: dg.DagsterInstance
    store: ObjectStore
    kept: frozenset[str]
    jobs: frozenset[str]
    most: int
    runs: int = 0
    carried_over: int = 0
    _live: frozenset[str] | None = field(default=None, repr=False)

    @property
    def is_done(self) -> bool:
        """Whether no more are to go."""
        return self.runs >= self.most

    @property
    def live(self) -> frozenset[str]:
        """The partition keys that have not retired."""
        if self._live is None:
            self._live = frozenset(self.instance.get_dynamic_partitions(str(safe_items.name)))
        return self._live

    def look_at(self, runs: list[dg.DagsterRun]) -> None:
        """Let those of some old runs go that may."""
        by_key = {run.run_id: order_key(run) for run in runs}
        needed = self._needed_by_live({key for key in by_key.values() if key in self.live})
        for run in runs:
            key = by_key[run.run_id]
            if self.is_done:
                return
            if key is None:
                if run.job_name in self.jobs:
                    self._remove(run)
                elif is_report(run):
                    self._remove_report(run)
            elif key not in self.kept and run.run_id not in needed:
                self._remove_of_order(run, key)

    def _needed_by_live(self, keys: Collection[str | None]) -> set[str]:
        """Name the runs that made what is there, and the latest ones."""
        known = [key for key in keys if key]
        latest = (
            self.instance.get_run_partition_data(dg.RunsFilter(tags={PARTITION_TAG: known})) if known else []
        )
        made = {
            record.run_id
            for asset in ASSETS
            for _, record in latest_records(self.instance, dg.AssetKey(asset), known)
        }
        return made | {run.run_id for run in latest}

    def _remove_of_order(self, run: dg.DagsterRun, key: str) -> None:
        """Remove the run of an order that nobody works on, after what it made last is kept elsewhere."""
        with self.store.turn_if_free(key) as is_ours:
            if is_ours:
                self._carry_over(run, LASTING, key)
                self._remove(run)

    def _remove_report(self, run: dg.DagsterRun) -> None:
        """Remove the run of a report, after the latest numbers of its day are kept elsewhere."""
        if (day := run.tags.get(PARTITION_TAG)) is not None:
            self._carry_over(run, (DAILY_REPORT.to_user_string(),), day)
            self._remove(run)

    def _carry_over(self, run: dg.DagsterRun, assets: Iterable[str], partition: str) -> None:
        for asset in assets:
            for _, record in latest_records(self.instance, dg.AssetKey(asset), [partition]):
                if record.run_id == run.run_id:
                    _carry_over(self.instance, record)
                    self.carried_over += 1

    def _remove(self, run: dg.DagsterRun) -> None:
        remove_run(self.instance, run.run_id)
        self.runs += 1


def _old_runs(instance: dg.DagsterInstance, before: datetime) -> Iterator[list[dg.DagsterRun]]:
    """Give the runs that ended and began before a time, the oldest first; all are listed before any goes."""
    chosen = dg.RunsFilter(statuses=FINISHED, created_before=before)
    ids = instance.get_run_ids(chosen)
    for some in in_batches(reversed(ids), AT_ONCE):
        runs = instance.get_runs(dg.RunsFilter(run_ids=some))
        yield sorted(runs, key=lambda run: some.index(run.run_id))


def _carry_over(instance: dg.DagsterInstance, record: dg.EventLogRecord) -> None:
    """Report a materialization again without its run, as of the same time."""
    event = record.asset_materialization
    if event is None:
        return
    metadata = {name: value for name, value in event.metadata.items() if not _is_picture(value)}
    kept = dg.AssetMaterialization(
        asset_key=event.asset_key,
        partition=event.partition,
        description=event.description,
        metadata=metadata,
        tags=dict(event.tags or {}),
    )
    instance.report_dagster_event(
        DagsterEvent(
            event_type_value=dg.DagsterEventType.ASSET_MATERIALIZATION.value,
            event_specific_data=StepMaterializationData(kept),
            job_name=RUNLESS_JOB_NAME,
        ),
        run_id=RUNLESS_RUN_ID,
        timestamp=record.timestamp,
    )


def _is_picture(value: dg.MetadataValue[Any]) -> bool:
    return isinstance(value.value, str) and PICTURE in value.value


def remove_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Remove a run with its events, tags, check results, and what its steps printed.

    ``delete_run`` leaves its tags in SQLite, its check results, and the file of its events.
    """
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    events, runs = instance.event_log_storage, instance.run_storage
    if isinstance(events, SqlEventLogStorage):
        with events.index_connection() as connection:
            of_run = AssetCheckExecutionsTable.c.run_id == run_id
            connection.execute(sa.delete(AssetCheckExecutionsTable).where(of_run))
    instance.event_log_storage.delete_events(run_id)
    if isinstance(events, SqliteEventLogStorage):
        path = Path(events.path_for_shard(run_id))
        for one in (path, *(path.with_name(f"{path.name}{ending}") for ending in ("-wal", "-shm"))):
            one.unlink(missing_ok=True)
        events._initialized_dbs.discard(run_id)  # noqa: SLF001 - it would take the file for one that has tables
    if isinstance(runs, SqlRunStorage):
        with runs.connect() as connection:
            connection.execute(sa.delete(RunTagsTable).where(RunTagsTable.c.run_id == run_id))
    instance.run_storage.delete_run(run_id)  # last: a run that is half removed is found again


def _prune_backfills(instance: dg.DagsterInstance, before: datetime) -> int:
    """Remove the rows of backfills that ended before a time; Dagster has no way of its own."""
    storage = instance.run_storage
    if not isinstance(storage, SqlRunStorage):
        return 0
    old = instance.get_backfills(filters=BulkActionsFilter(created_before=before))
    ids = [backfill.backfill_id for backfill in old if _ended_before(backfill, before)]
    for some in in_batches(ids, AT_ONCE):
        with storage.connect() as connection:
            connection.execute(sa.delete(BackfillTagsTable).where(BackfillTagsTable.c.backfill_id.in_(some)))
            connection.execute(sa.delete(BulkActionsTable).where(BulkActionsTable.c.key.in_(some)))
    return len(ids)


def _ended_before(backfill: PartitionBackfill, before: datetime) -> bool:
    ended, is_paused = backfill.backfill_end_timestamp, PAUSED_TAG in backfill.tags
    is_over = backfill.status not in UNDER_WAY and not is_paused
    return is_over and (ended is None or ended < before.timestamp())
