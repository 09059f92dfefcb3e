"""A relay on this machine that notes the HTTP requests that pass, and cuts or holds back some of them."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import unquote, urlsplit

REQUEST = re.compile(rb"^(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.1\r$", re.MULTILINE)
Choice = Callable[[str], bool]


class Proxy:
    """What passed and what is not to pass.

    Attributes:
        url: where it listens.
        requests: the requests, as ``PUT /path``.
        cuts: how many were cut.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.requests: list[str] = []
        self.cuts = 0
        self._target = target
        self._cut: Choice = lambda _: False
        self._cuts_left = 0
        self._stall: Choice = lambda _: False
        self._stalled, self._ended = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://{}:{}".format(*self._listener.getsockname())

    def cut(self, chosen: Choice, times: int) -> None:
        """Drop the connection when a chosen request comes."""
        self._cut, self._cuts_left = chosen, times

    def stall(self, chosen: Choice) -> threading.Event:
        """Let a chosen request and what follows it wait for ever; the event tells that one does."""
        self._stall = chosen
        return self._stalled

    def serve(self) -> None:
        """Relay until it is closed."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def close(self) -> None:
        """End it, with everything that waits."""
        self._ended.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server, suppress(OSError):
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            while (data := client.recv(1 << 16)) and self._passes(data):
                server.sendall(data)
            for end in (server, client):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            back.join()

    def _passes(self, data: bytes) -> bool:
        lines = [f"{method.decode()} {unquote(target.decode())}" for method, target in REQUEST.findall(data)]
        with self._lock:
            self.requests += lines
            cut = self._cuts_left > 0 and any(map(self._cut, lines))
            self._cuts_left -= cut
            self.cuts += cut
        if any(map(self._stall, lines)):
            self._stalled.set()
            self._ended.wait()
        return not cut


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)


@contextmanager
def relaying(url: str) -> Iterator[Proxy]:
    """Relay to the server of a URL."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    proxy = Proxy((parts.hostname, parts.port))
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join()
