"""Staged: a verified copy of the ordered product."""

from __future__ import annotations

import dagster as dg

from conversion_assets.assets.metadata import staged_metadata
from conversion_assets.assets.overrides import OrderOverrides
from conversion_assets.assets.step import Result, materialized, step
from conversion_assets.assets.stopwatch import Stopwatch
from conversion_assets.partitions import INPUT_ITEM
from conversion_assets.records import StagedSafe
from conversion_assets.resources.object_store import ObjectStore
from conversion_assets.resources.order_defaults import OrderDefaults
from conversion_assets.resources.staging import Staging


@step(kinds={"storage"}, pool="staging", deps=[INPUT_ITEM])
def staged_safe_item(
    context: dg.AssetExecutionContext,
    config: OrderOverrides,
    order_defaults: OrderDefaults,
    staging: Staging,
    object_store: ObjectStore,
) -> Result:
    """A verified copy of the ordered product, still as it came: an archive or a folder.

    It lies apart from everything readers see and is removed once the product is published.
    """
    watch = Stopwatch()
    order = config.applied(context.instance, context.partition_key, order_defaults)
    with object_store.releasing_refused(order.key):
        copy = staging.stage(order, object_store.staging_folder(order.key), context.log.info)
    record = StagedSafe(order=order, path=copy.path, files=copy.files, total_bytes=copy.total_bytes)
    yield materialized(record, staged_metadata(record, copy, watch.seconds()))
