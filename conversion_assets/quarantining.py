"""Orders that failed for good: into quarantine with what is known of them, and out again.

Dagster shows them as the external asset ``quarantined_order``: a materialization when an order comes into
quarantine, an observation of what became of it.
"""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from conversion_assets.errors import OrderError
from conversion_assets.orders import Order
from conversion_assets.partitions import find_order
from conversion_assets.resources.quarantine import (
    EVIDENCE_COPY,
    Evidence,
    Quarantine,
    QuarantinedOrder,
    QuarantineFolder,
    bounded,
)
from conversion_assets.run_failures import RunFailure, failure_of
from conversion_assets.run_traces import PARTITION_TAG
from conversion_assets.safe.product_types import product_type_of_name
from conversion_assets.settings import Settings

QUARANTINED_ORDER = dg.AssetKey("quarantined_order")
PUBLISHED_ITEM = dg.AssetKey("published_item")
BECAME = "what became of it"
DROPPED = "dropped"
KEPT_TAG = ".dagster/conversion_assets/quarantined"
WILL_RETRY_TAG = "dagster/will_retry"


def quarantine_of(settings: Settings) -> Quarantine:
    """Give the quarantine of a home."""
    return QuarantineFolder(
        root=str(settings.home / "quarantine"), evidence_days=settings.quarantine_evidence_days
    )


def keep_failure(
    instance: dg.DagsterInstance,
    quarantine: Quarantine,
    run: dg.DagsterRun,
    failure: RunFailure,
    evidence: Evidence | None = None,
) -> QuarantinedOrder | None:
    """Put the order of a run into quarantine, once for the run.

    Args:
        instance: knows the order; shows the record.
        quarantine: keeps the record.
        run: failed for good.
        failure: why.
        evidence: of a poisoned input.

    Returns:
        The record; None where nothing was ordered under the run's key.
    """
    key = run.tags.get(PARTITION_TAG, "")
    order = find_order(instance, key) if key else None
    if order is None:
        return None
    now = datetime.now(UTC)
    record = quarantine.keep(
        QuarantinedOrder(
            key=key,
            order=order,
            error_class=failure.error_class,
            subject=bounded(failure.subject),
            rule=bounded(failure.rule),
            way_out=bounded(failure.way_out),
            step=failure.step,
            run_id=run.run_id,
            since=now,
            when=now,
            product_type=_product_type(order),
            evidence=evidence or {},
        )
    )
    instance.report_runless_asset_event(_quarantined(record))
    # The run is named: a repeated run inherits the tags of the first one.
    instance.add_run_tags(run.run_id, {KEPT_TAG: run.run_id})
    return record


def keep_failed_run(
    instance: dg.DagsterInstance, quarantine: Quarantine, run_id: str
) -> QuarantinedOrder | None:
    """Put the order of a failed run into quarantine, unless that was done, or there is no reason to.

    There is none where somebody interrupted the run, where Dagster will try it again, and where the order
    was published since.

    Args:
        instance: whose run.
        quarantine: keeps the record.
        run_id: of the run.

    Returns:
        The record, if it was made now.
    """
    record = instance.get_run_record_by_id(run_id)
    if record is None or record.dagster_run.status is not dg.DagsterRunStatus.FAILURE:
        return None
    run = record.dagster_run
    if run.tags.get(KEPT_TAG) == run_id or will_be_tried_again(run) or _was_published_since(instance, record):
        return None
    failure = failure_of(instance, run_id)
    return None if failure.is_interruption else keep_failure(instance, quarantine, run, failure)


def will_be_tried_again(run: dg.DagsterRun) -> bool:
    """Tell whether the daemon repeats a failed run; it can do so only with runs it could launch."""
    return run.remote_job_origin is not None and run.tags.get(WILL_RETRY_TAG) == "true"


def tell_of(instance: dg.DagsterInstance, key: str, what: str, said: str) -> None:
    """Let Dagster show what became of a quarantined order.

    Args:
        instance: shows it.
        key: of the order.
        what: ``published``, ``replayed`` or ``dropped``.
        said: the same as a sentence.
    """
    instance.report_runless_asset_event(
        dg.AssetObservation(QUARANTINED_ORDER, partition=key, description=said, metadata={BECAME: what})
    )


def was_dropped(instance: dg.DagsterInstance, key: str) -> bool:
    """Tell whether an order was given up, and has neither been published nor failed for good since.

    Args:
        instance: was told of it.
        key: of an order whose partition key is gone: one that was ordered again has its key again.
    """
    of_order = dg.AssetRecordsFilter(asset_key=QUARANTINED_ORDER, asset_partitions=[key])
    for told in instance.fetch_observations(of_order, limit=1).records:
        event = told.event_log_entry.asset_observation
        if event is not None and BECAME in event.metadata and event.metadata[BECAME].value == DROPPED:
            of_item = dg.AssetRecordsFilter(asset_key=PUBLISHED_ITEM, asset_partitions=[key])
            return not any(
                later.timestamp > told.timestamp
                for chosen in (of_order, of_item)
                for later in instance.fetch_materializations(chosen, limit=1).records
            )
    return False


def evidence_told(record: QuarantinedOrder) -> str:
    """Say where the evidence is now, as a sentence that follows the reason; empty where there was none."""
    return f" Its evidence is {record.evidence_now}." if record.evidence_now else ""


def _quarantined(record: QuarantinedOrder) -> dg.AssetMaterialization:
    facts = {name: fact for name, fact in record.evidence.items() if name != EVIDENCE_COPY}
    copy = record.evidence.get(EVIDENCE_COPY)
    return dg.AssetMaterialization(
        asset_key=QUARANTINED_ORDER,
        partition=record.key,
        description=f"{record.reason}{evidence_told(record)}",
        metadata={
            "class": record.error_class.value,
            "reason": f"{record.subject}: {record.rule}",
            "way out": record.way_out,
            "step": record.step or "before the first",
            "run": dg.MetadataValue.dagster_run(record.run_id),
            "failed runs": record.attempts,
            "replay": dg.MetadataValue.md(f"`conversion-assets quarantine replay {record.key}`"),
            **({"product type": record.product_type} if record.product_type else {}),
            **({"evidence": dg.MetadataValue.path(str(copy))} if copy else {}),
            **{f"evidence {name}": fact for name, fact in facts.items()},
        },
    )


def _was_published_since(instance: dg.DagsterInstance, record: dg.RunRecord) -> bool:
    key = record.dagster_run.tags.get(PARTITION_TAG, "")
    selection = dg.AssetRecordsFilter(asset_key=PUBLISHED_ITEM, asset_partitions=[key])
    published = instance.fetch_materializations(selection, limit=1).records
    began = record.start_time or record.create_timestamp.timestamp()
    return any(event.timestamp > began and event.run_id != record.dagster_run.run_id for event in published)


def _product_type(order: Order) -> str | None:
    for name in (order.item_id, order.href.rstrip("/").rpartition("/")[2]):
        try:
            return product_type_of_name(name).eopf_type
        except OrderError:
            continue
    return None
