"""Described: a valid STAC item for the product."""

from __future__ import annotations

from conversion_assets.assets.metadata import item_metadata
from conversion_assets.assets.step import Result, materialized, step
from conversion_assets.assets.stopwatch import Stopwatch
from conversion_assets.checks.findings import item_finding
from conversion_assets.checks.specs import judged
from conversion_assets.describing import described, require_recorded
from conversion_assets.records import DescribedProduct, ZarrProduct
from conversion_assets.resources.facility import Facility
from conversion_assets.resources.object_store import ObjectStore


@step(kinds={"stac"})
def stac_item(zarr_product: ZarrProduct, facility: Facility, object_store: ObjectStore) -> Result:
    """The STAC item of the product, built anew from its own metadata and the footprint of the SAFE."""
    watch = Stopwatch()
    product = object_store.open_product(zarr_product.uri)
    item = described(zarr_product, product, facility.name)
    require_recorded(zarr_product, product)
    document = item.to_dict(include_self_link=False)
    yield from judged("stac_item", item.id, [item_finding(document)])
    record = DescribedProduct.of(zarr_product, document)
    yield materialized(record, item_metadata(record, watch.seconds()))
