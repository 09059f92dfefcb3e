"""Where orders stand, read from Dagster's own history."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
from pydantic import BaseModel, ConfigDict

from conversion_assets.partitions import DAILY_REPORT, INPUT_ITEM, REPORT_JOB, SKIPPED, order_of, safe_items
from conversion_assets.quarantining import DROPPED, was_dropped
from conversion_assets.resources.quarantine import QuarantinedOrder
from conversion_assets.selecting import was_withdrawn

PARTITION_TAG = "dagster/partition"
ASSETS = ("staged_safe_item", "unzipped_safe", "zarr_product", "stac_item", "published_item")
MOST_RUNS = 200


class Standing(BaseModel):
    """Where one order stands.

    Attributes:
        order: partition key.
        status: ``published``, ``failed``, ``in progress``, ``canceled`` or ``ordered``; ``retired`` when the
            partition key of a published order is gone, ``dropped`` when it was given up in quarantine.
        product_type: EOPF product type, once known.
        when: start of the latest run, UTC; of a published order, of the latest that was not withdrawn.
        item: href of the published item.
        product: URI of the Zarr.
        source: link to the original source.
        assets: when each asset was last made, UTC.
        error: why that run failed.
        evidence: where the copy of a poisoned input is now, of an order in quarantine.
        quarantine: the command that shows it in quarantine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: str
    status: str
    product_type: str | None = None
    when: str | None = None
    item: str | None = None
    product: str | None = None
    source: str | None = None
    assets: dict[str, str] = {}
    error: str | None = None
    evidence: str | None = None
    quarantine: str | None = None

    def with_quarantine(self, record: QuarantinedOrder | None) -> Standing:
        """Add what the quarantine has of the order; the same where it has nothing."""
        if record is None:
            return self
        shown = f"conversion-assets quarantine show {record.key}"
        return self.model_copy(update={"evidence": record.evidence_now, "quarantine": shown})


PUBLISHED, RETIRED, FAILED = "published", "retired", "failed"
STATUS = {
    dg.DagsterRunStatus.SUCCESS: PUBLISHED,
    dg.DagsterRunStatus.FAILURE: FAILED,
    dg.DagsterRunStatus.CANCELED: "canceled",
}


class SkippedInput(BaseModel):
    """Something new that a watch saw and did not order.

    Attributes:
        name: item id or file name.
        when: UTC.
        watch: which watch saw it.
        reason: why it was not ordered.
        source: path or URL.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    when: str
    watch: str
    reason: str
    source: str


def latest_skipped(instance: dg.DagsterInstance) -> list[SkippedInput]:
    """Give what watches skipped last, newest first."""
    records = instance.fetch_observations(INPUT_ITEM, limit=MOST_RUNS).records
    return [found for record in records if (found := _skipped(record)) is not None]


def _skipped(record: dg.EventLogRecord) -> SkippedInput | None:
    event = record.event_log_entry.asset_observation
    if event is None or SKIPPED not in event.metadata:
        return None
    told = {name: str(event.metadata[name].value) for name in ("watch", "reason", "source")}
    name = str(event.metadata[SKIPPED].value)
    return SkippedInput(name=name, when=_time(record.timestamp), **told)


def latest_orders(instance: dg.DagsterInstance) -> list[Standing]:
    """Give the orders of the latest runs, newest first."""
    latest: dict[str, dg.RunRecord] = {}
    for record in instance.get_run_records(limit=MOST_RUNS):
        key = order_key(record.dagster_run)
        if key is not None:
            latest.setdefault(key, record)
    live = frozenset(instance.get_dynamic_partitions(str(safe_items.name)))
    found = [_standing(instance, key, record, is_live=key in live) for key, record in latest.items()]
    return sorted(found, key=lambda standing: standing.when or "", reverse=True)


def order_key(run: dg.DagsterRun) -> str | None:
    """Give the key of the order that a run is for; the partition of a report is a day."""
    return None if is_report(run) else run.tags.get(PARTITION_TAG)


def is_report(run: dg.DagsterRun) -> bool:
    """Tell whether a run makes nothing but daily reports."""
    return run.job_name == REPORT_JOB or run.asset_selection == {DAILY_REPORT}


def standing_of(instance: dg.DagsterInstance, key: str) -> Standing:
    """Give one order in detail.

    Raises:
        OrderError: nothing was ordered under the key.
    """
    order = order_of(instance, key)
    records = instance.get_run_records(dg.RunsFilter(tags={PARTITION_TAG: key}), limit=1)
    is_live = instance.has_dynamic_partition(str(safe_items.name), key)
    standing = _standing(instance, key, records[0] if records else None, is_live=is_live)
    events = {name: _latest(instance, name, key) for name in ASSETS}
    made = {name: _time(event.timestamp) for name, event in events.items() if event}
    return standing.model_copy(update={"source": order.derived_from, "assets": made})


def _standing(
    instance: dg.DagsterInstance, key: str, record: dg.RunRecord | None, *, is_live: bool
) -> Standing:
    event = _latest(instance, "published_item", key)
    if event is not None and record is not None and _was_withdrawn(record):
        record = _latest_not_withdrawn(instance, key)
    status = _status(record, is_published=event is not None, is_live=is_live)
    if not is_live and was_dropped(instance, key):
        status = DROPPED
    return Standing(
        order=key,
        status=status,
        when=_time(record.create_timestamp.timestamp()) if record else None,
        error=_error(instance, record.dagster_run.run_id) if record and status == FAILED else None,
        **_publication(event),
    )


def _status(record: dg.RunRecord | None, *, is_published: bool, is_live: bool) -> str:
    published = (PUBLISHED if is_live else RETIRED) if is_published else "ordered"
    if record is None:  # it has not run, or its runs were pruned
        return published
    status = STATUS.get(record.dagster_run.status, "in progress")
    return published if status == PUBLISHED else status  # a run of some of the assets publishes nothing


def _was_withdrawn(record: dg.RunRecord) -> bool:
    return was_withdrawn(record.dagster_run.status, record.start_time)


def _latest_not_withdrawn(instance: dg.DagsterInstance, key: str) -> dg.RunRecord | None:
    records = instance.get_run_records(dg.RunsFilter(tags={PARTITION_TAG: key}))
    return next((record for record in records if not _was_withdrawn(record)), None)


def _publication(event: dg.EventLogRecord | None) -> dict[str, str]:
    if event is None or event.asset_materialization is None:
        return {}
    metadata = event.asset_materialization.metadata
    names = {"item": "item", "product": "product", "product_type": "product type"}
    return {field: str(metadata[name].value) for field, name in names.items() if name in metadata}


def _latest(instance: dg.DagsterInstance, asset: str, key: str) -> dg.EventLogRecord | None:
    selection = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[key])
    records = instance.fetch_materializations(selection, limit=1).records
    return records[0] if records else None


def _error(instance: dg.DagsterInstance, run_id: str) -> str | None:
    failures = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=1).records
    for record in failures:
        event = record.event_log_entry.dagster_event
        told = event.step_failure_data.user_failure_data if event else None
        if told is not None:
            return told.description
    return None


def _time(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d %H:%M:%S")
