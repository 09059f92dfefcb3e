"""What a person sees of each materialization: sizes, speeds, pictures, links."""

from __future__ import annotations

import json
import logging
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import dagster as dg

from conversion_assets.errors import ConversionAssetsError
from conversion_assets.figures import Delays, Figures
from conversion_assets.records import (
    DescribedProduct,
    PublishedProduct,
    StagedSafe,
    UnzippedSafe,
    ZarrProduct,
)
from conversion_assets.resources.staging import StagedCopy
from conversion_assets.safe.product_types import ProductType
from conversion_assets.stac.frames import footprint_of_rings
from conversion_assets.stac.map_picture import footprint_picture
from conversion_assets.zarr.conversion import ConversionReport
from conversion_assets.zarr.product_folder import ProductFolder
from conversion_assets.zarr.quicklook import QuicklookError, quicklook
from conversion_assets.zarr.summary import ArraySummary, ProductSummary

Metadata = dict[str, Any]
MEGABYTE = 1_000_000
LOG = logging.getLogger(__name__)

ARRAY_COLUMNS = dg.TableSchema(
    columns=[
        dg.TableColumn("array", "string"),
        dg.TableColumn("shape", "string"),
        dg.TableColumn("type", "string"),
        dg.TableColumn("stored kB", "float"),
        dg.TableColumn("chunks", "string"),
        dg.TableColumn("dimensions", "string"),
    ]
)


def picture(image: bytes, media_type: str, text: str) -> dg.MarkdownMetadataValue:
    """Show a small picture inline."""
    encoded = b64encode(image).decode()
    return dg.MetadataValue.md(f"![{text}](data:{media_type};base64,{encoded})\n\n{text}")


def volume(total_bytes: int, seconds: float) -> Metadata:
    """Sizes and speed, as plain numbers that the UI plots over partitions."""
    speed = {"MB/s": round(total_bytes / MEGABYTE / seconds, 2)} if seconds > 0 else {}
    return {"MB": round(total_bytes / MEGABYTE, 3), "seconds": seconds, **speed}


def staged_metadata(record: StagedSafe, copy: StagedCopy, seconds: float) -> Metadata:
    """Metadata of a staged copy."""
    order = record.order
    return {
        "source": dg.MetadataValue.url(order.derived_from),
        "owner": order.owner,
        "path": dg.MetadataValue.path(str(record.path)),
        "files": record.files,
        **volume(record.total_bytes, seconds),
        "continued an earlier copy": copy.resumed,
    }


def unzipped_metadata(record: UnzippedSafe, product_type: ProductType, seconds: float) -> Metadata:
    """Metadata of a verified SAFE folder."""
    return {
        **_map_of_rings(record),
        "product": record.folder.name,
        "product type": product_type.eopf_type,
        "title": product_type.title,
        "collection": record.collection,
        "start": record.start.isoformat(),
        "end": record.end.isoformat(),
        "files": record.files,
        **volume(record.total_bytes, seconds),
        "path": dg.MetadataValue.path(str(record.folder)),
        "fingerprint": record.fingerprint,
    }


def product_metadata(
    product: ProductFolder,
    summary: ProductSummary,
    record: ZarrProduct,
    report: ConversionReport | None,
    seconds: float,
) -> Metadata:
    """Metadata of a stored Zarr product."""
    return {
        "product": record.name,
        "product type": summary.product_type,
        **volume(summary.total_bytes, seconds),
        **record.figures.numbers(),
        **(_report_texts(report) if report else {}),
        "eopf version": record.eopf_version,
        "zarr": dg.MetadataValue.url(record.uri),
        **({"path": dg.MetadataValue.path(str(product.path))} if product.path else {}),
        "open with": _open_with(product),
        "arrays": _array_table(summary),
    }


def item_metadata(record: DescribedProduct, seconds: float) -> Metadata:
    """Metadata of a STAC item."""
    item = record.item
    return {
        **_map(item["geometry"]),
        "item id": item["id"],
        "collection": record.collection,
        "product type": record.product_type,
        "bbox": ", ".join(f"{number:.4f}" for number in item["bbox"]),
        "start": item["properties"]["start_datetime"],
        "end": item["properties"]["end_datetime"],
        "assets": len(item["assets"]),
        "seconds": seconds,
        "item": dg.MetadataValue.json(item),
    }


def published_metadata(
    record: PublishedProduct, figures: Figures, delays: Delays, seconds: float
) -> Metadata:
    """Metadata of a published item: with all numbers of its product, so that reports read no pictures."""
    return {
        "item": dg.MetadataValue.url(record.item_href),
        "product": dg.MetadataValue.url(record.product_uri),
        "product type": record.product_type,
        "derived from": dg.MetadataValue.url(record.derived_from),
        **_copyable("item path", record.item_href),
        **_copyable("product path", record.product_uri),
        **figures.numbers(),
        **delays.numbers(),
        "seconds": seconds,
    }


def _copyable(name: str, uri: str) -> Metadata:
    """A local path beside its link: browsers do not follow ``file://`` from a web page."""
    parts = urlsplit(uri)
    return {name: dg.MetadataValue.path(unquote(parts.path))} if parts.scheme == "file" else {}


def _report_texts(report: ConversionReport) -> Metadata:
    return {
        **{f"seconds of {phase}": seconds for phase, seconds in report.seconds.items()},
        "anomalies": len(report.anomalies),
        **({"anomaly texts": "\n".join(report.anomalies)} if report.anomalies else {}),
    }


def _open_with(product: ProductFolder) -> str:
    """Write the statement that opens a product; readers have their own credentials."""
    options = product.storage_options
    elsewhere = f", storage_options={json.dumps(dict(options))}" if options else ""
    return f'xarray.open_datatree("{product}", engine="zarr"{elsewhere})'


def quicklook_metadata(product: ProductFolder) -> Metadata:
    """Picture of a product, nothing where none can be made; all chunks of what is shown are read."""
    try:
        look = quicklook(product)
    except QuicklookError as error:
        LOG.warning("no quicklook: %s", error)
        return {}
    return {"quicklook": picture(look.image, look.media_type, f"{look.title}. {look.caption}")}


def _map(geometry: Mapping[str, Any]) -> Metadata:
    return {"footprint": picture(footprint_picture(geometry), "image/png", "Footprint")}


def _map_of_rings(record: UnzippedSafe) -> Metadata:
    try:
        return _map(footprint_of_rings(record.footprints).geometry) if record.footprints else {}
    except ConversionAssetsError as error:
        LOG.warning("no map: %s", error)
        return {}


def _array_table(summary: ProductSummary) -> dg.TableMetadataValue:
    arrays = sorted(summary.arrays, key=_measurements_first)
    return dg.MetadataValue.table([_array_row(array) for array in arrays], schema=ARRAY_COLUMNS)


def _measurements_first(array: ArraySummary) -> tuple[bool, str]:
    return "measurements" not in array.path.split("/"), array.path


def _array_row(array: ArraySummary) -> dg.TableRecord:
    return dg.TableRecord(
        {
            "array": array.path,
            "shape": " x ".join(map(str, array.shape)),
            "type": array.dtype,
            "stored kB": round(array.stored_bytes / 1000, 1),
            "chunks": " x ".join(map(str, array.chunks)),
            "dimensions": ", ".join(array.dimensions),
        }
    )
