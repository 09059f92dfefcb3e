"""A STAC API as a source of products: CDSE, PRIP, pgstac and the like."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Any
from urllib.parse import quote

from pydantic import Field, PrivateAttr

from conversion_assets.errors import PermanentError
from conversion_assets.resources.input_source import Arrival, InputSource, Look, Skipped
from conversion_assets.resources.item_filter import ItemFilter, published_at
from conversion_assets.resources.source_credentials import SourceCredentials
from conversion_assets.resources.source_position import BEGINNING, Position
from conversion_assets.resources.stac_pages import (
    DisorderError,
    Found,
    SearchRequest,
    Server,
    StacPages,
    abilities,
)
from conversion_assets.web.addresses import HTTP_SCHEMES
from conversion_assets.web.client import WebClient

MOST_READ = 20_000
"""How many items one look reads if it found something; more only as long as all of them are known."""
MOST_READ_WITHOUT_NEWS = 100_000
LARGEST_PAGE = 1000
by_time = attrgetter("moment")


class StacSearch(InputSource):
    """Items of a STAC API (https://api.stacspec.org), in the order of one of their times.

    What the server does with filter and order is checked with each answer. Where it leaves the order aside,
    all it has is read and ordered here, up to a bound.

    Attributes:
        name: of the watch.
        url: root of the API.
        collections: ids there.
        properties: which of the items' times tells that they are new: the first that an item has.
        wanted: which items the watch is about.
        bbox: for the server; ``wanted`` has the area.
        start: RFC 3339, or ``now``: where to begin.
        overlap_seconds: how late an item may become visible after the time that it carries.
        method: by which the server is searched, ``POST`` or ``GET``.
        page_size: items on a page; as many as are wanted if not said.
        credentials: of sources.
        timeout: seconds to wait for each part of an answer.
        retries: how many times a request that failed in passing is sent again.
    """

    name: str
    url: str
    collections: list[str]
    properties: list[str] = Field(default=["updated", "published", "created"])
    wanted: ItemFilter = ItemFilter()
    bbox: list[float] | None = None
    start: str | None = None
    overlap_seconds: float = 600
    method: str = "POST"
    page_size: int | None = None
    credentials: SourceCredentials | None = None
    timeout: float = 20
    retries: int = 1

    _now: Callable[[], datetime] = PrivateAttr(default=partial(datetime.now, UTC))

    def look(self, cursor: str | None, most: int) -> Look:
        """See ``InputSource.look``."""
        now = self._now()
        with self._client() as client:
            sweep = self._sweep(cursor, most, now)
            known = sum(map(len, sweep.position.marks.values()))
            page_size = self.page_size or min(most + known, LARGEST_PAGE)
            server = Server(client, self.method, abilities(client), page_size)
            try:
                sweep.through(self._searches(server, sweep.since), is_ordered=True)
            except DisorderError:
                sweep = self._sweep(cursor, most, now)
                sweep.through(self._searches(server, sweep.since), is_ordered=False)
        return self._told(sweep)

    def _sweep(self, cursor: str | None, most: int, now: datetime) -> _Sweep:
        position = Position.read(cursor, self._place(), self._beginning(now))
        return _Sweep(self.url, self.wanted, position, position.since(self._overlap), most, now)

    def _told(self, sweep: _Sweep) -> Look:
        taken = {arrival: (found.moment, found.mark) for found, arrival in sweep.arrivals}

        def cursor_without(left: Collection[Arrival]) -> str:
            return sweep.position.without(taken[arrival] for arrival in left).text(self._overlap)

        return Look(
            cursor_without,
            tuple(taken),
            tuple(sweep.skipped),
            tuple(dict.fromkeys(sweep.remarks)),
            f"Nothing new at {self.url} ({sweep.read} items read, {sweep.passed_over} not wanted).",
        )

    @property
    def _overlap(self) -> timedelta:
        return timedelta(seconds=self.overlap_seconds)

    def _place(self) -> str:
        """Name what a cursor is good for: by other times the order is another."""
        return f"{self.url} {' '.join(self.properties)}"

    def _beginning(self, now: datetime) -> datetime:
        if self.start is None:
            return BEGINNING
        return now if self.start == "now" else datetime.fromisoformat(self.start)

    def _client(self) -> WebClient:
        credentials = self.credentials or SourceCredentials()
        return WebClient(
            self.url,
            auth=credentials.auth(),
            timeout=self.timeout,
            retries=self.retries,
            service=f"watch {self.name}",
            secrets=set(credentials.secrets()),
        )

    def _searches(self, server: Server, since: datetime) -> list[StacPages]:
        """Give one search for each time by which items may be told new, so that each search has one order."""
        request = SearchRequest(
            collections=tuple(self.collections),
            since=since,
            times=tuple(self.properties),
            acquired=(self.wanted.acquired_from, self.wanted.acquired_to),
            bbox=self.bbox,
            area=self.wanted.area,
        )
        if not server.filters:
            return [StacPages(server, request)]
        count = len(self.properties)
        return [StacPages(server, request.only_those_with(number)) for number in range(count)]


@dataclass
class _Sweep:
    """One pass over what searches give, oldest first: what it took, and how far it came."""

    url: str
    wanted: ItemFilter
    position: Position
    since: datetime
    most: int
    now: datetime
    arrivals: list[tuple[Found, Arrival]] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    read: int = 0
    passed_over: int = 0

    def through(self, searches: list[StacPages], *, is_ordered: bool) -> None:
        """Take what is new.

        Raises:
            DisorderError: a search has no order, though ``is_ordered``.
            ConversionAssetsError: see ``InputSource.look``.
        """
        found = heapq.merge(*searches, key=by_time) if is_ordered else self._all_in_order(searches)
        is_complete = self._took_all(found)
        self.remarks += chain.from_iterable(search.remarks for search in searches)
        broken = next((search.broken for search in searches if search.broken), None)
        if broken is not None:
            if not is_ordered or not (self.taken or self.passed_over):
                raise broken
            self.remarks.append(str(broken))
        newest = [min(search.newest, self.now) for search in searches]
        self.position.newest = self.position.until if is_complete else max(newest)

    @property
    def taken(self) -> int:
        """How many are given."""
        return len(self.arrivals) + len(self.skipped)

    def _took_all(self, found: Iterable[Found]) -> bool:
        for one in found:
            self.read += 1
            if self._is_known(one):
                self._require_end()
                continue
            if self.taken == self.most or (self.read > MOST_READ and self.taken):
                return False
            self._take(one)
        return True

    def _is_known(self, found: Found) -> bool:
        if found.moment < self.since:
            self.remarks.append("the server leaves the filter aside: it gives items that are older")
        return found.moment < self.since or self.position.knows(found.moment, found.mark)

    def _require_end(self) -> None:
        if self.read > MOST_READ_WITHOUT_NEWS and not self.taken:
            raise PermanentError(
                self.url,
                f"{MOST_READ_WITHOUT_NEWS:,} items were read, and all are known",
                "Check that the server honours the filter, or watch fewer collections.",
            )

    def _all_in_order(self, searches: list[StacPages]) -> list[Found]:
        """Read everything, and put in order what comes first of it."""
        new = (found for found in self._all(searches) if not self._is_known(found))
        first = heapq.nsmallest(self.most + 1, new, key=by_time)
        self.remarks.append(
            f"the server leaves the order aside: all of its {self.read} items were read and put in order here"
        )
        return first

    def _all(self, searches: list[StacPages]) -> Iterator[Found]:
        for found in chain.from_iterable(search.unordered() for search in searches):
            self.read += 1
            if self.read > MOST_READ:
                raise PermanentError(
                    self.url,
                    f"the server leaves the order aside, and has more than {MOST_READ:,} items",
                    "Watch fewer collections, a smaller area or a shorter time, or one 'property' by which it"
                    " can order.",
                )
            yield found

    def _take(self, found: Found) -> None:
        verdict = self.wanted.of_item(found.item, self.now)
        if verdict.wanted:
            arrival = self._arrival(found)
            if arrival is not None:
                self.arrivals.append((found, arrival))
                self.position.take(found.moment, found.mark, self.now)
                return
            self._skip(found, "its document is nested too deeply")
        elif verdict.reason:
            self._skip(found, verdict.reason)
        else:
            self.passed_over += 1
            self.position.pass_over(found.moment, self.now)

    def _skip(self, found: Found, reason: str) -> None:
        self.skipped.append(Skipped(found.name, self._href(found), found.version, reason))
        self.position.take(found.moment, found.mark, self.now)

    def _arrival(self, found: Found) -> Arrival | None:
        try:
            document = json.dumps(found.item).encode()
        except (RecursionError, ValueError):
            return None
        published = published_at(found.item["properties"])
        return Arrival(found.name, self._href(found), found.version, published, document)

    def _href(self, found: Found) -> str:
        """Tell where an item is: where it says itself, or where an API has it."""
        links: Any = found.item.get("links")
        for link in links if isinstance(links, list) else ():
            href = link.get("href") if isinstance(link, dict) and link.get("rel") == "self" else None
            if isinstance(href, str) and href.partition("://")[0] in HTTP_SCHEMES:
                return href
        collection = quote(str(found.item.get("collection", "")), safe="")
        return f"{self.url}/collections/{collection}/items/{quote(found.name, safe='')}"
