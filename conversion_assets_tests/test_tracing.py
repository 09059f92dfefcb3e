from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from conversion_assets import tracing
from conversion_assets.errors import PoisonedInputError
from conversion_assets.tracing import (
    TracedRun,
    current_trace_id,
    current_traceparent,
    logs_of,
    note,
    order_span,
    span,
    step_span,
    trace_headers,
)
from conversion_assets_tests.otlp_receiver import Receiver, receiving, tracing_to

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
RUN = TracedRun("5a7b3c1e-6a5e-4b0c-9a83-3d1c0c6f7e11")
PROGRAM = """
import logging, sys
logging.basicConfig(format="%(levelname)s %(message)s")
from conversion_assets.tracing import span
with span("a piece of work"):
    pass
print("work is done")
"""
SECONDS_TO_END = 60


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as receiver, tracing_to(receiver, monkeypatch):
        yield receiver


def program(**environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end in an environment that names no collector but those given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "TEMPO_"))}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_TO_END,
    )


def test_spans_of_an_order_are_one_trace(collector: Receiver) -> None:
    with order_span(RUN, partition="X"):
        for name in ("first", "second"):
            with step_span(name, RUN, partition="X"), span("part", size=7):
                note(product_type="S03OLCERR")
    collector.complete()
    order = collector.one("order")
    assert [span.name for span in collector.spans] == ["part", "first", "part", "second", "order"]
    assert {span.trace for span in collector.spans} == {order.trace}
    assert order.parent == ""
    assert {collector.one(name).parent for name in ("first", "second")} == {order.id}
    assert [part.parent for part in collector.named("part")] == [
        collector.one(name).id for name in ("first", "second")
    ]
    assert collector.named("part")[0].attributes == {
        "conversion_assets.size": 7,
        "conversion_assets.product_type": "S03OLCERR",
    }
    assert not any(span.failed for span in collector.spans)


def test_order_begins_when_its_run_was_made(collector: Receiver) -> None:
    with order_span(TracedRun(RUN.run_id, created=1_700_000_000.5)):
        pass
    collector.complete()
    assert collector.one("order").start == 1_700_000_000_500_000_000


def test_steps_of_a_run_share_a_trace_wherever_they_run(collector: Receiver) -> None:
    for run in (RUN, RUN, TracedRun("another run")):
        with step_span("step", run):
            pass
    collector.complete()
    here, there, another = collector.named("step")
    assert here.trace == there.trace != another.trace
    assert here.id != there.id


def test_run_becomes_part_of_its_callers_trace(collector: Receiver) -> None:
    run = TracedRun(RUN.run_id, traceparent=CALLER)
    with order_span(run), step_span("step", run):
        pass
    collector.complete()
    order, step = collector.one("order"), collector.one("step")
    _, trace, caller, _ = CALLER.split("-")
    assert (order.trace, order.parent) == (trace, caller)
    assert (step.trace, step.parent) == (trace, order.id)


@pytest.mark.parametrize("traceparent", ["", "nonsense", f"00-{'0' * 32}-{'0' * 16}-01"])
def test_trace_context_that_is_none_is_left_aside(collector: Receiver, traceparent: str) -> None:
    with order_span(TracedRun(RUN.run_id, traceparent=traceparent)):
        pass
    with order_span(RUN):
        pass
    collector.complete()
    odd, usual = collector.named("order")
    assert (odd.trace, odd.parent) == (usual.trace, "")


def test_failed_step_makes_the_order_an_error(collector: Receiver) -> None:
    error = PoisonedInputError("X.zip", "it is damaged", "Fetch it again.")
    with order_span(RUN), pytest.raises(PoisonedInputError), step_span("step", RUN):
        raise error
    collector.complete()
    for name in ("step", "order"):
        found = collector.one(name)
        assert (found.failed, found.message) == (True, str(error))
        assert found.attributes["error.type"] == "PoisonedInputError"
        assert found.attributes["conversion_assets.error_class"] == "poisoned"


def test_step_that_passes_at_last_leaves_the_order_whole(collector: Receiver) -> None:
    with order_span(RUN):
        with pytest.raises(OSError, match="busy"), step_span("step", RUN):
            raise OSError("busy")
        with step_span("step", RUN):
            pass
    collector.complete()
    assert [step.failed for step in collector.named("step")] == [True, False]
    assert not collector.one("order").failed


