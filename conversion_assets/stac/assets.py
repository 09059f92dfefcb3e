"""The assets of an item: the product as a whole and each of its measurement groups."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, count, takewhile
from typing import Any

import pystac

from conversion_assets.stac.properties import resolution, sound_bands
from conversion_assets.zarr.summary import ArraySummary, ProductSummary

ZARR_MEDIA_TYPE = "application/vnd.zarr; version=2"
"""Zarr by its vendor type; the parameter tells readers which of the two on-disk formats to expect."""

PRODUCT_KEY = "product"
_MEASUREMENTS = "measurements"
_POLARISATIONS = frozenset({"HH", "HV", "VH", "VV"})


def build_assets(
    product: ProductSummary, href: str, properties: Mapping[str, Any]
) -> dict[str, pystac.Asset]:
    """Describe a product's data.

    Args:
        product: the product.
        href: URI of its Zarr root.
        properties: the properties of the item, for the extent that `proj:bbox` gives.

    Returns:
        ``product`` first, then one asset per measurement group, by key.
    """
    root = href.rstrip("/")
    assets = {PRODUCT_KEY: _product_asset(product, root)}
    keys = measurement_keys(product.measurement_groups)
    for group, key in keys.items():
        assets[key] = pystac.Asset(
            href=f"{root}/{group}",
            title=_group_title(group, key),
            media_type=ZARR_MEDIA_TYPE,
            roles=["data"],
            extra_fields=_group_fields(product, group, properties),
        )
    return assets


def measurement_keys(groups: Sequence[str]) -> dict[str, str]:
    """Give each measurement group a short key that is unique within the product.

    Args:
        groups: paths, such as ``measurements/reflectance/r10m`` or, in a container,
            ``<sub-product>/measurements``.

    Returns:
        Key by path: ``reflectance_r10m``, or what tells the sub-product from its siblings, as in
        ``vv_measurements``. Keys that would clash are numbered.
    """
    siblings = _sub_products(groups)
    keys: dict[str, str] = {}
    for group in groups:
        key = _slug(_short_parts(group, siblings)) or _MEASUREMENTS
        taken = {PRODUCT_KEY, *keys.values()}
        numbered = (f"{key}_{number}" for number in count(2))
        keys[group] = next(name for name in chain([key], numbered) if name not in taken)
    return keys


def _product_asset(product: ProductSummary, root: str) -> pystac.Asset:
    """Describe the whole Zarr.

    ``file:size`` is the sum over its objects, which is what a reader wants to know before a download;
    ``object_count`` belongs to no extension: none defines such a field.
    """
    return pystac.Asset(
        href=root,
        title="EOPF product (Zarr)",
        media_type=ZARR_MEDIA_TYPE,
        roles=["data", "metadata"],
        extra_fields={"file:size": product.total_bytes, "object_count": product.objects},
    )


def _group_fields(product: ProductSummary, group: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    arrays = [array for array in product.arrays if array.path.rpartition("/")[0] == group]
    fields = {
        "gsd": resolution(group),
        "bands": _bands(arrays, sound_bands(product.stac_discovery)),
        "sar:polarizations": _polarisations(group),
        **_raster_grid(arrays, properties.get("proj:bbox")),
    }
    return {field: value for field, value in fields.items() if value}


def _bands(arrays: Iterable[ArraySummary], bands: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Name each band after its array, so that the name opens it."""
    by_name = {str(band["name"]): band for band in bands}
    names = [array.path.rpartition("/")[2] for array in arrays]
    found = {name: by_name.get(name) or by_name.get(name.partition("_")[0]) for name in names}
    return [{**band, "name": name} for name, band in found.items() if band]


def _polarisations(group: str) -> list[str]:
    sub_product = group.rpartition(_MEASUREMENTS)[0].upper()
    return sorted(_POLARISATIONS & set(re.split(r"[_/]", sub_product)))


def _raster_grid(arrays: Iterable[ArraySummary], extent: Sequence[float] | None) -> dict[str, Any]:
    """Shape and transform of a group whose images share one grid of square pixels over the extent."""
    shapes = {array.shape for array in arrays if array.dimensions == ("y", "x")}
    if extent is None or len(shapes) != 1:
        return {}
    (height, width), (west, south, east, north) = shapes.pop(), extent
    if not (height and width and east > west and north > south):
        return {}
    step = (east - west) / width
    if not math.isclose(step, (north - south) / height):
        return {}
    transform = [step, 0.0, float(west), 0.0, -step, float(north)]
    return {"proj:shape": [height, width], "proj:transform": transform}


def _sub_products(groups: Iterable[str]) -> list[list[str]]:
    """Split the names of a container's sub-products into their parts."""
    names = {group.partition("/")[0] for group in groups} - {_MEASUREMENTS}
    return [name.split("_") for name in sorted(names)]


def _short_parts(group: str, siblings: Sequence[Sequence[str]]) -> list[str]:
    first, *rest = group.split("/")
    if first == _MEASUREMENTS:
        return rest or [first]
    below = [part for part in rest if part != _MEASUREMENTS] or [_MEASUREMENTS]
    return [*_distinctive(first.split("_"), siblings), *below]


def _distinctive(name: Sequence[str], siblings: Sequence[Sequence[str]]) -> Sequence[str]:
    """Drop the leading parts that all sub-products share; keep the last part of an only child."""
    shared = sum(1 for _ in takewhile(lambda parts: len(set(parts)) == 1, zip(*siblings, strict=False)))
    return name[min(shared, len(name) - 1) :]


def _slug(parts: Iterable[str]) -> str:
    return re.sub(r"[^a-z0-9]+", "_", "_".join(parts).lower()).strip("_")


def _group_title(group: str, key: str) -> str:
    metres = resolution(group)
    words = [word.upper() if word.upper() in _POLARISATIONS else word for word in key.split("_")]
    title = " ".join(words)
    title = title[0].upper() + title[1:]
    return f"{title} ({metres} m)" if metres else title
