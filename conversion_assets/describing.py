"""From a stored product to its STAC item."""

from __future__ import annotations

import pystac

from conversion_assets.errors import PermanentError
from conversion_assets.records import ZarrProduct
from conversion_assets.stac.item import SourceLink, build_item
from conversion_assets.stac.validation import validate_item
from conversion_assets.zarr.product_folder import ProductFolder, metadata_digest
from conversion_assets.zarr.summary import summarize


def described(record: ZarrProduct, product: ProductFolder, facility: str | None) -> pystac.Item:
    """Build the item of a product.

    Args:
        record: the product.
        product: where it is read.
        facility: value of ``processing:facility``, or None.

    Raises:
        PoisonedInputError: footprint or times cannot be.
        PermanentError: the SAFE has no footprint, or the product cannot be read.
        TransientError: the product cannot be reached just now.
    """
    safe = record.safe
    return build_item(
        product=summarize(product).model_copy(update={"name": record.name}),
        href=record.uri,
        collection=safe.collection,
        footprint=safe.footprint(),
        start=safe.start,
        end=safe.end,
        source=SourceLink(href=safe.order.derived_from, title=safe.folder.name),
        safe_name=safe.folder.name,
        facility=facility,
        eopf_version=record.eopf_version,
        created=record.created,
        updated=record.converted,
        owner=safe.order.owner,
    )


def require_describable(record: ZarrProduct, product: ProductFolder) -> None:
    """See that a valid item can be made of a product, before anybody sees the product.

    Raises:
        ConversionAssetsError: as ``described`` and ``validate_item``.
    """
    validate_item(described(record, product, None).to_dict(include_self_link=False))


def require_recorded(record: ZarrProduct, product: ProductFolder) -> None:
    """See that a product is still the one that was recorded: another may stand in its place.

    Raises:
        PermanentError: it is another one.
        FileNotFoundError: it is not there.
        ConversionAssetsError: as ``ProductFolder.read``.
    """
    if record.metadata_sha256 not in (None, metadata_digest(product)):
        raise PermanentError(
            record.uri,
            "another product stands there than the one that zarr_product made",
            "Materialize from staged_safe_item on; a whole product of the same input is not converted again.",
        )
