"""A real HTTP server on this machine that answers as a test tells it, and breaks connections on demand."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Literal

Breaks = Literal["", "before", "within", "ends", "next", "hangs"]
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Reply:
    """How one request is answered.

    Attributes:
        status: HTTP status.
        body: bytes, or what is written as JSON.
        headers: besides the length.
        breaks: where the connection is reset: before the answer, in the middle of the body, or by its next
            request. ``ends`` closes it in order in the middle of the body; ``hangs`` never answers.
        echoes: the body is what was asked: URL, headers and body.
    """

    status: int = 200
    body: object = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    breaks: Breaks = ""
    echoes: bool = False


@dataclass(frozen=True)
class Asked:
    """One request that came in; names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: str
    connection: int


@dataclass
class Site:
    """The server: what it is told, and what it was asked.

    Attributes:
        port: on 127.0.0.1.
        replies: by path without query; used up one by one, the last one stays.
        asked: all requests.
        over: set when the server ends.
    """

    port: int = 0
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def other_root(self) -> str:
        """The same server by another name, which makes it another origin."""
        return f"http://localhost:{self.port}"

    def on(self, path: str, *replies: Reply) -> None:
        self.replies[path] = list(replies)

    def asked_for(self, path: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.path.partition("?")[0] == path]


class _Handler(BaseHTTPRequestHandler):
    site: ClassVar[Site]
    protocol_version = "HTTP/1.1"
    breaks_next = False

    def do_GET(self) -> None:
        if self.breaks_next:
            self._reset()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, body.decode(), self.client_address[1])
        self.site.asked.append(asked)
        replies = self.site.replies.get(self.path.partition("?")[0], [Reply(404, b"nothing here")])
        self._answer(replies.pop(0) if len(replies) > 1 else replies[0], asked)

    def __getattr__(self, name: str) -> object:
        """Treat every method alike."""
        if name.startswith("do_"):
            return self.do_GET
        raise AttributeError(name)

    def _answer(self, reply: Reply, asked: Asked) -> None:
        self.breaks_next = reply.breaks == "next"
        if reply.breaks == "hangs":
            self.site.over.wait()
        if reply.breaks in ("before", "hangs"):
            self._reset()
            return
        body = json.dumps(vars(asked)).encode() if reply.echoes else self._bytes(reply.body)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        broken = reply.breaks in ("within", "ends")
        with suppress(ConnectionError):  # the client may have read enough
            self.wfile.write(body[: len(body) // 2] if broken else body)
        self.close_connection = reply.breaks == "ends"
        if reply.breaks == "within":
            self._reset()

    def _bytes(self, body: object) -> bytes:
        return body if isinstance(body, bytes) else json.dumps(body).encode()

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients under test leave as they like."""

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """Close without the orderly goodbye that would precede a reset."""
        self.close_request(request)


@contextmanager
def serving_replies() -> Iterator[Site]:
    """Serve on a free port of 127.0.0.1 until the block is left."""
    site = Site()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    site.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        site.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
