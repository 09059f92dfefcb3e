"""Runs as copies of a warm process: real processes, a real instance in a folder."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psutil
import pytest
import yaml
from dagster._core.launcher.base import LaunchRunContext, WorkerStatus

from conversion_assets.launching import WarmRunLauncher
from conversion_assets.run_marks import process_of
from conversion_assets_tests.contracts.converter import until
from conversion_assets_tests.launched_job import launched_job

LAUNCHER = {
    "module": "conversion_assets.launching",
    "class": "WarmRunLauncher",
    "config": {"modules": ["conversion_assets_tests.launched_job"]},
}


@dataclass(frozen=True)
class Launched:
    """A run in another process, that ends once ``may_end`` is there."""

    instance: dg.DagsterInstance
    run_id: str
    may_end: Path

    @property
    def launcher(self) -> WarmRunLauncher:
        launcher = self.instance.run_launcher
        assert isinstance(launcher, WarmRunLauncher)
        return launcher

    @property
    def run(self) -> dg.DagsterRun:
        run = self.instance.get_run_by_id(self.run_id)
        assert run
        return run

    @property
    def process(self) -> psutil.Process:
        mark = process_of(self.run)
        assert mark
        return psutil.Process(int(mark.rsplit(":", 2)[1]))

    def works(self) -> bool:
        records = self.instance.get_records_for_run(self.run_id, of_type=dg.DagsterEventType.STEP_START)
        return bool(records.records)

    def health(self) -> WorkerStatus:
        return self.launcher.check_run_worker_health(self.run).status


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Launched]:
    home, may_end = tmp_path / "dagster", tmp_path / "may_end"
    home.mkdir()
    (home / "dagster.yaml").write_text(
        yaml.safe_dump({"run_launcher": LAUNCHER, "telemetry": {"enabled": False}})
    )
    with dg.DagsterInstance.from_config(str(home)) as instance:
        run = instance.create_run_for_job(
            launched_job,
            run_config={"ops": {"wait": {"config": {"file": str(may_end)}}}},
            job_code_origin=dg.reconstructable(launched_job).get_python_origin(),
        )
        instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
        found = Launched(instance, run.run_id, may_end)
        assert until(found.works)
        yield found
        may_end.touch()
        assert until(lambda: found.health() is not WorkerStatus.RUNNING)


def test_run_works_in_a_process_of_its_own(launched: Launched) -> None:
    process = launched.process
    assert process.pid != os.getpid()
    assert launched.health() is WorkerStatus.RUNNING
    launched.may_end.touch()
    assert until(lambda: launched.run.status is dg.DagsterRunStatus.SUCCESS)
    assert until(lambda: not process.is_running())
    assert launched.health() is WorkerStatus.SUCCESS
    assert not launched.launcher.terminate(launched.run_id)


def test_run_is_cancelled_with_its_process(launched: Launched) -> None:
    process = launched.process
    assert launched.launcher.terminate(launched.run_id)
    assert until(lambda: launched.run.status is dg.DagsterRunStatus.CANCELED)
    assert until(lambda: not process.is_running())


def test_killed_run_is_told_from_one_that_ended(launched: Launched) -> None:
    launched.process.send_signal(signal.SIGKILL)
    assert until(lambda: launched.health() is WorkerStatus.FAILED)
    assert launched.run.status is dg.DagsterRunStatus.STARTED
