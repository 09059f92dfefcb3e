"""Converted: a complete, verified EOPF Zarr product at its final place."""

from __future__ import annotations

from importlib.metadata import version

import dagster as dg
from pydantic import Field

from conversion_assets.assets.metadata import product_metadata, quicklook_metadata
from conversion_assets.assets.step import Result, materialized, step
from conversion_assets.assets.stopwatch import Stopwatch
from conversion_assets.checks.findings import product_findings
from conversion_assets.checks.specs import judged
from conversion_assets.converting import already_converted, convert_aside, shelf_of, stored
from conversion_assets.describing import require_describable
from conversion_assets.figures import Figures
from conversion_assets.records import UnzippedSafe, ZarrProduct
from conversion_assets.resources.bucket_rules import BucketRules
from conversion_assets.resources.converter import Converter
from conversion_assets.resources.object_store import ObjectStore
from conversion_assets.zarr.summary import summarize


class ConversionOptions(dg.Config):
    """Run configuration of the conversion."""

    reconvert: bool = Field(default=False, description="Convert again what was converted before.")


@step(kinds={"zarr", "eopf"}, pool="conversion", code_version=f"eopf-{version('eopf')}")
def zarr_product(
    context: dg.AssetExecutionContext,
    config: ConversionOptions,
    unzipped_safe: UnzippedSafe,
    bucket_rules: BucketRules,
    converter: Converter,
    object_store: ObjectStore,
) -> Result:
    """The product as EOPF Zarr: written aside by eopf, examined, and only then given its name.

    Identical input that was converted before by the same eopf is not converted again.
    """
    watch, shelf, safe = Stopwatch(), shelf_of(unzipped_safe, bucket_rules), unzipped_safe
    with (
        object_store.sole_conversion(shelf, safe.folder.name, context.log.info),
        object_store.releasing_refused(safe.order.key),
        object_store.discarding(shelf, safe.order.key),
    ):
        known = None if config.reconvert else already_converted(safe, shelf, object_store, converter)
        candidate = known or convert_aside(safe, shelf, object_store, converter, context.log.info)
        yield from judged("zarr_product", candidate.product.name, product_findings(candidate.product, safe))
        require_describable(candidate.record(safe), candidate.product)
        picture = quicklook_metadata(candidate.product)
        uri = stored(candidate, shelf, object_store)
    product, seconds = object_store.open_product(uri), watch.seconds()
    summary = summarize(product)
    figures = Figures.of(candidate.report, summary.total_bytes, summary.objects)
    record = ZarrProduct.of(safe, uri, candidate.provenance, figures)
    metadata = picture | product_metadata(product, summary, record, candidate.report, seconds)
    if candidate.is_stored:  # a service that converts tells no figures, so their lack says nothing
        metadata["already converted"] = True
    yield materialized(record, metadata, data_version=f"{safe.fingerprint}-eopf-{record.eopf_version}")
