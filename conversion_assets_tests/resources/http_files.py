"""A real HTTP server on this machine that serves what a test gives it, and misbehaves on demand."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


@dataclass
class Served:
    """One file, and how the server behaves when it is asked for.

    Attributes:
        content: the bytes.
        ranges: whether the server says that it serves ranges.
        keeps_ranges: whether it does.
        cut_after: number of body bytes after which it drops the connection.
        status: answer instead of the file.
        location: where it redirects to.
        etag: version it tells; by default one that follows the content, None for none.
        tells_length: whether it announces the length.
        encoding: content encoding that it announces.
    """

    content: bytes = b""
    ranges: bool = True
    keeps_ranges: bool = True
    cut_after: int | None = None
    status: int | None = None
    location: str | None = None
    etag: str | None = "by content"
    tells_length: bool = True
    encoding: str | None = None

    @property
    def version(self) -> str | None:
        return f'"{sha256(self.content).hexdigest()}"' if self.etag == "by content" else self.etag


@dataclass
class HttpFiles:
    """The files of a server by path, and the requests it got: path and byte range, and credentials."""

    root: str = ""
    files: dict[str, Served] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    credentials: list[str | None] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"{self.root}/{path}"

    def add(self, path: str, content: bytes = b"") -> Served:
        return self.files.setdefault(path, Served(content))

    def ranges(self) -> list[str]:
        return [asked for _, asked in self.requests if asked]


class _Handler(BaseHTTPRequestHandler):
    site: ClassVar[HttpFiles]
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        served = self.site.files.get(self.path.lstrip("/").partition("?")[0], Served(status=404))
        self._answer(served.status or 200, b"", {})

    def do_GET(self) -> None:
        path = self.path.lstrip("/").partition("?")[0]
        self.site.requests.append((path, self.headers.get("Range")))
        self.site.credentials.append(self.headers.get("Authorization"))
        served = self.site.files.get(path, Served(status=404))
        self.close_connection = True
        if served.status is not None:
            self._answer(served.status, b"", {"Location": served.location} if served.location else {})
            return
        start = self._start(served)
        if start >= len(served.content) > 0:
            self._answer(416, b"", {})
            return
        headers = {
            "ETag": served.version,
            "Accept-Ranges": "bytes" if served.ranges else None,
            "Content-Encoding": served.encoding,
        }
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(served.content) - 1}/{len(served.content)}"
        self._answer(206 if start else 200, served.content[start:], headers, served)

    def _start(self, served: Served) -> int:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(asked[1]) if asked and served.keeps_ranges else 0

    def _answer(
        self, status: int, body: bytes, headers: dict[str, str | None], served: Served | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        if served is None or served.tells_length:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        cut = served.cut_after if served else None
        with contextlib.suppress(ConnectionError):  # the client may only have wanted the headers
            self.wfile.write(body[:cut])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[HttpFiles]:
    """Serve on a free port of 127.0.0.1 until the block is left."""
    site = HttpFiles()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    site.root = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
