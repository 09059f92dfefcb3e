"""What every peer is made of: a server on this machine, the requests it got, and its bad weather."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.types import Message, Receive, Scope, Send

Document = dict[str, Any]


@dataclass(frozen=True)
class Received:
    """A request as it came in.

    Attributes:
        method: in capitals.
        path: decoded, without the query.
        query: as sent.
        headers: by lower-case name.
        body: as sent.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - any JSON
        return json.loads(self.body)


@dataclass
class Trouble:
    """What goes wrong with a request.

    Attributes:
        times: with how many requests; None with all.
        method: only with requests of this method.
        path: only with requests whose path contains this.
        after_work: the peer does what it is asked, and only its answer suffers.
        seconds: how long the answer is held back.
        status: status of an answer in place of the peer's own.
        body: body of that answer: a text, or anything for JSON.
        headers: further headers of that answer.
        reset: the connection is reset in place of an answer.
        cut_after: the connection ends after so many bytes of the answer's body.
    """

    times: int | None = 1
    method: str | None = None
    path: str = ""
    after_work: bool = False
    seconds: float = 0
    status: int | None = None
    body: Any = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    reset: bool = False
    cut_after: int | None = None

    def meets(self, received: Received) -> bool:
        return self.times != 0 and self.method in (None, received.method) and self.path in received.path

    @property
    def prevents_work(self) -> bool:
        return not self.after_work and (self.reset or self.status is not None)

    def answer(self) -> _Answer | None:
        if self.status is None:
            return None
        text = isinstance(self.body, str)
        response = Response(
            self.body if text else json.dumps(self.body),
            self.status,
            dict(self.headers),
            "text/plain" if text else "application/json",
        )
        return _Answer(response.status_code, response.raw_headers, bytes(response.body))


class Refusal(Exception):  # noqa: N818 - an answer, not a fault of the peer
    """Ends the work on a request with an answer in JSON."""

    def __init__(self, status: int, body: object) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


class Crash(Exception):  # noqa: N818 - an answer, not a fault of the peer
    """Ends the work as an unforeseen exception of a server does: 500, and the connection dies later."""


@dataclass
class _Answer:
    status: int = 500
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytes = b""

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message["headers"]
        else:
            self.body += message.get("body", b"")


