"""From a verified SAFE folder to a candidate product: converted aside, or found already converted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from conversion_assets.errors import PermanentError
from conversion_assets.provenance import Provenance
from conversion_assets.records import UnzippedSafe, ZarrProduct
from conversion_assets.resources.bucket_rules import BucketRules
from conversion_assets.resources.converter import Converter
from conversion_assets.resources.object_store import ObjectStore, Shelf
from conversion_assets.zarr.conversion import Assignment, ConversionReport
from conversion_assets.zarr.product_folder import ProductFolder, metadata_digest
from conversion_assets.zarr.verification import check_completeness

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Candidate:
    """A product that is to be examined before anybody sees it.

    Attributes:
        product: the product, where it can be read now.
        provenance: what it was made of.
        is_stored: whether it stands at its final place already, because it was converted before.
        report: figures of the conversion, when it was converted now.
    """

    product: ProductFolder
    provenance: Provenance
    is_stored: bool = False
    report: ConversionReport | None = None

    def record(self, safe: UnzippedSafe) -> ZarrProduct:
        """Give the record of the product as it can be read now."""
        return ZarrProduct.of(safe, self.product.uri, self.provenance)


def shelf_of(safe: UnzippedSafe, rules: BucketRules) -> Shelf:
    """Choose where the product of a SAFE goes."""
    rule = rules.rule_for(safe.order.owner, safe.collection, safe.product_type)
    return Shelf(bucket=rule.bucket, owner=safe.order.owner, collection=safe.collection)


def already_converted(
    safe: UnzippedSafe, shelf: Shelf, store: ObjectStore, converter: Converter
) -> Candidate | None:
    """Find the product of the same files by the same eopf, if it stands where it would be put."""
    found = store.find(shelf, safe.folder.name)
    if found is None:
        return None
    uri, provenance = found
    if (provenance.fingerprint, provenance.eopf_version) != (safe.fingerprint, converter.eopf_version()):
        return None
    product = store.open_product(uri)
    return Candidate(product, provenance, is_stored=True) if check_completeness(product).passed else None


def convert_aside(
    safe: UnzippedSafe, shelf: Shelf, store: ObjectStore, converter: Converter, tell: Progress
) -> Candidate:
    """Convert a SAFE in a hidden workspace next to its final place, which the caller discards.

    Raises:
        ConversionAssetsError: as ``Converter.convert``.
    """
    if not safe.folder.is_dir():
        raise PermanentError(
            safe.folder,
            "the unzipped product has been released",
            "Materialize from staged_safe_item on, so that it is fetched again.",
        )
    key = safe.order.key
    workspace = store.workspace(shelf, key, safe.folder, keep=converter.is_converting(key))
    conversion = converter.convert(
        Assignment(key, safe.folder, scratch=store.scratch_folder(key), workspace=workspace), tell
    )
    product = workspace.open_product(conversion.uri)
    former = store.find(shelf, safe.folder.name)
    now = datetime.now(UTC).replace(microsecond=0)
    provenance = Provenance(
        name=conversion.name,
        safe_name=safe.folder.name,
        fingerprint=safe.fingerprint,
        eopf_version=conversion.eopf_version,
        converted=now,
        created=former[1].created if former else now,
        metadata_sha256=metadata_digest(product),
    )
    return Candidate(product, provenance, report=conversion.report)


def stored(candidate: Candidate, shelf: Shelf, store: ObjectStore) -> str:
    """Give the URI of an examined candidate at its final place, to which it is promoted if it is not there.

    Raises:
        OrderError: as ``ObjectStore.promote``.
    """
    if candidate.is_stored:
        return candidate.product.uri
    return store.promote(candidate.product, shelf, candidate.provenance)
