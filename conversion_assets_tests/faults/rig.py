"""Runs work in copies of a warm process, to its end or to the point where it is killed."""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from conversion_assets.settings import PREFIX
from conversion_assets_tests.faults.sabotage import FOLDER_VARIABLE, Place, arm, prepare
from conversion_assets_tests.faults.work import Task, Work, reconcile, serve

START = Path(__file__).parent / "start"


@dataclass(frozen=True)
class Copier:
    """A process that has imported all that an order needs, and does each task in a copy of itself.

    Attributes:
        tasks: where it takes them.
    """

    tasks: Connection

    def code_of(self, task: Task) -> int:
        """Let a task be done; give the exit code of its process."""
        self.tasks.send(task)
        code: int = self.tasks.recv()
        return code


@contextmanager
def copier() -> Iterator[Copier]:
    """Start such a process, which ends with the block or with this process."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    with ours:
        yield Copier(ours)
    process.join()


def start_variables(faults: Path, places: Iterable[Place]) -> dict[str, str]:
    """Give the environment with which processes that start prepare themselves for being killed.

    Args:
        faults: folder in which places are armed.
        places: all that may be.
    """
    prepare(faults, (place.target for place in places))
    return {"PYTHONPATH": str(START), FOLDER_VARIABLE: str(faults)}


@dataclass(frozen=True)
class Rig:
    """A home, and the processes that work on it one after the other.

    Attributes:
        copier: starts them.
        home: the home.
        variables: settings besides the home.
    """

    copier: Copier
    home: Path
    variables: Mapping[str, str]

    def run(self, work: Work) -> Any:  # noqa: ANN401 - what the work gives
        """Let work be done to its end."""
        task = self._task(work)
        assert self.copier.code_of(task) == 0, "see what its process said"
        return json.loads(task.result.read_text())

    def run_killed(self, work: Work, place: Place) -> None:
        """Let work be done until its process is killed at a place."""
        faults = self.home.with_name(f"{self.home.name}-faults")
        arm(faults, place)
        assert self.copier.code_of(self._task(work, faults, place)) == -signal.SIGKILL

    def require_in_order(self) -> None:
        """Let the home be reconciled; nothing is to be found then, and no run seems to go on."""
        found = self.run(reconcile)
        assert found == {"findings": [], "unfinished": []}, found

    def _task(self, work: Work, faults: Path | None = None, place: Place | None = None) -> Task:
        variables = {f"{PREFIX}HOME": str(self.home), **self.variables}
        result = self.home.with_name(f"{self.home.name}-result.json")
        return Task(work, variables, result, faults, place)
