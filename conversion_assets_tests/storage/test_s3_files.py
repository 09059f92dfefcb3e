from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from conversion_assets.storage.s3_files import S3Files

SECONDS_TO_END = 30
NO_BUCKETS = b"<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>"


class Handler(BaseHTTPRequestHandler):
    """Answers with no buckets, and keeps the connection."""

    protocol_version = "HTTP/1.1"
    server: Lasting

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(NO_BUCKETS)))
        self.end_headers()
        self.wfile.write(NO_BUCKETS)

    def finish(self) -> None:
        super().finish()
        self.server.closed.set()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is inherited
        pass


class Lasting(ThreadingHTTPServer):
    """An S3 service that closes no connection, and tells when its client closes one."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.closed = Event()


@pytest.fixture
def server() -> Iterator[Lasting]:
    with Lasting() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def idle_loop() -> Iterator[None]:
    """Let this thread have an event loop that nobody runs, as the main thread of a program has."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


def use_and_forget(server: Lasting) -> None:
    files = S3Files(
        endpoint_url=f"http://127.0.0.1:{server.server_address[1]}",
        key="someone",
        secret="anything",  # noqa: S106 - any will do
        client_kwargs={"region_name": "us-east-1"},
        config_kwargs={"connector_args": {"keepalive_timeout": 10 * SECONDS_TO_END}},
        skip_instance_cache=True,
    )
    assert files.call_s3("list_buckets")["Buckets"] == []
    assert not server.closed.is_set()


@pytest.mark.usefixtures("idle_loop")
def test_forgotten_file_system_closes_its_connections(server: Lasting) -> None:
    use_and_forget(server)
    gc.collect()
    assert server.closed.wait(SECONDS_TO_END)
