"""The partition set: one key per ordered product; and the durable log of what was ordered.

An order is the materialization of the external asset ``input_item`` for its partition, with the order
in the metadata. It lives in Dagster's own event log, so that a click on *Materialize*, a backfill or a
run after a crash finds it without run configuration.
"""

from __future__ import annotations

import dagster as dg
from pydantic import ValidationError

from conversion_assets.errors import OrderError, PermanentError, printable
from conversion_assets.orders import Order, is_key, valid_key

INPUT_ITEM = dg.AssetKey("input_item")
DAILY_REPORT = dg.AssetKey("daily_report")
REPORT_JOB = "report"
ORDER = "order"
VERSION = "version"
SKIPPED = "skipped"

safe_items = dg.DynamicPartitionsDefinition(name="safe_items")
report_days = dg.DailyPartitionsDefinition(start_date="2026-01-01")
"""The days that are over, in UTC, and that can be reported on: nothing was ordered before the first."""


def order_event(order: Order, version: str | None = None) -> dg.AssetMaterialization:
    """Give the event that keeps an order: the input item's materialization for the order's key.

    Args:
        order: what is asked for.
        version: of the source's content, where a watch saw it: the same order of the same version asks
            for nothing new.
    """
    return dg.AssetMaterialization(
        asset_key=INPUT_ITEM,
        partition=order.key,
        description=f"Ordered by {order.owner}",
        metadata={
            ORDER: dg.MetadataValue.json(order.model_dump(mode="json")),
            "source": dg.MetadataValue.url(order.derived_from),
            "owner": order.owner,
            "collection": order.target.collection or "by product type",
            **({} if version is None else {VERSION: version}),
        },
    )


def skipped_event(name: str, source: str, reason: str, watch: str) -> dg.AssetObservation:
    """Give the event that keeps why something new was not ordered: an observation of the input item.

    Args:
        name: item id or file name; the event is of its partition where it can be one.
        source: path or URL, fit to be shown.
        reason: why not.
        watch: which watch saw it.
    """
    name = printable(name)
    return dg.AssetObservation(
        asset_key=INPUT_ITEM,
        partition=name if is_key(name) else None,
        description=f"Not ordered: {printable(reason)}",
        metadata={
            SKIPPED: name,
            "reason": printable(reason),
            "source": dg.MetadataValue.url(printable(source)),
            "watch": watch,
        },
    )


def record_order(instance: dg.DagsterInstance, order: Order) -> None:
    """Make an order known: first the order, then its partition, so that no partition lacks its order."""
    key = valid_key(order.key)
    if find_order(instance, key) != order:
        instance.report_runless_asset_event(order_event(order))
    instance.add_dynamic_partitions(str(safe_items.name), [key])


def find_order(instance: dg.DagsterInstance, key: str) -> Order | None:
    """Find the latest order of a key, or None.

    Raises:
        PermanentError: the order was kept by another version of the project.
    """
    selection = dg.AssetRecordsFilter(asset_key=INPUT_ITEM, asset_partitions=[key])
    records = instance.fetch_materializations(selection, limit=1).records
    if not records or (event := records[0].asset_materialization) is None:
        return None
    try:
        return Order.model_validate(event.metadata[ORDER].value)
    except (KeyError, ValidationError) as error:
        raise PermanentError(
            f"order {key}", "it was kept by another version of this project", "Order the product again."
        ) from error


def order_of(instance: dg.DagsterInstance, key: str) -> Order:
    """Give the order of a key.

    Raises:
        OrderError: nothing was ordered under the key.
    """
    order = find_order(instance, valid_key(key))
    if order is None:
        raise OrderError(
            f"partition {key}",
            "nothing was ordered under this key",
            "Order a product with 'conversion-assets convert SOURCE', or name a source in the launchpad.",
        )
    return order
