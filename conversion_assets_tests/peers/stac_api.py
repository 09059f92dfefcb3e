"""A STAC API with the Transaction extension that behaves like stac-fastapi-pgstac, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from .serving import Crash, Document, Peer, Refusal, document_of
from .stac_store import (
    Search,
    Store,
    conflict,
    filter_of_text,
    kept_links,
    merged,
    not_found,
    require_collection,
    require_id,
    require_item,
    without_nulls,
)

JSON = "application/json"
GEOJSON = "application/geo+json"
CONFORMANCE = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
    "https://api.stacspec.org/v1.0.0/ogcapi-features/extensions/transaction",
    "https://api.stacspec.org/v1.0.0/collections/extensions/transaction",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#filter",
    "https://api.stacspec.org/v1.1.0/item-search#sort",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-text",
]


class StacApi(Peer):
    """The API; what it keeps can be read and prepared in ``store``.

    Attributes:
        needs_geometry: whether it refuses an item without.
        store: its collections and items.
        plain_crashes: whether it tells of a missing collection as version 7 does, without a word of why.
    """

    needs_geometry = True

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.plain_crashes = False

    @property
    def base(self) -> str:
        """The address under which the API is served."""
        return self.url

    def stored_id(self, request: Request) -> str:
        """Give the id under which the collection of the path is kept."""
        return str(request.path_params["collection"])

    def shown_id(self, stored: str) -> str:
        """Give the id of a kept collection as it stands in links."""
        return stored

    def routes(self) -> Sequence[BaseRoute]:
        """See ``Peer.routes``."""
        collection, items = "/collections/{collection}", "/collections/{collection}/items"
        return [
            Route("/", self.landing_page),
            Route("/conformance", lambda _: JSONResponse({"conformsTo": CONFORMANCE})),
            Route("/_mgmt/ping", lambda _: JSONResponse({"message": "PONG"})),
            Route("/search", self.get_search, methods=["GET"]),
            Route("/search", self.post_search, methods=["POST"]),
            Route("/collections", self.list_collections, methods=["GET"]),
            Route("/collections", self.create_collection, methods=["POST"]),
            Route(collection, self.get_collection, methods=["GET"]),
            Route(collection, self.update_collection, methods=["PUT"]),
            Route(collection, self.patch_collection, methods=["PATCH"]),
            Route(collection, self.delete_collection, methods=["DELETE"]),
            Route(items, self.get_items, methods=["GET"]),
            Route(items, self.create_item, methods=["POST"]),
            Route(f"{items}/{{item}}", self.get_item, methods=["GET"]),
            Route(f"{items}/{{item}}", self.update_item, methods=["PUT"]),
            Route(f"{items}/{{item}}", self.patch_item, methods=["PATCH"]),
            Route(f"{items}/{{item}}", self.delete_item, methods=["DELETE"]),
        ]

    def sent_item(self, request: Request) -> Any:  # noqa: ANN401 - any JSON
        """Give the item or items that a request brings."""
        return document_of(request)

    def sent_collection(self, request: Request) -> Any:  # noqa: ANN401 - any JSON
        """Give the collection that a request brings."""
        return document_of(request)

    def landing_page(self, _: Request) -> Response:
        search = {"rel": "search", "type": GEOJSON, "href": f"{self.base}/search"}
        links = [
            {"rel": "self", "type": JSON, "href": f"{self.base}/"},
            {"rel": "root", "type": JSON, "href": f"{self.base}/"},
            {"rel": "data", "type": JSON, "href": f"{self.base}/collections"},
            {"rel": "conformance", "type": JSON, "href": f"{self.base}/conformance"},
            {**search, "method": "GET"},
            {**search, "method": "POST"},
        ]
        children = [
            {"rel": "child", "type": JSON, "href": f"{self.base}/collections/{self.shown_id(name)}"}
            for name in self.store.collections
        ]
        catalog = {"type": "Catalog", "id": "peer", "title": "peer", "description": "A STAC API in memory"}
        rest = {"stac_version": "1.1.0", "conformsTo": CONFORMANCE, "links": [*links, *children]}
        return JSONResponse(catalog | rest)

    def list_collections(self, _: Request) -> Response:
        collections = [self.shown_collection(one) for one in self.store.collections.values()]
        links = [
            {"rel": "root", "type": JSON, "href": f"{self.base}/"},
            {"rel": "self", "type": JSON, "href": f"{self.base}/collections"},
        ]
        return JSONResponse({"collections": collections, "links": links})

    def create_collection(self, request: Request) -> Response:
        collection = require_collection(self.sent_collection(request))
        require_id(collection["id"])
        if collection["id"] in self.store.collections:
            raise conflict()
        return JSONResponse(self.keep_collection(collection), 201)

    def get_collection(self, request: Request) -> Response:
        return JSONResponse(self.shown_collection(self.collection(request)))

    def update_collection(self, request: Request) -> Response:
        """Replace the collection that the body names: the real server leaves the path aside."""
        collection = require_collection(self.sent_collection(request))
        require_id(collection["id"])
        if collection["id"] not in self.store.collections:
            raise not_found("")
        return JSONResponse(self.keep_collection(collection))

    def patch_collection(self, request: Request) -> Response:
        patched = merged(self.collection(request), document_of(request))
        return JSONResponse(self.keep_collection(require_collection(patched)))

    def delete_collection(self, request: Request) -> Response:
        name = self.collection(request)["id"]
        del self.store.collections[name]
        self.store.items = {key: item for key, item in self.store.items.items() if key[0] != name}
        return JSONResponse({"deleted collection": name})

    def create_item(self, request: Request) -> Response:
        body = self.sent_item(request)
        if isinstance(body, dict) and body.get("type") == "FeatureCollection":
            items = [self.checked_item(request, one, "ItemCollection") for one in body["features"]]
            self.insert(request, items)
            return Response(status_code=201)
        item = self.checked_item(request, body, "Item")
        if answer := self.insert(request, [item]):
            return answer
        return JSONResponse(self.shown_item(item), 201)

    def get_item(self, request: Request) -> Response:
        return JSONResponse(self.read_item(self.item(request)), media_type=GEOJSON)

    def update_item(self, request: Request) -> Response:
        item = self.checked_item(request, self.sent_item(request))
        if item["id"] != (asked := request.path_params["item"]):
            text = f"Item ID from path parameter ({asked}) does not match Item ID from Item ({item['id']})"
            raise Refusal(400, {"detail": text})
        if (item["collection"], item["id"]) not in self.store.items:
            raise not_found("")
        self.store.items[item["collection"], item["id"]] = item
        return JSONResponse(self.shown_item(item))

    def patch_item(self, request: Request) -> Response:
        item = merged(self.item(request), document_of(request))
        self.store.items[item["collection"], item["id"]] = self.checked_item(request, item)
        return JSONResponse(self.shown_item(item))

    def delete_item(self, request: Request) -> Response:
        item = self.item(request)
        del self.store.items[item["collection"], item["id"]]
        return JSONResponse({"deleted item": item["id"]})

    def get_items(self, request: Request) -> Response:
        body = _body_of_query(request) | {"collections": [self.collection(request)["id"]]}
        return self.page(request, body)

    def get_search(self, request: Request) -> Response:
        return self.page(request, _body_of_query(request))

    def post_search(self, request: Request) -> Response:
        return self.page(request, document_of(request))

    def search_of(self, body: Document) -> Search:
        """Read the body of a search."""
        return Search.of_body(body)

    def page(self, request: Request, body: Document) -> Response:
        items, token = self.store.find(self.search_of(body))
        here = f"{self.url}{request.url.path}"
        links: list[Document] = [
            {"rel": "root", "type": JSON, "href": f"{self.base}/"},
            {"rel": "self", "type": GEOJSON, "href": here},
        ]
        if token and request.method == "POST":
            following = {"href": here, "body": {**body, "token": token}}
            links.append({"rel": "next", "type": GEOJSON, "method": "POST", **following})
        elif token:
            query = urlencode({**dict(request.query_params), "token": token})
            links.append({"rel": "next", "type": GEOJSON, "method": "GET", "href": f"{here}?{query}"})
        features = [self.read_item(item) for item in items]
        found = {"features": features, "links": links, "numberReturned": len(features)}
        return JSONResponse({"type": "FeatureCollection", **found}, media_type=GEOJSON)

    def checked_item(self, request: Request, document: object, *place: str) -> Document:
        item = require_item(document, *place)
        asked, named = self.stored_id(request), item.get("collection")
        require_id(item["id"])
        if item["geometry"] is None and self.needs_geometry:
            text = f"Missing or null `geometry` for Item ({item['id']}). Geometry is required in pgstac."
            raise Refusal(400, {"detail": text})
        if named not in (None, asked):
            text = f"Collection ID from path parameter ({asked})"
            raise Refusal(400, {"detail": f"{text} does not match Collection ID from Item ({named})"})
        return {**item, "links": kept_links(item), "collection": asked}

    def insert(self, request: Request, items: list[Document]) -> Response | None:
        if self.stored_id(request) not in self.store.collections:
            if self.plain_crashes:
                raise Crash("no partition of relation items")
            self.break_connection(request)
            fault = 'no partition of relation "items" found for row'
            return JSONResponse({"code": "CheckViolationError", "description": fault}, 500)
        keys = [(item["collection"], item["id"]) for item in items]
        if any(key in self.store.items for key in keys):
            raise conflict()
        self.store.items |= dict(zip(keys, items, strict=True))
        return None

    def keep_collection(self, collection: Document) -> Document:
        self.store.collections[collection["id"]] = {**collection, "links": kept_links(collection)}
        return self.shown_collection(collection)

    def collection(self, request: Request) -> Document:
        name = self.stored_id(request)
        if name not in self.store.collections:
            raise not_found(f"Collection {name} does not exist.")
        return self.store.collections[name]

    def item(self, request: Request) -> Document:
        collection, item = self.stored_id(request), request.path_params["item"]
        if (collection, item) not in self.store.items:
            raise not_found(f"Item {item} in Collection {collection} does not exist.")
        return self.store.items[collection, item]

    def shown_collection(self, collection: Document) -> Document:
        here = f"{self.base}/collections/{self.shown_id(collection['id'])}"
        made = [
            {"rel": "items", "type": GEOJSON, "href": f"{here}/items"},
            {"rel": "parent", "type": JSON, "href": f"{self.base}/"},
            {"rel": "root", "type": JSON, "href": f"{self.base}/"},
            {"rel": "self", "type": JSON, "href": here},
        ]
        return {**deepcopy(collection), "links": [*made, *kept_links(collection)]}

    def read_item(self, item: Document) -> Document:
        shown = self.shown_item(item)
        return {**without_nulls(shown), "geometry": shown["geometry"]}

    def shown_item(self, item: Document) -> Document:
        collection = f"{self.base}/collections/{self.shown_id(item['collection'])}"
        made = [
            {"rel": "collection", "type": JSON, "href": collection},
            {"rel": "parent", "type": JSON, "href": collection},
            {"rel": "root", "type": JSON, "href": f"{self.base}/"},
            {"rel": "self", "type": GEOJSON, "href": f"{collection}/items/{item['id']}"},
        ]
        return {**deepcopy(item), "links": [*made, *kept_links(item)]}


def _body_of_query(request: Request) -> Document:
    query = dict(request.query_params)
    body: Document = {name: query[name] for name in ("datetime", "token") if name in query}
    for name in ("ids", "collections"):
        if name in query:
            body[name] = query[name].split(",")
    if "bbox" in query:
        body["bbox"] = [float(number) for number in query["bbox"].split(",")]
    if "limit" in query:
        body["limit"] = int(query["limit"])
    if "sortby" in query:
        body["sortby"] = [
            {"field": one.lstrip("+-"), "direction": "desc" if one.startswith("-") else "asc"}
            for one in query["sortby"].split(",")
        ]
    if "filter" in query:
        body["filter"] = filter_of_text(query["filter"])
    return body
