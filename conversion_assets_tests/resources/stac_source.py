"""A STAC API that is watched for new items, with the quirks that such servers have."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from conversion_assets_tests.peers.serving import Document
from conversion_assets_tests.peers.stac_api import CONFORMANCE, StacApi
from conversion_assets_tests.peers.stac_store import Search

COLLECTION = "sentinel-2-l2a"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ITEM_SEARCH = "https://api.stacspec.org/v1.0.0/item-search"
QUERY = f"{ITEM_SEARCH}#query"
FIELDS = f"{ITEM_SEARCH}#fields"
CONDITION = re.compile(r"(\S+) (>=|IS NULL|IS NOT NULL)(?: TIMESTAMP\('(.*)'\))?")


class StacSource(StacApi):
    """The peer, and what it does otherwise.

    Attributes:
        conformance: classes that it declares.
        ignores_sort: it gives items in the order in which they were put there.
        ignores_filter: it gives all items of the collections.
        next_href: where its links to the next page lead; None for where they ought to.
        merges: its links give only what changes of the body, and ask to merge it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conformance = list(CONFORMANCE)
        self.ignores_sort = False
        self.ignores_filter = False
        self.next_href: str | None = None
        self.merges = False

    def routes(self) -> Sequence[BaseRoute]:
        """See ``Peer.routes``."""
        return [Route("/conformance", self.told_conformance), *super().routes()]

    def told_conformance(self, _: Request) -> Response:
        return JSONResponse({"conformsTo": self.conformance})

    def put(self, *items: Document) -> None:
        for item in items:
            self.store.items.pop((item["collection"], item["id"]), None)
            self.store.items[item["collection"], item["id"]] = item

    def search_of(self, body: Document) -> Search:
        """Read the body of a search, and leave aside what this server does not know."""
        known = dict(body)
        if self.ignores_filter:
            known.pop("filter", None)
        for name, condition in body.get("query", {}).items() if QUERY in self.conformance else ():
            known["filter"] = {"op": ">=", "args": [{"property": name}, {"timestamp": condition["gte"]}]}
        if self.ignores_sort:
            known["sortby"] = [{"field": "nothing", "direction": "asc"}]
        return super().search_of(known)

    def get_search(self, request: Request) -> Response:
        """Search by parameters, with the part of CQL2-Text that is of use here."""
        query = dict(request.query_params)
        body: Document = {"collections": query["collections"].split(","), "limit": int(query["limit"])}
        if "filter" in query:
            assert query["filter-lang"] == "cql2-text"
            conditions = [_condition(text) for text in query["filter"].split(" AND ")]
            body["filter"] = {"op": "and", "args": conditions}
        if "sortby" in query:
            field, direction = query["sortby"].lstrip("-"), "desc" if query["sortby"][0] == "-" else "asc"
            body["sortby"] = [{"field": field, "direction": direction}]
        return self.page(
            request, body | {name: query[name] for name in ("token", "datetime") if name in query}
        )

    def page(self, request: Request, body: Document) -> Response:
        """Give a page, with the links that this server makes."""
        answer = super().page(request, body)
        document: Any = json.loads(bytes(answer.body))
        for link in document["links"]:
            if link["rel"] != "next":
                continue
            if self.next_href is not None:
                link |= {"href": self.next_href, "body": body}
            if self.merges:
                link |= {"merge": True, "body": {"token": link["body"]["token"]}}
        if FIELDS in self.conformance and "fields" in body:
            document["features"] = [
                _trimmed(item, body["fields"]["include"]) for item in document["features"]
            ]
        return JSONResponse(document)


def _condition(text: str) -> Document:
    matched = CONDITION.fullmatch(text)
    assert matched, text
    name, operator, moment = matched.groups()
    if operator == "IS NULL":
        return {"op": "isNull", "args": [{"property": name}]}
    if operator == "IS NOT NULL":
        return {"op": "not", "args": [{"op": "isNull", "args": [{"property": name}]}]}
    return {"op": operator, "args": [{"property": name}, {"timestamp": moment}]}


def _trimmed(item: Document, include: list[str]) -> Document:
    kept = {name.removeprefix("properties.") for name in include if name.startswith("properties.")}
    properties = {name: value for name, value in item["properties"].items() if name in kept}
    return {name: value for name, value in item.items() if name in include} | {"properties": properties}


def at(minutes: float) -> str:
    """Write a time so many minutes after noon."""
    return (NOON + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


def item(name: str, minutes: float = 0, **properties: Any) -> Document:  # noqa: ANN401 - any JSON
    """Make an item that was changed so many minutes after noon; a property that is None is left out."""
    told = {"datetime": at(-60), "updated": at(minutes), "product:type": "S2MSI2A"} | properties
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "collection": COLLECTION,
        "geometry": {"type": "Polygon", "coordinates": [[[5, 44], [6, 44], [6, 45], [5, 45], [5, 44]]]},
        "bbox": [5, 44, 6, 45],
        "links": [],
        "properties": {key: value for key, value in told.items() if value is not None},
        "assets": {"product": {"href": f"https://products.example.org/{name}.zip"}},
    }
