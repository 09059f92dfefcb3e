from __future__ import annotations

import logging
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from conversion_assets.automation.jobs import CONVERT
from conversion_assets.automation.watch_sensor import _run_request
from conversion_assets.definitions import build_definitions
from conversion_assets.errors import TransientError
from conversion_assets.instance import open_instance
from conversion_assets.ordering import Wishes, orders_from
from conversion_assets.orders import Order
from conversion_assets.partitions import record_order
from conversion_assets.resources.input_source import Arrival
from conversion_assets.resources.staging import CopyStaging, Progress, StagedCopy
from conversion_assets.run_traces import TRACEPARENT_TAG
from conversion_assets.running import run_order
from conversion_assets.settings import Settings
from conversion_assets_tests.otlp_receiver import Receiver, receiving, tracing_to

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OFF = """
import sys
from pathlib import Path
import dagster as dg
from conversion_assets.automation.jobs import CONVERT
from conversion_assets.definitions import defs
from conversion_assets.instance import open_instance
from conversion_assets.settings import Settings
with open_instance(Settings()) as instance:
    instance.add_dynamic_partitions("safe_items", ["X"])
    job = defs.resolve_job_def(CONVERT)
    result = job.execute_in_process(instance=instance, partition_key="X", raise_on_error=False)
    print(result.success, sorted(name for name in sys.modules if name.startswith("opentelemetry")))
"""


class TalkativeStaging(CopyStaging):
    """Staging that fails in passing the first time, and speaks to Python's logging."""

    def stage(self, order: Order, folder: Path, tell: Progress) -> StagedCopy:
        """Fail once."""
        log = logging.getLogger("conversion_assets.resources.talkative")
        log.warning("about to stage")
        note = folder.parent / "tried"
        if not note.exists():
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()
            raise TransientError(order.href, "the server is busy", "It is tried again.")
        return super().stage(order, folder, tell)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as receiver, tracing_to(receiver, monkeypatch):
        yield receiver


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    with open_instance(settings) as opened:
        yield opened


@pytest.fixture
def order(tmp_path: Path) -> Order:
    """An order whose archive is refused when it is unzipped."""
    path = tmp_path / "letters.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letters/first.txt", "Dear reader")
    (made,) = orders_from(str(path), Wishes(owner="local", default_owner="local"))
    return made


def convert(settings: Settings, instance: dg.DagsterInstance, order: Order) -> None:
    run_order(build_definitions(settings), instance, order, reconvert=False, listener=lambda *_: None)


def launch(
    settings: Settings, instance: dg.DagsterInstance, order: Order, **resources: object
) -> dg.ExecuteInProcessResult:
    """Run the job as the web interface does: nothing but the partition is known."""
    record_order(instance, order)
    job = build_definitions(settings, **resources).resolve_job_def(CONVERT)
    return job.execute_in_process(instance=instance, partition_key=order.key, raise_on_error=False)


def test_failing_order_of_the_command_line(
    settings: Settings, instance: dg.DagsterInstance, order: Order, collector: Receiver
) -> None:
    convert(settings, instance, order)
    collector.complete()
    whole, staged, unzipped = (collector.one(name) for name in ("order", "staged_safe_item", "unzipped_safe"))
    assert len(collector.spans) == 3
    assert {span.trace for span in collector.spans} == {whole.trace}
    assert (whole.parent, staged.parent, unzipped.parent) == ("", whole.id, whole.id)
    assert [span.failed for span in (whole, staged, unzipped)] == [True, False, True]
    assert "must hold one .SAFE or .SEN3 folder" in unzipped.message
    assert unzipped.message == whole.message
    (run,) = instance.get_runs()
    assert staged.attributes == {
        "conversion_assets.partition": "letters",
        "conversion_assets.run_id": run.run_id,
        "conversion_assets.attempt": 0,
    }
    assert unzipped.attributes["conversion_assets.error_class"] == "poisoned"


def test_run_without_a_trace_gets_one_of_its_own(
    settings: Settings, instance: dg.DagsterInstance, order: Order, collector: Receiver
) -> None:
    runs = [launch(settings, instance, order).run_id for _ in range(2)]
    collector.complete()
    traces = [
        {span.trace for span in collector.spans if span.attributes["conversion_assets.run_id"] == run}
        for run in runs
    ]
    assert [len(found) for found in traces] == [1, 1]
    assert traces[0] != traces[1]
    assert {span.id for span in collector.named("order")} == {
        span.parent for span in collector.spans if span.name != "order"
    }


def test_command_line_takes_part_in_the_trace_of_its_caller(
    settings: Settings,
    instance: dg.DagsterInstance,
    order: Order,
    collector: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRACEPARENT", CALLER)
    convert(settings, instance, order)
    collector.complete()
    _, trace, caller, _ = CALLER.split("-")
    assert {span.trace for span in collector.spans} == {trace}
    assert collector.one("order").parent == caller
    (run,) = instance.get_runs()
    assert run.tags[TRACEPARENT_TAG] == CALLER


def test_each_attempt_has_its_span_and_what_passed_is_forgotten(
    settings: Settings, instance: dg.DagsterInstance, order: Order, collector: Receiver
) -> None:
    result = launch(settings, instance, order, staging=TalkativeStaging(schemes=["file"]))
    collector.complete()
    attempts = collector.named("staged_safe_item")
    assert [span.attributes["conversion_assets.attempt"] for span in attempts] == [0, 1]
    assert [span.failed for span in attempts] == [True, False]
    assert collector.one("order").attributes["conversion_assets.error_class"] == "poisoned"
    texts = [entry.message for entry in instance.all_logs(result.run_id)]
    assert any(f"order letters, trace {attempts[0].trace}" in text for text in texts)


def test_log_records_of_our_modules_stand_in_the_log_of_the_run(
    settings: Settings, instance: dg.DagsterInstance, order: Order, caplog: pytest.LogCaptureFixture
) -> None:
    result = launch(settings, instance, order, staging=TalkativeStaging(schemes=["file"]))
    kept = [entry for entry in instance.all_logs(result.run_id) if "about to stage" in entry.message]
    assert [entry.step_key for entry in kept] == ["staged_safe_item"] * 2
    records = [record for record in caplog.records if "about to stage" in record.getMessage()]
    assert records
    assert {vars(record)["order_key"] for record in records} == {"letters"}
    assert {vars(record)["order_run_id"] for record in records} == {result.run_id}


def test_console_of_a_run_from_the_inbox_names_order_and_trace(
    settings: Settings,
    instance: dg.DagsterInstance,
    order: Order,
    collector: Receiver,
    capfd: pytest.CaptureFixture[str],
) -> None:
    record_order(instance, order)
    request = _run_request("inbox", Arrival(name="letters.zip", version="1", source="letters.zip"), order)
    build_definitions(settings).resolve_job_def(CONVERT).execute_in_process(
        instance=instance, partition_key=order.key, run_config=request.run_config, raise_on_error=False
    )
    collector.complete()
    lines = capfd.readouterr().err.splitlines()
    (run,) = instance.get_runs()
    for event, trace in {"RUN_START": "", "copying letters.zip": collector.one("order").trace}.items():
        (line,) = (line for line in lines if event in line)
        assert f" - letters - {trace} - convert - {run.run_id} - " in line


def test_without_a_collector_nothing_of_opentelemetry_is_loaded(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OFF],
        env={"CONVERSION_ASSETS_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False []"
