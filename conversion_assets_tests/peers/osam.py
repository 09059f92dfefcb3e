"""The upstream service that tells in which bucket a product is kept."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from .buckets import ROWS
from .serving import Peer, Refusal


class Osam(Peer):
    """The service.

    Attributes:
        rows: owner, collection, product type, days, bucket, all texts; None when it has no file.
    """

    def __init__(self, rows: Sequence[Sequence[str]] | None = ROWS) -> None:
        super().__init__()
        self.rows = rows

    def routes(self) -> Sequence[BaseRoute]:
        """See ``Peer.routes``."""
        return [Route("/internal/configuration", self.configuration)]

    def answer_refusal(self, refusal: Refusal) -> Response:
        """See ``Peer.answer_refusal``."""
        return JSONResponse({"code": "NotFound", "description": str(refusal.body)}, refusal.status)

    def configuration(self, _: Request) -> Response:
        return JSONResponse(self.rows)
