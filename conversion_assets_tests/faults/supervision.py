"""Dagster's daemon over a home whose converter converts nothing, started again whenever it was killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

import dagster as dg
import psutil
import yaml

from conversion_assets.instance import environment, open_instance
from conversion_assets.settings import Settings
from conversion_assets_tests.faults.points import CrashPoint
from conversion_assets_tests.faults.rig import start_variables

CODE = "conversion_assets_tests.faults.code_location"
NO_FAULTS: Mapping[str, str] = MappingProxyType({})


class Supervisor:
    """Runs Dagster's daemon, and starts it again whenever it was killed.

    Args:
        settings: whose home it works on.
        variables: environment besides that of the home.
    """

    def __init__(self, settings: Settings, variables: Mapping[str, str]) -> None:
        self._settings, self._variables = settings, variables
        self._processes: list[psutil.Process] = []
        self.started = 0
        self._start()

    @property
    def is_dead(self) -> bool:
        """Whether it has ended, and was not started again."""
        return self._daemon.poll() is not None

    def keep_running(self) -> None:
        """Start it again if it has ended."""
        self._note_children()
        if self.is_dead:
            self._start()

    def end(self) -> None:
        """End it with all that it ever started."""
        self._note_children()
        self._daemon.kill()
        self._daemon.wait()
        for process in self._processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _start(self) -> None:
        self.started += 1
        program = Path(sys.executable).with_name("dagster-daemon")
        with (self._settings.home / "daemon.log").open("ab") as log:
            self._daemon = subprocess.Popen(
                [str(program), "run", "-m", CODE],
                env={**variables_of(self._settings), **self._variables},
                stdout=log,
                stderr=log,
            )

    def _note_children(self) -> None:
        with suppress(psutil.NoSuchProcess):
            known = set(self._processes)
            found = psutil.Process(self._daemon.pid).children(recursive=True)
            self._processes += [process for process in found if process not in known]


def variables_of(settings: Settings) -> dict[str, str]:
    """Give the environment in which Dagster's programs find the home and what it watches."""
    watches = {"CONVERSION_ASSETS_WATCHES": str(settings.watches)} if settings.watches else {}
    return environment(settings) | watches


@contextmanager
def supervised(settings: Settings, variables: Mapping[str, str] = NO_FAULTS) -> Iterator[Supervisor]:
    """Let a daemon run while the block does."""
    supervisor = Supervisor(settings, variables)
    try:
        yield supervisor
    finally:
        supervisor.end()


def fault_variables(faults: Path, group: Iterable[CrashPoint]) -> dict[str, str]:
    """Give the environment in which the daemon, or what it starts, may be killed at the points of a group."""
    return start_variables(faults, [point.place for point in group])


def make_quick(settings: Settings, *, runs_at_once: int = 2, seconds_to_start: int = 15) -> None:
    """Let the daemons of a home look after runs every second, and soon repeat one that was lost.

    Args:
        settings: whose home.
        runs_at_once: how many may be launched.
        seconds_to_start: after which a run counts as lost; where none is, more than a busy machine takes.
    """
    configuration = settings.dagster_home / "dagster.yaml"
    told = yaml.safe_load(configuration.read_text())
    told["run_monitoring"] |= {"poll_interval_seconds": 1, "start_timeout_seconds": seconds_to_start}
    told["run_retries"]["max_retries"] = 10
    told["concurrency"]["runs"]["max_concurrent_runs"] = runs_at_once
    configuration.write_text(yaml.safe_dump(told))


def ended(settings: Settings) -> list[dg.DagsterRunStatus]:
    """Give the statuses of all runs once all have ended, the oldest first."""
    with open_instance(settings) as instance:
        runs = instance.get_runs()
    return [run.status for run in reversed(runs)] if all(run.is_finished for run in runs) else []
