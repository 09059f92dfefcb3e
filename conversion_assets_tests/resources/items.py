"""STAC items without a product, as the catalogue takes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from conversion_assets.resources.catalogue import CollectionSpec

SPEC = CollectionSpec(owner="someone", id="sentinel-2-l1c", title="Sentinel-2 Level-1C")
START = datetime(2024, 6, 15, 10, 25, 59, tzinfo=UTC)
AROUND = (10.0, 45.0, 11.0, 46.0)


def item(
    name: str = "S02MSIL1C_A",
    *,
    start: datetime = START,
    bbox: tuple[float, float, float, float] = AROUND,
    href: str = "s3://bucket/product.zarr",
) -> dict[str, Any]:
    west, south, east, north = bbox
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    geometry: dict[str, Any] = {"type": "Polygon", "coordinates": [ring]}
    if west > east:
        halves = ((west, 180.0), (-180.0, east))
        rings = [[[[w, south], [e, south], [e, north], [w, north], [w, south]]] for w, e in halves]
        geometry = {"type": "MultiPolygon", "coordinates": rings}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": name,
        "geometry": geometry,
        "bbox": list(bbox),
        "properties": {
            "datetime": text(start),
            "start_datetime": text(start),
            "end_datetime": text(start + timedelta(seconds=25)),
        },
        "links": [
            {"rel": "derived_from", "href": "https://source.test/items/X", "type": "application/geo+json"}
        ],
        "assets": {"product": {"href": href, "type": "application/vnd.zarr; version=2", "roles": ["data"]}},
        "collection": SPEC.id,
    }


def text(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
