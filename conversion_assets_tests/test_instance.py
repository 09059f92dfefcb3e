from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import dagster as dg
import psutil
import pytest

from conversion_assets.instance import (
    PROCESS_TAG,
    close_abandoned_runs,
    environment,
    open_instance,
    process_mark,
    workspace_arguments,
)
from conversion_assets.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def test_home_is_made_and_nothing_in_it_is_overwritten(settings: Settings) -> None:
    with open_instance(settings) as instance:
        assert instance.telemetry_enabled is False
        assert instance.run_retries_enabled
    assert (settings.home / "inbox").is_dir()
    configuration = settings.dagster_home / "dagster.yaml"
    configuration.write_text("telemetry:\n  enabled: false\nrun_retries:\n  enabled: false\n")
    with open_instance(settings) as instance:
        assert not instance.run_retries_enabled
    assert "run_queue" not in configuration.read_text()


def test_same_order_runs_once_at_a_time(settings: Settings) -> None:
    with open_instance(settings) as instance:
        (limit,) = instance.get_concurrency_config().run_queue_config.tag_concurrency_limits  # type: ignore[union-attr]  # ours has a queue
    assert limit["key"] == "dagster/partition"
    assert limit["limit"] == 1


def test_programs_of_dagster_find_the_home(settings: Settings) -> None:
    assert environment(settings)["DAGSTER_HOME"] == str(settings.dagster_home)
    assert environment(settings)["CONVERSION_ASSETS_HOME"] == str(settings.home)
    assert environment(settings)["PATH"] == os.environ["PATH"]


def test_code_is_found() -> None:
    flag, where = workspace_arguments()
    assert (flag, Path(where).is_file()) == ("-w", True) or (flag, where) == (
        "-m",
        "conversion_assets.definitions",
    )


def started(instance: dg.DagsterInstance, process: str | None, *, marked_for: str | None = None) -> str:
    run = instance.create_run_for_job(a_job, status=dg.DagsterRunStatus.STARTED)
    if process is not None:
        instance.add_run_tags(run.run_id, {PROCESS_TAG: f"{marked_for or run.run_id}:{process}"})
    return run.run_id


def this_process() -> str:
    return process_mark("").removeprefix(":")


@dg.job
def a_job() -> None:
    """Do nothing."""


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_run_of_a_killed_process_is_closed_and_no_other() -> None:
    program = [
        sys.executable,
        "-c",
        "from conversion_assets.instance import process_mark\nprint(process_mark(''), flush=True)\ninput()",
    ]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        mark = process.stdout.readline().strip().removeprefix(":")
        with dg.DagsterInstance.ephemeral() as instance:
            killed, mine = started(instance, mark), started(instance, this_process())
            elsewhere = started(instance, "another-host:1:1.00")
            reused = started(instance, f"{socket.gethostname()}:{psutil.Process().pid}:1.00")
            unmarked = started(instance, None)
            repeated = started(instance, mark, marked_for="the-run-it-repeats")
            close_abandoned_runs(instance)
            assert status(instance, killed) is dg.DagsterRunStatus.STARTED
            process.send_signal(signal.SIGKILL)
            process.wait()
            close_abandoned_runs(instance)
            assert status(instance, killed) is dg.DagsterRunStatus.FAILURE
            assert status(instance, reused) is dg.DagsterRunStatus.FAILURE
            for run_id in (mine, elsewhere, unmarked, repeated):
                assert status(instance, run_id) is dg.DagsterRunStatus.STARTED
            (told,) = instance.get_records_for_run(killed, of_type=dg.DagsterEventType.RUN_FAILURE).records
            assert "ended from outside" in told.event_log_entry.message
