"""The source of a soak: a STAC API on 127.0.0.1 with the products that its items lead to, and bad weather."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from benchmarks.soak.plan import FaultKind
from benchmarks.soak.products import Content
from conversion_assets_tests.peers.serving import Document, Trouble
from conversion_assets_tests.resources.stac_source import StacSource, item

COLLECTION = "soak"
SECONDS_LATE = 12.0
SECONDS_TO_WAIT = "10"
BYTES_BEFORE_CUT = 4000
TROUBLES: Mapping[FaultKind, Trouble] = MappingProxyType(
    {
        FaultKind.BUSY: Trouble(times=None, status=503),
        FaultKind.THROTTLED: Trouble(times=None, status=429, headers={"Retry-After": SECONDS_TO_WAIT}),
        FaultKind.RESET: Trouble(times=None, reset=True),
        FaultKind.SLOW: Trouble(times=None, seconds=SECONDS_LATE),
        FaultKind.CUT: Trouble(times=None, path="/data/", cut_after=BYTES_BEFORE_CUT),
    }
)


class Source(StacSource):
    """Serves items, and the archives that they lead to.

    Args:
        folder: of the archives, as ``products.make`` puts them there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        super().__init__()

    def routes(self) -> Sequence[BaseRoute]:
        """See ``Peer.routes``."""
        return [Route("/data/{number:int}/{content:int}/{name}", self.archive), *super().routes()]

    def archive(self, request: Request) -> Response:
        """Give an archive, or a part of it."""
        wanted = request.path_params
        return FileResponse(self._folder / str(wanted["number"]) / str(wanted["content"]) / wanted["name"])

    def offer(self, name: str, content: Content) -> None:
        """Let an item be there, changed just now; one of the same name is replaced.

        Args:
            name: its id.
            content: what it leads to.
        """
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        made = item(name, updated=now)
        del made["properties"]["product:type"]
        path = content.archive.relative_to(self._folder).as_posix()
        asset = {"href": f"{self.url}/data/{path}", "file:checksum": content.checksum}
        self.put({**made, "collection": COLLECTION, "assets": {"product": asset}})

    def put(self, *items: Document) -> None:
        """Keep items; a search that goes on meanwhile does not see it."""
        kept = {(one["collection"], one["id"]): one for one in items}
        self.store.items = {**self.store.items, **kept}