class Peer(ABC):
    """A service on a free port of 127.0.0.1 that speaks as the real one was heard to speak.

    Requests are worked on one at a time, so that each is as atomic as in a database.

    Attributes:
        url: where it listens, without a slash at the end.
        requests: what it got, in order; requests on connections that it had broken aside.
        troubles: what goes wrong; of those that meet a request the first counts.
        credentials: headers, by lower-case name, one of which a request must bring; empty for an open peer.
        stopping: set as soon as the peer is to end.
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Received] = []
        self.troubles: list[Trouble] = []
        self.credentials: Mapping[str, str] = {}
        self.stopping = threading.Event()
        self._app = Starlette(
            routes=self.routes(),
            exception_handlers={Refusal: self._on_refusal, HTTPException: self._on_refusal},
        )
        self._one_at_a_time = asyncio.Lock()
        self._connections: set[Any] = set()
        self._broken: set[Any] = set()
        self._threads: list[threading.Thread] = []

    @abstractmethod
    def routes(self) -> Sequence[BaseRoute]:
        """Say which endpoint serves what; plain functions run in a thread."""

    def answer_refusal(self, refusal: Refusal) -> Response:
        """Put a refusal in the service's own form."""
        return JSONResponse(refusal.body, refusal.status)

    def _on_refusal(self, _: Request, refusal: Exception) -> Response:
        if isinstance(refusal, HTTPException):
            refusal = Refusal(refusal.status_code, {"detail": refusal.detail})
        if not isinstance(refusal, Refusal):
            raise refusal
        return self.answer_refusal(refusal)

    def add(self, trouble: Trouble) -> Trouble:
        """Announce trouble."""
        self.troubles.append(trouble)
        return trouble

    def break_connection(self, request: Request) -> None:
        """Reset the connection of a request when the next one comes over it."""
        self._broken.add(self._connection(request.scope))

    def start(self, work: Callable[..., None], *arguments: object) -> None:
        """Start work that outlives a request; it has to look at ``stopping``."""
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def join(self) -> None:
        """Wait for all work that was started."""
        while self._threads:
            self._threads.pop().join()

    def received(self, method: str, path: str = "") -> list[Received]:
        """Give the requests of a method whose path contains a text."""
        return [request for request in self.requests if request.method == method and path in request.path]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        received = Received(
            request.method,
            request.url.path,
            request.url.query,
            dict(request.headers),
            await request.body(),
        )
        connection = self._connection(scope)
        if connection in self._broken:
            await _reset(connection, receive)
            return
        self.requests.append(received)
        trouble = self._take_trouble(received) or Trouble()
        answer = _Answer() if trouble.prevents_work else await self._work(scope, received, connection)
        await self._pause(trouble.seconds)
        if trouble.reset:
            await _reset(connection, receive)
            return
        answer = trouble.answer() or answer
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        if trouble.cut_after is None:
            await send({"type": "http.response.body", "body": answer.body})
            return
        await send(
            {"type": "http.response.body", "body": answer.body[: trouble.cut_after], "more_body": True}
        )
        connection.transport.close()
        await receive()

    def _take_trouble(self, received: Received) -> Trouble | None:
        trouble = next((trouble for trouble in self.troubles if trouble.meets(received)), None)
        if trouble is not None and trouble.times is not None:
            trouble.times -= 1
        return trouble

    async def _work(self, scope: MutableMapping[str, Any], received: Received, connection: object) -> _Answer:
        answer = _Answer()
        if not self._may_enter(received):
            refused = self.answer_refusal(Refusal(401, {"detail": "Not authenticated"}))
            await refused(scope, _nothing, answer.take)
            return answer
        async with self._one_at_a_time:
            try:
                await self._app({**scope, "state": {"received": received}}, _nothing, answer.take)
            except Crash:
                self._broken.add(connection)
        return answer

    def _may_enter(self, received: Received) -> bool:
        wanted = self.credentials.items()
        return not wanted or any(received.headers.get(name) == value for name, value in wanted)

    async def _pause(self, seconds: float) -> None:
        if seconds:
            await asyncio.to_thread(self.stopping.wait, seconds)

    def _connection(self, scope: Scope) -> Any:  # noqa: ANN401 - one of uvicorn's protocols
        return next(one for one in self._connections if one.client == scope["client"])


def document_of(request: Request) -> Any:  # noqa: ANN401 - any JSON
    """Read the body of a request.

    Raises:
        Refusal: it is no JSON.
    """
    received: Received = request.state.received
    try:
        return received.json()
    except ValueError as error:
        fault = {"type": "json_invalid", "loc": ["body", 0], "msg": "JSON decode error", "input": {}}
        raise Refusal(400, {"detail": [{**fault, "ctx": {"error": str(error)}}], "body": None}) from error


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _reset(connection: Any, receive: Receive) -> None:  # noqa: ANN401 - one of uvicorn's protocols
    at_once = struct.pack("ii", 1, 0)
    connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    connection.transport.abort()
    await receive()


AnyPeer = TypeVar("AnyPeer", bound=Peer)


@contextmanager
def serving(peer: AnyPeer) -> Iterator[AnyPeer]:
    """Serve until the block is left."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # asyncio does so itself only for sockets that name their protocol; accepted ones inherit it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            peer, http="h11", ws="none", loop="asyncio", lifespan="off", log_config=None, access_log=False
        )
        server = _Server(config)
        peer._connections = server.server_state.connections
        thread = threading.Thread(target=server.run, args=([listener],), name=type(peer).__name__)
        thread.start()
        try:
            yield peer
        finally:
            peer.stopping.set()
            server.end()
            thread.join()
            peer.join()


class _Server(uvicorn.Server):
    """Ends at once, where uvicorn's own looks ten times a second whether it should."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._started = threading.Event()
        self._ended = asyncio.Event()

    def end(self) -> None:
        self._started.wait()
        self._loop.call_soon_threadsafe(self._ended.set)

    async def main_loop(self) -> None:
        await self.on_tick(0)
        self._loop = asyncio.get_running_loop()
        self._started.set()
        await self._ended.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.gather(*self.server_state.tasks, return_exceptions=True)
        for listener in sockets or ():
            listener.close()
