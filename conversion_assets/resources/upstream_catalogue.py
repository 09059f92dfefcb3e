"""The upstream catalogue: a STAC API behind a facade that gives each owner collections of their own."""

from __future__ import annotations

import re
from typing import Any

import shapely

from conversion_assets.errors import OrderError
from conversion_assets.resources.catalogue import CollectionSpec, Document
from conversion_assets.resources.stac_api_catalogue import StacApiCatalogue
from conversion_assets.stac.geometry import footprint_from_geojson
from conversion_assets.web.client import WebClient

PREFIX = "/catalog"
OWNER = re.compile(r"[A-Za-z0-9]+")
ITS_PROPERTIES = frozenset({"owner", "published", "updated", "expires", "eopf:type", "auth:schemes"})
ITS_ASSET_FIELDS = frozenset({"alternate", "auth:refs", "file:checksum"})
ITS_EXTENSIONS = ("/ownership-stac-extension/", "/alternate-assets/", "/authentication/")
FILE_EXTENSION = "/file/"
OPEN, VEILED = "items", "%69tems"


class UpstreamCatalogue(StacApiCatalogue):
    """The catalogue of RS-PYTHON, addressed by ``owner:collection``; ``url`` may leave ``/catalog`` out.

    It demands more of an item than STAC does and adds fields of its own:

    - ``eopf:type``, by which it chooses the bucket, is sent with each item;
    - ``bbox`` is sent as the bounds of the coordinates, which go round the globe for a product at the
      antimeridian;
    - links to an item in a collection of the same name elsewhere are sent in an equivalent spelling, since
      it takes every such link for one of its own and rewrites it;
    - an item is sent without assets before it is removed, since the server deletes with an item whatever
      its assets lead to.

    Reading undoes all of it. ``expires``, which the server sets for every item, is ours where the item is
    deprecated.
    """

    def _root(self) -> str:
        return f"{self.url.rstrip('/').removesuffix(PREFIX)}{PREFIX}"

    def _check_names(self, item_id: str, collection: CollectionSpec) -> None:
        super()._check_names(item_id, collection)
        if not OWNER.fullmatch(collection.owner) or collection.id.startswith(f"{collection.owner}_"):
            raise OrderError(
                f"collection {collection.id} of {collection.owner}",
                "in the upstream catalogue an owner has letters and digits only, and a collection does not"
                " begin with its owner's name and '_'",
                "Order it for another owner or into another collection.",
            )

    def _in_path(self, collection: CollectionSpec) -> str:
        return f"{collection.owner}:{collection.id}"

    def _in_search(self, collection: CollectionSpec) -> str:
        return f"{collection.owner}_{collection.id}"

    def _sent(self, item: Document, collection: CollectionSpec) -> Document:
        document = super()._sent(item, collection)
        properties = item["properties"]
        product_type = properties.get("product:type")
        return {
            **document,
            "bbox": list(shapely.geometry.shape(item["geometry"]).bounds),
            "properties": properties | ({"eopf:type": product_type} if product_type else {}),
            "links": [_respelt(link, collection.id, OPEN, VEILED) for link in document["links"]],
        }

    def _sent_collection(self, document: Document, collection: CollectionSpec) -> Document:
        return {**super()._sent_collection(document, collection), "owner": collection.owner}

    def _owner_of(self, document: Document) -> str:
        return str(document.get("owner", ""))

    def _remove(self, client: WebClient, collection: CollectionSpec, item: Document) -> None:
        if self._replaced(client, collection, self._sent({**item, "assets": {}}, collection)):
            super()._remove(client, collection, item)

    def _received(self, item: Document) -> Document:
        owner = item["properties"].get("owner", "")
        collection = item["collection"].removeprefix(f"{owner}_")
        assets = {key: _without(asset, ITS_ASSET_FIELDS) for key, asset in item["assets"].items()}
        links = [_without(link, {"auth:refs"}) for link in item["links"]]
        return {
            **item,
            "collection": collection,
            "bbox": _bbox(item),
            "properties": _without(item["properties"], _its_properties(item)),
            "assets": assets,
            "links": [_respelt(link, collection, VEILED, OPEN) for link in links],
            "stac_extensions": _own_extensions(item["stac_extensions"], assets),
        }


def _its_properties(item: Document) -> frozenset[str]:
    return ITS_PROPERTIES - {"expires"} if item["properties"].get("deprecated") else ITS_PROPERTIES


def _respelt(link: Document, collection: str, old: str, new: str) -> Document:
    path = f"/collections/{collection}/"
    return {**link, "href": link["href"].replace(f"{path}{old}", f"{path}{new}")}


def _bbox(item: Document) -> list[float]:
    """Give the box by the rule of RFC 7946 section 5.2, which the bounds break at the antimeridian."""
    box: list[float] = item["bbox"]
    at_antimeridian = box[0] == -180 and box[2] == 180  # noqa: PLR2004 - degrees
    return list(footprint_from_geojson(item["geometry"]).bbox) if at_antimeridian else box


def _own_extensions(uris: list[str], assets: Document) -> list[str]:
    """Leave out what the server declares for itself; ours stays where a field of it is there."""
    uses_file = any(field.startswith("file:") for asset in assets.values() for field in asset)
    others = (*ITS_EXTENSIONS, *(() if uses_file else (FILE_EXTENSION,)))
    return [uri for uri in uris if not any(part in uri for part in others)]


def _without(document: dict[str, Any], fields: frozenset[str] | set[str]) -> Document:
    return {name: value for name, value in document.items() if name not in fields}
