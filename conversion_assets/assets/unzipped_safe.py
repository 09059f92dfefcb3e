"""Unzipped: a folder of SAFE files that agrees with its manifest."""

from __future__ import annotations

import dagster as dg

from conversion_assets.assets.metadata import unzipped_metadata
from conversion_assets.assets.step import Result, materialized, step
from conversion_assets.assets.stopwatch import Stopwatch
from conversion_assets.checks.findings import manifest_finding
from conversion_assets.checks.specs import judged
from conversion_assets.criteria import TYPES_PART
from conversion_assets.records import StagedSafe, UnzippedSafe
from conversion_assets.resources.archive_limits import ArchiveLimits
from conversion_assets.resources.object_store import ObjectStore
from conversion_assets.safe.manifest import read_manifest
from conversion_assets.safe.product_types import product_type_of_name, types_version
from conversion_assets.safe.unzip import unzip
from conversion_assets.safe.verification import product_fingerprint


@step(kinds={"file"}, code_version=f"types-{types_version()}")
def unzipped_safe(
    context: dg.AssetExecutionContext,
    staged_safe_item: StagedSafe,
    archive_limits: ArchiveLimits,
    object_store: ObjectStore,
) -> Result:
    """The product as a folder of files, each present with the size and checksum its manifest lists.

    Hostile or corrupt archives are refused whole. The staged archive goes once the folder is verified.
    """
    watch, order = Stopwatch(), staged_safe_item.order
    destination = object_store.staging_folder(order.key) / "unzipped"
    with object_store.releasing_refused(order.key):
        folder = unzip(staged_safe_item.path, destination, archive_limits.limits(), context.log.info)
        manifest = read_manifest(folder)
        yield from judged("unzipped_safe", folder.name, [manifest_finding(folder, manifest)])
        product_type = product_type_of_name(folder.name)
        record = UnzippedSafe.of(
            order,
            manifest,
            fingerprint=product_fingerprint(manifest),
            product_type=product_type.eopf_type,
            collection=order.target.collection_for(product_type),
        )
        record.footprint()
    if staged_safe_item.path != folder:
        staged_safe_item.path.unlink(missing_ok=True)
    metadata = unzipped_metadata(record, product_type, watch.seconds())
    version = f"{record.fingerprint}{TYPES_PART}{product_type.version}"
    yield materialized(record, metadata, data_version=version)
