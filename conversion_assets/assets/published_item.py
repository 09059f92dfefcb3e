"""Published: the item in the catalogue, read back; the staged copies released."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from conversion_assets.assets.metadata import published_metadata
from conversion_assets.assets.step import Result, materialized, step
from conversion_assets.assets.stopwatch import Stopwatch
from conversion_assets.checks.findings import publication_finding, timeliness_finding
from conversion_assets.checks.specs import judged
from conversion_assets.publishing import publish_version, supersede_moved
from conversion_assets.records import DescribedProduct, PublishedProduct
from conversion_assets.reporting import delays_of
from conversion_assets.resources.catalogue import Catalogue, CollectionSpec, Document
from conversion_assets.resources.object_store import ObjectStore
from conversion_assets.resources.staging import Staging
from conversion_assets.resources.thresholds import Thresholds
from conversion_assets.resources.version_grace import VersionGrace
from conversion_assets.selecting import PUBLISHED, History, latest_records, match
from conversion_assets.tracing import span


@step(kinds={"stac"}, pool="catalogue")
def published_item(
    context: dg.AssetExecutionContext,
    stac_item: DescribedProduct,
    catalogue: Catalogue,
    object_store: ObjectStore,
    staging: Staging,
    version_grace: VersionGrace,
    thresholds: Thresholds,
) -> Result:
    """The item where readers find it: added or replaced, read back and compared.

    What it was before stays beside it for a while, also in another collection or under another name. Then
    the staged copies of the input are removed.
    """
    watch, order = Stopwatch(), stac_item.order
    spec = CollectionSpec(owner=order.owner, id=stac_item.collection, title=stac_item.collection_title)
    with span("catalogue publish", collection=spec.id):
        published = publish_version(
            stac_item.item,
            spec,
            catalogue,
            object_store,
            version_grace.end(),
            metadata_sha256=stac_item.metadata_sha256,
        )
    delays = delays_of(context.instance, order, datetime.now(UTC))
    found = catalogue.read(published.href)
    findings = (
        publication_finding(published.item, found),
        timeliness_finding(delays.since_source, thresholds.timeliness_hours),
    )
    yield from judged("published_item", stac_item.item["id"], findings)
    if (former := _product_before(context.instance, order.key)) and supersede_moved(
        former,
        found,
        spec,
        catalogue,
        object_store,
        version_grace.end(),
        is_wanted=lambda item: _is_of_another_order(context.instance, item, order.key),
    ):
        context.log.info("the former item of the order leads to %s in %s now", found["id"], spec.id)
    staging.release(order)
    object_store.release(order.key)
    record = PublishedProduct.of(stac_item, published.href)
    yield materialized(record, published_metadata(record, stac_item.figures, delays, watch.seconds()))


def _product_before(instance: dg.DagsterInstance, key: str) -> str | None:
    """Give the product that an order published last, as long as this publication is not recorded."""
    for _, record in latest_records(instance, PUBLISHED, [key]):
        event = record.asset_materialization
        if event is not None and "product" in event.metadata:
            return str(event.metadata["product"].value)
    return None


def _is_of_another_order(instance: dg.DagsterInstance, item: Document, key: str) -> bool:
    return any(other != key for other in match(History(instance), [item]).keys)
