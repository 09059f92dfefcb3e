"""The STAC item of a converted product, built anew: eopf's own ``stac_discovery`` is not a valid item."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import pystac
from pydantic import BaseModel, ConfigDict

from conversion_assets.errors import PoisonedInputError
from conversion_assets.stac.assets import build_assets
from conversion_assets.stac.formats import format_date_time
from conversion_assets.stac.geometry import Footprint
from conversion_assets.stac.properties import sound_properties
from conversion_assets.zarr.summary import ProductSummary

# The versions whose schemas validation holds. pystac's extension classes write older ones of `eo`, `sar`,
# `sat` and `view`, in which bands have no place, and know neither `processing`, `product` nor `eopf`.
EXTENSIONS: Mapping[str, str] = {
    "eo": "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
    "eopf": "https://cs-si.github.io/eopf-stac-extension/v1.2.0/schema.json",
    "file": "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "processing": "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "product": "https://stac-extensions.github.io/product/v1.0.0/schema.json",
    "proj": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "sar": "https://stac-extensions.github.io/sar/v1.3.0/schema.json",
    "sat": "https://stac-extensions.github.io/sat/v1.1.0/schema.json",
    "sci": "https://stac-extensions.github.io/scientific/v1.0.0/schema.json",
    "view": "https://stac-extensions.github.io/view/v1.1.0/schema.json",
}
"""Extension by the prefix of its fields."""


class SourceLink(BaseModel):
    """Where the converted product came from: the original source, not a staged copy.

    Attributes:
        href: URI of the source.
        title: what a reader sees.
        media_type: of what the URI leads to, if known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    href: str
    title: str
    media_type: str | None = None


def build_item(  # noqa: PLR0913 - keyword-only: each is one independent fact about the item
    *,
    product: ProductSummary,
    href: str,
    collection: str,
    footprint: Footprint,
    start: datetime,
    end: datetime,
    source: SourceLink,
    safe_name: str,
    facility: str | None,
    eopf_version: str,
    created: datetime,
    updated: datetime,
    owner: str,
) -> pystac.Item:
    """Describe a converted product by a STAC 1.1 item (https://github.com/radiantearth/stac-spec).

    ``datetime`` is the start of sensing, as in the catalogues of the Copernicus Data Space Ecosystem.
    The links ``self``, ``root``, ``parent`` and ``collection`` are the catalogue's to set.

    Args:
        product: what the Zarr holds.
        href: URI of the Zarr root.
        collection: id of the collection.
        footprint: where the product lies.
        start: begin of sensing, with time zone.
        end: end of sensing, with time zone.
        source: the original source.
        safe_name: name of the SAFE product that was converted.
        facility: where the conversion ran, if that is to be said.
        eopf_version: version of eopf that converted.
        created: when the item was first made, with time zone.
        updated: when it was last changed, with time zone.
        owner: who ordered the conversion.

    Returns:
        The item, whose id is the EOPF product name.

    Raises:
        PoisonedInputError: sensing ends before it starts, or a time has no time zone.
    """
    _check_times(product.name, start, end, created, updated)
    lineage = f"Converted from the SAFE product {safe_name} to EOPF Zarr by eopf {eopf_version}."
    properties = {
        **sound_properties(product.stac_discovery, product.product_type, product.measurement_groups),
        "created": format_date_time(created),
        "updated": format_date_time(updated),
        "owner": owner,
        "processing:software": {"eopf": eopf_version},
        "processing:lineage": lineage,
    }
    if facility:
        properties["processing:facility"] = facility
    item = pystac.Item(
        id=product.name,
        geometry=footprint.geometry,
        bbox=list(footprint.bbox),
        datetime=start,
        start_datetime=start,
        end_datetime=end,
        properties=dict(sorted(properties.items())),
        collection=collection,
        assets=build_assets(product, href, properties),
    )
    item.add_link(pystac.Link("derived_from", source.href, media_type=source.media_type, title=source.title))
    item.stac_extensions = _extensions_used(item)
    return item


def _check_times(name: str, start: datetime, end: datetime, created: datetime, updated: datetime) -> None:
    way_out = "Correct the times in the product's manifest or fetch the product again."
    if any(moment.utcoffset() is None for moment in (start, end, created, updated)):
        raise PoisonedInputError(name, "a time of the product has no time zone", way_out)
    if end < start:
        raise PoisonedInputError(name, f"sensing ends at {end}, before it starts at {start}", way_out)


def _extensions_used(item: pystac.Item) -> list[str]:
    holders: list[Mapping[str, Any]] = [item.properties]
    for asset in item.assets.values():
        holders += [asset.extra_fields, *asset.extra_fields.get("bands", [])]
    return [EXTENSIONS[prefix] for prefix in sorted(set(_prefixes(holders)))]


def _prefixes(holders: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for holder in holders:
        yield from (field.partition(":")[0] for field in holder if ":" in field)
