"""OpenTelemetry: one trace per order, exported over OTLP/HTTP where an endpoint is configured.

Where none is, nothing of the SDK is imported, and a span costs a look at the environment. Whatever goes
wrong with tracing is logged; it never reaches the order.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.trace import Span, Tracer

SERVICE = "conversion-assets"
PREFIX = "conversion_assets."
TRACES_PATH = "/v1/traces"
# The first two are OpenTelemetry's own; the last one is that of the upstream system.
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT", "TEMPO_ENDPOINT")
SECONDS_TO_EXPORT = 3.0
SECONDS_AT_EXIT = 4.0
LOG = logging.getLogger(__name__)

Attribute = str | int | float | bool | None


@dataclass(frozen=True)
class TracedRun:
    """What the spans and log records of a run carry.

    Attributes:
        run_id: id of the run; the root run of a run that is repeated, so that both share a trace.
        traceparent: W3C trace context of whoever asked for the run, if they trace.
        created: when the run was made, in seconds since the epoch.
    """

    run_id: str
    traceparent: str | None = None
    created: float | None = None


@dataclass
class _Outcome:
    failure: BaseException | None = None


_root_trace_id: ContextVar[int | None] = ContextVar("root_trace_id", default=None)
_outcome: ContextVar[_Outcome | None] = ContextVar("outcome", default=None)
_order_and_run: ContextVar[tuple[str, str]] = ContextVar("order_and_run", default=("", ""))


def enabled() -> bool:
    """Tell whether spans are to be exported."""
    off = (os.environ.get("OTEL_SDK_DISABLED", "").lower(), os.environ.get("OTEL_TRACES_EXPORTER"))
    if off[0] == "true" or off[1] == "none":
        return False
    return any(os.environ.get(name) for name in ENDPOINTS)


@contextmanager
def span(name: str, **attributes: Attribute) -> Iterator[None]:
    """Record a piece of work as part of what this thread is doing; an exception makes it an error.

    Args:
        name: what is done, such as ``conversion process``.
        attributes: what to know of it; they are exported as ``conversion_assets.<name>``.
    """
    tracer = _tracer()
    if tracer is None:
        yield
        return
    with _recorded(tracer, name, attributes):
        yield


@contextmanager
def order_span(run: TracedRun, **attributes: Attribute) -> Iterator[None]:
    """Record an order, from the making of its run to its end; see ``span``.

    It is an error when the last attempt at the last of its steps was one.
    """
    tracer = _tracer()
    if tracer is None:
        yield
        return
    outcome = _Outcome()
    with (
        _set(_outcome, outcome),
        _recorded(tracer, "order", attributes, parent=_parent(run), run=run, since=run.created) as order,
    ):
        yield
        if outcome.failure is not None:
            _tell_failure(order, outcome.failure)


@contextmanager
def step_span(name: str, run: TracedRun, **attributes: Attribute) -> Iterator[None]:
    """Record one attempt at one step of a run, as part of the order where that is recorded."""
    tracer = _tracer()
    if tracer is None:
        yield
        return
    outcome = _outcome.get() or _Outcome()
    outcome.failure = None
    try:
        with _recorded(tracer, name, attributes, parent=_parent(run), run=run):
            yield
    except BaseException as error:
        outcome.failure = error
        raise


def note(**attributes: Attribute) -> None:
    """Add attributes to the span that this thread is in."""
    if _tracer() is not None:
        from opentelemetry.trace import get_current_span  # noqa: PLC0415 - only where tracing is on

        get_current_span().set_attributes(_named(attributes))


def current_traceparent() -> str | None:
    """Give the W3C trace context of this thread, for whoever does a part of its work; None when off."""
    if _tracer() is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - only where tracing is on
        TraceContextTextMapPropagator,
    )

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def continuing(traceparent: str | None) -> Iterator[None]:
    """Let this thread do a part of the work of whoever gave their W3C trace context."""
    if traceparent is None or _tracer() is None:
        yield
        return
    from opentelemetry.context import attach, detach  # noqa: PLC0415 - only where tracing is on
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
        TraceContextTextMapPropagator,
    )

    token = attach(TraceContextTextMapPropagator().extract({"traceparent": traceparent}))
    try:
        yield
    finally:
        detach(token)


def current_trace_id() -> str:
    """Give the trace that this thread works for, in hexadecimal; empty when off."""
    return (current_traceparent() or "--").split("-")[1]


def trace_headers() -> dict[str, str]:
    """Give the HTTP headers that carry the trace to a service; none when off."""
    traceparent = current_traceparent()
    return {} if traceparent is None else {"traceparent": traceparent}


@contextmanager
def logs_of(order: str, run_id: str) -> Iterator[None]:
    """Let every log record of this thread carry ``order_key``, ``order_run_id`` and ``order_trace_id``."""
    _tracer()  # set up before records are marked: what goes wrong in it is logged, too
    _mark_log_records()
    with _set(_order_and_run, (order, run_id)):
        yield


@cache
def _mark_log_records() -> None:
    make: Callable[..., logging.LogRecord] = logging.getLogRecordFactory()

    def marked(*args: Any, **kwargs: Any) -> logging.LogRecord:  # noqa: ANN401 - passed on as they come
        record = make(*args, **kwargs)
        order, run_id = _order_and_run.get()
        trace_id = current_trace_id() if run_id else ""
        vars(record).update(order_key=order, order_run_id=run_id, order_trace_id=trace_id)
        return record

    logging.setLogRecordFactory(marked)


def _tracer() -> Tracer | None:
    return _exporting_tracer() if enabled() else None


@cache
def _exporting_tracer() -> Tracer | None:
    try:
        return _start()
    except Exception as error:  # noqa: BLE001 - whatever is wrong with tracing, orders go on without it
        LOG.warning("tracing is off, since OpenTelemetry cannot be set up: %s", type(error).__name__)
        return None


def _start() -> Tracer:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - only where tracing is on
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415

    class Ids(RandomIdGenerator):
        """Random ids, but for the trace of a run."""

        def generate_trace_id(self) -> int:
            return _root_trace_id.get() or super().generate_trace_id()

    provider = TracerProvider(resource=_resource(), id_generator=Ids(), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=_upstream_endpoint(), timeout=_seconds_to_export())
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _export_the_rest_at_exit(provider.shutdown)
    return provider.get_tracer("conversion_assets", version(SERVICE))


def _upstream_endpoint() -> str | None:
    """Make a full URL of upstream's variable, unless OpenTelemetry's own are set, which it reads itself."""
    if any(os.environ.get(name) for name in ENDPOINTS[:-1]):
        return None
    base = os.environ[ENDPOINTS[-1]].rstrip("/")
    url = base if "://" in base else f"http://{base}"
    return url if url.endswith(TRACES_PATH) else url + TRACES_PATH


def _seconds_to_export() -> float:
    """No export may hold up the end of a process for longer, whatever the environment allows."""
    names = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
    with suppress(ValueError):
        return min(float(os.environ.get(names[0]) or os.environ.get(names[1]) or "inf"), SECONDS_TO_EXPORT)
    return SECONDS_TO_EXPORT


def _resource() -> Resource:
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - only where tracing is on

    told = "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    name = {} if told or os.environ.get("OTEL_SERVICE_NAME") else {"service.name": SERVICE}
    return Resource.create({"service.version": version(SERVICE), **name})


def _export_the_rest_at_exit(shutdown: Callable[[], object]) -> None:
    """Wait a few seconds at most: the SDK itself would wait for half a minute."""
    ending = threading.Event()

    def end() -> None:
        ending.wait()
        shutdown()

    thread = threading.Thread(target=end, name="last-spans", daemon=True)
    thread.start()

    def wait() -> None:
        ending.set()
        thread.join(SECONDS_AT_EXIT)

    atexit.register(wait)


@contextmanager
def _recorded(
    tracer: Tracer,
    name: str,
    attributes: dict[str, Attribute],
    *,
    parent: Context | None = None,
    run: TracedRun | None = None,
    since: float | None = None,
) -> Iterator[Span]:
    from opentelemetry.trace import use_span  # noqa: PLC0415 - only where tracing is on

    with _set(_root_trace_id, _trace_id_of(run.run_id) if run else None):
        start = None if since is None else int(since * 1e9)
        made = tracer.start_span(name, parent, attributes=_named(attributes), start_time=start)
    with use_span(made, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield made
        except GeneratorExit:  # whoever drives the step has turned away; what made them is told elsewhere
            raise
        except BaseException as error:
            _tell_failure(made, error)
            raise


def _tell_failure(failed: Span, error: BaseException) -> None:
    """Put an error on a span: its class, and its text where it is one of ours and holds no secret."""
    from opentelemetry.trace import StatusCode  # noqa: PLC0415 - only where tracing is on

    name = type(error).__name__
    ours = getattr(error, "error_class", None)
    error_class = ours or ("permanent" if isinstance(error, Exception) else "transient")
    failed.set_attributes({"error.type": name, f"{PREFIX}error_class": str(error_class)})
    failed.set_status(StatusCode.ERROR, str(error) if ours else name)


def _parent(run: TracedRun) -> Context | None:
    """Give the context of whoever asked for the run; None inside a span, and where nobody traces."""
    from opentelemetry.trace import get_current_span  # noqa: PLC0415 - only where tracing is on
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    if run.traceparent is None or get_current_span().get_span_context().is_valid:
        return None
    return TraceContextTextMapPropagator().extract({"traceparent": run.traceparent})


def _trace_id_of(run_id: str) -> int:
    """Derive the trace of a run: all its steps share it, in whichever process they run."""
    return int.from_bytes(sha256(run_id.encode()).digest()[:16])


def _named(attributes: dict[str, Attribute]) -> dict[str, str | int | float | bool]:
    return {f"{PREFIX}{name}": value for name, value in attributes.items() if value is not None}


@contextmanager
def _set(variable: ContextVar[Any], value: object) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        # A step that is given up may be closed by another thread, whose variable is not the same.
        with suppress(ValueError):
            variable.reset(token)
