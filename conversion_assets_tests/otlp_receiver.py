"""A collector of traces: an OTLP/HTTP receiver on 127.0.0.1 that keeps the spans it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import Tracer

from conversion_assets import tracing


@dataclass(frozen=True)
class ReceivedSpan:
    """One span as it came over the wire, ids in hexadecimal."""

    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, str | int | float | bool]
    failed: bool
    message: str
    start: int
    end: int
    resource: dict[str, str | int | float | bool]


@dataclass
class Receiver:
    """What a collector was sent.

    Attributes:
        url: base URL of the collector.
        spans: spans, in the order in which they ended.
        paths: paths to which they were posted.
        headers: headers of each request.
    """

    url: str = ""
    spans: list[ReceivedSpan] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)
    headers: list[dict[str, str]] = field(default_factory=list)

    def complete(self) -> None:
        """Wait until everything that ended in this process has been sent."""
        _tracer().span_processor.force_flush()

    def named(self, name: str) -> list[ReceivedSpan]:
        """Give the spans of a name."""
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReceivedSpan:
        """Give the only span of a name."""
        (span,) = self.named(name)
        return span

    def take(self, body: bytes) -> None:
        """Decode a request."""
        request = ExportTraceServiceRequest.FromString(body)
        for group in request.resource_spans:
            resource = _values(group.resource.attributes)
            self.spans += [_received(span, resource) for scope in group.scope_spans for span in scope.spans]


def _received(span: Span, resource: dict[str, str | int | float | bool]) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        attributes=_values(span.attributes),
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        message=span.status.message,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        resource=resource,
    )


def _values(pairs: Iterator[KeyValue]) -> dict[str, str | int | float | bool]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}


@contextmanager
def receiving(status: int = 200) -> Iterator[Receiver]:
    """Run a collector on a free port; it ends with the block.

    Args:
        status: how it answers.
    """
    received = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.paths.add(self.path)
            received.headers.append(dict(self.headers))
            if status == 200:
                received.take(body)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def tracing_to(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trace this process to a collector as long as the block lasts."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    tracing._exporting_tracer.cache_clear()
    yield
    _tracer().span_processor.shutdown()
    tracing._exporting_tracer.cache_clear()
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")


def _tracer() -> Tracer:
    tracer = tracing._exporting_tracer()
    assert isinstance(tracer, Tracer)
    return tracer
