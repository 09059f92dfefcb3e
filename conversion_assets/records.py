"""What one asset hands to the next: small facts and URIs, never bulk data.

Each record is stored as one JSON document per partition (``resources/record_store.py``).
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from conversion_assets.errors import PermanentError
from conversion_assets.figures import Figures
from conversion_assets.orders import Order
from conversion_assets.provenance import Provenance
from conversion_assets.safe.manifest_document import Manifest, Ring
from conversion_assets.safe.product_types import all_product_types
from conversion_assets.stac.frames import footprint_of_rings
from conversion_assets.stac.geometry import Footprint


class Record(BaseModel):
    """Base of all records: frozen, and strict about what it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StagedSafe(Record):
    """A verified copy of the input, still as it came: an archive or a folder.

    Attributes:
        order: what was asked for.
        path: the copy.
        files: how many files it has.
        total_bytes: their size.
    """

    order: Order
    path: Path
    files: int
    total_bytes: int


class UnzippedSafe(Record):
    """A folder of SAFE files that agrees with its manifest.

    Attributes:
        order: what was asked for.
        folder: the ``.SAFE`` or ``.SEN3`` folder.
        files: files that the manifest lists.
        total_bytes: their size.
        fingerprint: SHA-256 over names, sizes and checksums of the files: equal input, equal fingerprint.
        product_type: EOPF product type expected from the product's name.
        collection: STAC collection the product goes to.
        start: first instant of the acquisition.
        end: last instant of the acquisition.
        footprints: rings as the manifest lists them, (longitude, latitude) in degrees; one a frame.
    """

    order: Order
    folder: Path
    files: int
    total_bytes: int
    fingerprint: str
    product_type: str
    collection: str
    start: datetime
    end: datetime
    footprints: tuple[Ring, ...]

    def footprint(self) -> Footprint:
        """Give the footprint: all frames together.

        Raises:
            PermanentError: the manifest lists none.
            PoisonedInputError: it lists something that cannot be.
        """
        if not self.footprints:
            raise PermanentError(
                self.folder.name,
                "its manifest gives no footprint, which a published item must have",
                "Convert products that observe the Earth; housekeeping data cannot be published yet.",
            )
        return footprint_of_rings(self.footprints)

    @classmethod
    def of(
        cls, order: Order, manifest: Manifest, *, fingerprint: str, product_type: str, collection: str
    ) -> UnzippedSafe:
        """Make the record of a folder from its manifest."""
        return cls(
            order=order,
            folder=manifest.folder,
            files=len(manifest.files),
            total_bytes=sum(file.size or 0 for file in manifest.files),
            fingerprint=fingerprint,
            product_type=product_type,
            collection=collection,
            start=manifest.start,
            end=manifest.stop,
            footprints=manifest.footprints,
        )


class ZarrProduct(Record):
    """A complete, verified Zarr product at its final place.

    Attributes:
        safe: the input it was made of.
        uri: where it is.
        name: EOPF product name.
        eopf_version: version of the converter.
        converted: when the conversion ended.
        created: when the SAFE was first converted to this place.
        metadata_sha256: see ``Provenance``; None in a record that an earlier version of the platform wrote.
        figures: what the conversion took and gave.
    """

    safe: UnzippedSafe
    uri: str
    name: str
    eopf_version: str
    converted: datetime
    created: datetime
    metadata_sha256: str | None = None
    figures: Figures = Figures()

    @classmethod
    def of(
        cls, safe: UnzippedSafe, uri: str, provenance: Provenance, figures: Figures | None = None
    ) -> ZarrProduct:
        """Make the record of a stored product."""
        return cls(
            safe=safe,
            uri=uri,
            name=provenance.name,
            eopf_version=provenance.eopf_version,
            converted=provenance.converted,
            created=provenance.created,
            metadata_sha256=provenance.metadata_sha256,
            figures=figures or Figures(),
        )


class DescribedProduct(Record):
    """A valid STAC item for a product, not yet published.

    Attributes:
        order: what was asked for.
        product_uri: where the Zarr is.
        product_type: EOPF product type.
        collection: STAC collection id.
        collection_title: title for the collection where it has to be made.
        item: the STAC item.
        metadata_sha256: of the product that it describes; None as in ``ZarrProduct``.
        figures: what the conversion took and gave.
    """

    order: Order
    product_uri: str
    product_type: str
    collection: str
    collection_title: str
    item: dict[str, Any]
    metadata_sha256: str | None = None
    figures: Figures = Figures()

    @classmethod
    def of(cls, product: ZarrProduct, item: dict[str, Any]) -> DescribedProduct:
        """Make the record of a described product."""
        safe = product.safe
        return cls(
            order=safe.order,
            product_uri=product.uri,
            product_type=safe.product_type,
            collection=safe.collection,
            collection_title=title_of_collection(safe.collection),
            item=item,
            metadata_sha256=product.metadata_sha256,
            figures=product.figures,
        )


class PublishedProduct(Record):
    """An item that readers find in the catalogue.

    Attributes:
        order: what was asked for.
        product_uri: where the Zarr is.
        product_type: EOPF product type.
        item_href: where the item is.
        derived_from: link to the original source.
    """

    order: Order
    product_uri: str
    product_type: str
    item_href: str
    derived_from: str

    @classmethod
    def of(cls, described: DescribedProduct, item_href: str) -> PublishedProduct:
        """Make the record of a published product."""
        return cls(
            order=described.order,
            product_uri=described.product_uri,
            product_type=described.product_type,
            item_href=item_href,
            derived_from=described.order.derived_from,
        )


def title_of_collection(collection: str) -> str:
    """Give the title of the product type whose default collection it is, else the id itself."""
    titles = {kind.collection: kind.title for kind in all_product_types()}
    return titles.get(collection, collection)