def test_text_of_a_foreign_error_is_not_exported(collector: Receiver) -> None:
    with pytest.raises(RuntimeError), step_span("step", RUN):
        raise RuntimeError("password is canary-7")
    collector.complete()
    assert "canary-7" not in str(collector.spans)
    found = collector.one("step")
    assert (found.failed, found.message) == (True, "RuntimeError")
    assert found.attributes["conversion_assets.error_class"] == "permanent"


def test_given_up_step_is_closed_and_no_error(collector: Receiver) -> None:
    def body() -> Iterator[int]:
        with step_span("step", RUN):
            yield 1
            yield 2

    given_up = body()
    next(given_up)
    given_up.close()  # type: ignore[attr-defined] # a generator
    collector.complete()
    assert not collector.one("step").failed
    assert current_traceparent() is None


def test_traceparent_names_the_span_one_is_in(collector: Receiver) -> None:
    assert current_traceparent() is None
    with span("work"):
        told = str(current_traceparent())
        assert trace_headers() == {"traceparent": told}
        assert current_trace_id() == told.split("-")[1]
    collector.complete()
    assert told.split("-")[1:3] == [collector.one("work").trace, collector.one("work").id]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_off_there_is_nothing(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tracing.ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with order_span(RUN), step_span("step", RUN), span("part"):
        note(size=1)
        assert current_traceparent() is None
        assert current_trace_id() == ""
        assert trace_headers() == {}


@contextmanager
def silent_server() -> Iterator[str]:
    """Listen, and never answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_spans_are_exported_before_the_process_ends() -> None:
    with receiving() as receiver:
        done = program(
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
            OTEL_EXPORTER_OTLP_HEADERS="x-scope-orgid=sentinel",
            OTEL_RESOURCE_ATTRIBUTES="deployment.environment=test",
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "work is done\n", "")
    found = receiver.one("a piece of work")
    assert found.resource["service.name"] == "conversion-assets"
    assert found.resource["deployment.environment"] == "test"
    assert receiver.paths == {"/v1/traces"}
    assert receiver.headers[0]["x-scope-orgid"] == "sentinel"


def test_upstream_variable_names_the_collector_and_the_service_may_be_named() -> None:
    with receiving() as receiver:
        program(TEMPO_ENDPOINT=receiver.url.removeprefix("http://"), OTEL_SERVICE_NAME="night shift")
    assert receiver.one("a piece of work").resource["service.name"] == "night shift"
    assert receiver.paths == {"/v1/traces"}


def test_own_variable_goes_before_that_of_upstream() -> None:
    with receiving() as own, receiving() as upstream:
        program(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{own.url}/otlp", TEMPO_ENDPOINT=upstream.url)
    assert (own.paths, upstream.paths) == ({"/otlp"}, set())


def test_collector_that_is_down_is_told_and_nothing_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    done = program(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://somebody:canary-7@127.0.0.1:{port}")
    assert (done.returncode, done.stdout) == (0, "work is done\n")
    assert "ERROR Failed to export" in done.stderr
    assert "canary-7" not in done.stderr


def test_collector_that_never_answers_does_not_keep_the_process() -> None:
    with silent_server() as url:
        done = program(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_EXPORTER_OTLP_TIMEOUT="600")
    assert (done.returncode, done.stdout) == (0, "work is done\n")


def test_collector_that_refuses_is_told() -> None:
    with receiving(status=400) as receiver:
        done = program(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    assert (done.returncode, done.stdout) == (0, "work is done\n")
    assert "400" in done.stderr


def test_settings_that_opentelemetry_refuses_turn_tracing_off() -> None:
    done = program(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_BSP_MAX_QUEUE_SIZE="-1")
    assert (done.returncode, done.stdout) == (0, "work is done\n")
    assert done.stderr == "WARNING tracing is off, since OpenTelemetry cannot be set up: ValueError\n"


def test_log_records_carry_order_run_and_trace(collector: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("anybody")
    with order_span(RUN), logs_of("X", "run-1"):
        log.warning("inside")
    log.warning("outside")
    collector.complete()
    inside, outside = (
        [vars(record)[name] for name in ("order_key", "order_run_id", "order_trace_id")]
        for record in caplog.records
    )
    assert inside == ["X", "run-1", collector.one("order").trace]
    assert outside == ["", "", ""]


def test_log_records_of_different_orders_are_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    for key in ("X", "Y"):
        with logs_of(key, "run"):
            logging.getLogger("anybody").warning("inside")
    assert [vars(record)["order_key"] for record in caplog.records] == ["X", "Y"]
