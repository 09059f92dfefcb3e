"""The search of a STAC API, page by page: what is asked for, and whether the answer keeps to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from http import HTTPStatus
from itertools import chain, pairwise
from typing import Any
from urllib.parse import urljoin

from conversion_assets.errors import PermanentError, printable
from conversion_assets.resources.item_filter import time_of
from conversion_assets.resources.source_position import BEGINNING, mark_of
from conversion_assets.stac.formats import format_date_time
from conversion_assets.web.client import CallOptions, WebClient

FILTER, SORT, QUERY, FIELDS = "#filter", "#sort", "#query", "#fields"
ITEM_SEARCH = "item-search"
READ_PROPERTIES = (
    "datetime", "start_datetime", "end_datetime", "created", "updated", "published", "unpublished",
    "product:type",
)  # fmt: skip
READ_FIELDS = ("type", "id", "collection", "geometry", "bbox", "links", "assets")
CHECK_API = "Check that the url of the watch is the root of a STAC API."
MOST_NAMES = 3
LONGEST_NAME = 250
Document = dict[str, Any]


class DisorderError(Exception):
    """The server did not keep the order that it was asked for, or cannot be asked for one."""


@dataclass(frozen=True)
class Server:
    """A STAC API.

    Attributes:
        client: speaks to it.
        method: by which it is searched.
        abilities: the extensions of its search, as its conformance classes end.
        page_size: how many items are asked for at once.
    """

    client: WebClient
    method: str
    abilities: frozenset[str]
    page_size: int

    @property
    def filters(self) -> bool:
        """Whether it has the Filter extension."""
        return FILTER in self.abilities


def abilities(client: WebClient) -> frozenset[str]:
    """Ask a server which extensions its search has.

    Returns:
        Some of ``#filter``, ``#sort``, ``#query`` and ``#fields``; the first two where it does not say
        anything: whether it keeps to them is seen.

    Raises:
        ConversionAssetsError: see ``WebClient.call``.
    """
    answer = client.get("conformance", expect=(HTTPStatus.OK, HTTPStatus.NOT_FOUND))
    classes = answer.json.get("conformsTo") if isinstance(answer.json, dict) else None
    if not isinstance(classes, list):
        return frozenset({FILTER, SORT})
    told = [one for one in classes if isinstance(one, str) and ITEM_SEARCH in one]
    return frozenset(name for name in (FILTER, SORT, QUERY, FIELDS) if any(name in one for one in told))


@dataclass(frozen=True)
class SearchRequest:
    """What is asked for.

    Attributes:
        collections: ids.
        since: inclusive.
        times: properties of which the first that an item has counts.
        is_exclusive: only items count that have the last of ``times`` and none before.
        acquired: RFC 3339, from and to, each or None.
        bbox: west, south, east, north.
        area: GeoJSON.
    """

    collections: tuple[str, ...]
    since: datetime
    times: tuple[str, ...]
    is_exclusive: bool = False
    acquired: tuple[str | None, str | None] = (None, None)
    bbox: list[float] | None = None
    area: Document | None = None

    def only_those_with(self, number: int) -> SearchRequest:
        """Ask for the items alone whose first time is this one of ``times``."""
        return replace(self, times=self.times[: number + 1], is_exclusive=True)

    @property
    def ordered_by(self) -> str:
        """The property by which the server is to put the items in order."""
        return self.times[-1] if self.is_exclusive else self.times[0]

    def body(self, server: Server, *, is_descending: bool, limit: int) -> Document:
        """Write the body of a POST."""
        body: Document = {"collections": list(self.collections), "limit": limit}
        if any(self.acquired):
            body["datetime"] = "/".join(end or ".." for end in self.acquired)
        if self.bbox:
            body["bbox"] = self.bbox
        elif self.area:
            body["intersects"] = self.area
        if self.since > BEGINNING or len(self.times) > 1:
            body |= self._condition(server)
        if SORT in server.abilities:
            direction = "desc" if is_descending else "asc"
            body["sortby"] = [{"field": f"properties.{self.ordered_by}", "direction": direction}]
        if FIELDS in server.abilities:
            properties = dict.fromkeys((*READ_PROPERTIES, *self.times))
            body["fields"] = {"include": [*READ_FIELDS, *(f"properties.{name}" for name in properties)]}
        return body

    def _condition(self, server: Server) -> Document:
        since = format_date_time(self.since)
        if server.filters:
            absent = [{"op": "isNull", "args": [{"property": name}]} for name in self.times[:-1]]
            if self.since == BEGINNING:
                newer: Document = {
                    "op": "not",
                    "args": [{"op": "isNull", "args": [{"property": self.ordered_by}]}],
                }
            else:
                newer = {"op": ">=", "args": [{"property": self.ordered_by}, {"timestamp": since}]}
            condition = {"op": "and", "args": [newer, *absent]} if absent else newer
            return {"filter-lang": "cql2-json", "filter": condition}
        if QUERY in server.abilities and self.since > BEGINNING and len(self.times) == 1:
            return {"query": {self.ordered_by: {"gte": since}}}
        return {}

    def parameters(self, body: Document) -> dict[str, str]:
        """Write the same as the parameters of a GET; the area, which may be long, is only checked by us."""
        parameters: dict[str, str] = {
            name: ",".join(map(str, body[name])) for name in ("collections", "bbox") if name in body
        }
        parameters |= {name: str(body[name]) for name in ("datetime", "limit") if name in body}
        if "filter" in body:
            parameters |= {"filter-lang": "cql2-text", "filter": _as_text(body["filter"])}
        if "query" in body:
            parameters["query"] = json.dumps(body["query"])
        if "sortby" in body:
            (one,) = body["sortby"]
            parameters["sortby"] = f"{'-' if one['direction'] == 'desc' else ''}{one['field']}"
        if "fields" in body:
            parameters["fields"] = ",".join(body["fields"]["include"])
        return parameters

    def time_name_of(self, properties: Mapping[str, Any]) -> str | None:
        """Name the time of an item that counts; None where it has none."""
        return next((name for name in self.times if properties.get(name) is not None), None)


def _as_text(condition: Document) -> str:
    """Write the CQL2-JSON that is made here as CQL2-Text."""
    operator, arguments = condition["op"], condition["args"]
    if operator == "and":
        return " AND ".join(_as_text(one) for one in arguments)
    if operator == "not":
        (one,) = arguments
        return f"{one['args'][0]['property']} IS NOT NULL"
    if operator == "isNull":
        return f"{arguments[0]['property']} IS NULL"
    return f"{arguments[0]['property']} {operator} TIMESTAMP('{arguments[1]['timestamp']}')"


@dataclass(frozen=True)
class Found:
    """One item of an answer; nothing of it but its time has been validated.

    Attributes:
        moment: its time, UTC.
        name: its id, or what there is of one.
        version: when it was changed last.
        item: as the server gave it.
    """

    moment: datetime
    name: str
    version: str
    item: Document = field(repr=False, compare=False)

    @property
    def mark(self) -> str:
        """What tells it, in this version, from all others of the source."""
        return mark_of(str(self.item.get("collection", "")), self.name, self.version)


@dataclass(frozen=True)
class _Page:
    items: list[Found]
    is_last: bool


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    options: CallOptions

    @property
    def mark(self) -> str:
        return json.dumps([self.method, self.path, self.options.get("json"), self.options.get("params")])


class StacPages:
    """The items of one search, oldest first.

    Args:
        server: which is searched.
        request: what is asked for.

    Attributes:
        remarks: what an operator should know.
        broken: why not all pages could be read.
        newest: time of the newest item that the server has.
    """

    def __init__(self, server: Server, request: SearchRequest) -> None:
        self.remarks: list[str] = []
        self.broken: PermanentError | None = None
        self.newest = BEGINNING
        self._server = server
        self._url = f"{server.client.base_url}/search"
        self._request = request

    def __iter__(self) -> Iterator[Found]:
        """Give the items in order, reading a page when it is needed.

        Raises:
            DisorderError: the server does not keep the order; what was given before may not be the oldest.
            ConversionAssetsError: see ``InputSource.look``.
        """
        pages = self._pages()
        first = next(pages)
        if first.is_last:
            yield from sorted(first.items, key=lambda found: found.moment)
            return
        self._require_order(first)
        before = BEGINNING
        for found in chain.from_iterable(page.items for page in chain([first], pages)):
            if found.moment < before:
                raise DisorderError
            before = found.moment
            yield found

    def unordered(self) -> Iterator[Found]:
        """Give all items, in any order; raises what it raises in order, besides disorder."""
        for page in self._pages():
            yield from page.items

    def _require_order(self, first: _Page) -> None:
        """See that the oldest came first: the newest, asked for by itself, must be another and not older.

        That tells a server that leaves the order aside even where a page is too short to show it.
        """
        if SORT not in self._server.abilities:
            raise DisorderError
        moments = [found.moment for found in first.items]
        if any(later < earlier for earlier, later in pairwise(moments)):
            raise DisorderError
        features, _ = self._answered(self._first(is_descending=True, limit=1))
        newest = next(iter(self._found(features)), None)
        if newest is None or not moments:
            return
        if newest.moment < moments[-1] or newest.mark == first.items[0].mark:
            raise DisorderError

    def _first(self, *, is_descending: bool = False, limit: int | None = None) -> _Request:
        limit = limit or self._server.page_size
        body = self._request.body(self._server, is_descending=is_descending, limit=limit)
        if self._server.method == "GET":
            return _Request("GET", self._url, {"params": self._request.parameters(body)})
        return _Request("POST", self._url, {"json": body, "repeat": True})

    def _pages(self) -> Iterator[_Page]:
        request: _Request | None = self._first()
        asked: set[str] = set()
        while request is not None:
            try:
                features, following = self._answered(request)
            except PermanentError as error:
                if not asked:
                    raise
                self.broken = error
                return
            asked.add(request.mark)
            if following is not None and following.mark in asked:
                if len(features) >= self._server.page_size:
                    self.broken = self._nonsense("the link to the next page leads back to one before")
                following = None
            yield _Page(self._found(features), is_last=following is None and self.broken is None)
            request = following

    def _answered(self, request: _Request) -> tuple[list[Any], _Request | None]:
        """Give the features of a page, and the request for the next one."""
        answer = self._server.client.call(request.method, request.path, **request.options)
        document = answer.json if isinstance(answer.json, dict) else {}
        features, links = document.get("features"), document.get("links")
        if not isinstance(features, list):
            raise self._nonsense("its answer is no feature collection")
        following = (
            next((link for link in links if isinstance(link, dict) and link.get("rel") == "next"), None)
            if isinstance(links, list) and features
            else None
        )
        return features, self._following(following, request) if following else None

    def _following(self, link: Document, before: _Request) -> _Request:
        """Read a link to the next page, as STAC API - Item Search, Paging, has it."""
        href = link.get("href")
        if not isinstance(href, str):
            raise self._nonsense("the link to the next page has no href")
        url = urljoin(self._url, href)
        if str(link.get("method", "GET")).upper() == "GET":
            return _Request("GET", url, {})
        body, earlier = link.get("body"), before.options.get("json")
        if not isinstance(body, dict):
            body = earlier
        elif link.get("merge") and isinstance(earlier, dict):
            body = {**earlier, **body}
        return _Request("POST", url, {"json": body, "repeat": True})

    def _found(self, features: list[Any]) -> list[Found]:
        found, without_time = [], []
        for feature in features:
            item: Document = feature if isinstance(feature, dict) else {}
            properties = item.get("properties") if isinstance(item.get("properties"), dict) else {}
            name = item["id"] if isinstance(item.get("id"), str) else "(without id)"
            time_name = self._request.time_name_of(properties or {})
            if time_name is not None and self._request.is_exclusive and time_name != self._request.ordered_by:
                continue  # another search is for it
            moment = time_of(properties or {}, time_name) if time_name else None
            if moment is None:
                without_time.append(printable(name[:LONGEST_NAME]))
                continue
            version = format_date_time(time_of(properties or {}, "updated") or moment)
            found.append(Found(moment, printable(name[:LONGEST_NAME]), version, item))
            self.newest = max(self.newest, moment)
        if without_time:
            self.remarks.append(
                f"{len(without_time)} items have no time that can be read, and are left out:"
                f" {', '.join(without_time[:MOST_NAMES])}"
            )
        return found

    def _nonsense(self, rule: str) -> PermanentError:
        return PermanentError(self._server.client.base_url, rule, CHECK_API)
