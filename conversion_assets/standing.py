"""Where orders stand, read from Dagster's own history."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
from pydantic import BaseModel, ConfigDict

from conversion_assets.partitions import DAILY_REPORT, INPUT_ITEM, REPORT_JOB, SKIPPED, order_of, safe_items

PARTITION_TAG = "dagster/partition"
ASSETS = ("staged_safe_item", "unzipped_safe", "zarr_product", "stac_item", "published_item")
MOST_RUNS = 200


class Standing(BaseModel):
    """Where one order stands.

    Attributes:
        order: partition key.
        status: ``published``, ``failed``, ``in progress``, ``canceled`` or ``ordered``; ``retired`` when the
            partition key of a published order is gone.
        product_type: EOPF product type, once known.
        when: start of the latest run, UTC.
        item: href of the published item.
        product: URI of the Zarr.
        source: link to the original source.
        assets: when each asset was last made, UTC.
        error: why the latest run failed.
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


PUBLISHED, RETIRED = "published", "retired"
STATUS = {
    dg.DagsterRunStatus.SUCCESS: PUBLISHED,
    dg.DagsterRunStatus.FAILURE: "failed",
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
    return [_standing(instance, key, record, is_live=key in live) for key, record in latest.items()]


def order_key(run: dg.DagsterRun) -> str | None:
    """Give the key of the order that a run is for; the partition of a report is a day."""
    is_report = run.job_name == REPORT_JOB or run.asset_selection == {DAILY_REPORT}
    return None if is_report else run.tags.get(PARTITION_TAG)


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
    publication = _publication(instance, key)
    published = (PUBLISHED if is_live else RETIRED) if publication else "ordered"
    if record is None:  # it has not run, or its runs were pruned
        return Standing(order=key, status=published, **publication)
    run = record.dagster_run
    status = STATUS.get(run.status, "in progress")
    if status == PUBLISHED:
        status = published  # a run of some of the assets publishes nothing
    return Standing(
        order=key,
        status=status,
        when=_time(record.create_timestamp.timestamp()),
        error=_error(instance, run.run_id) if status == "failed" else None,
        **publication,
    )


def _publication(instance: dg.DagsterInstance, key: str) -> dict[str, str]:
    event = _latest(instance, "published_item", key)
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
