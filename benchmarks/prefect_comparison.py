"""Five steps by Prefect 3 and by Dagster as we use it, one after the other, in turns.

Usage: ``python -m benchmarks.prefect_comparison --orders 20 --turns 3``. Both do the same trivial work
(``prefect_flow.work``). Cold is a process of its own for one order, Python's start and its own server
included; warm is each further order of a process. Prefect gets an environment of its own, by ``pip``.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click

from benchmarks.machine import load, machine
from benchmarks.rig import ROOT
from benchmarks.spreads import spread

REQUIREMENTS = Path(__file__).parent / "prefect_flow" / "requirements.txt"
STARTUP_SECONDS = "300"
PREFECT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": STARTUP_SECONDS,
}


@dataclass
class Side:
    """One of both, and what it took.

    Attributes:
        command: takes a number of orders and a folder.
        variables: of its environment.
        cold: wall seconds of processes for one order.
        cold_processor: processor seconds of the same, with what they started.
        warm: wall seconds of further orders in one process.
    """

    command: tuple[str, ...]
    variables: Mapping[str, str]
    cold: list[float] = field(default_factory=list)
    cold_processor: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)

    def prepare(self, folder: Path) -> None:
        """Run once, unmeasured: databases are made, files are read for the first time."""
        self._run(1, folder)

    def take_turn(self, orders: int, folder: Path) -> None:
        """Measure one cold order, then a process of several."""
        before, started = _children_seconds(), time.perf_counter()
        self._run(1, folder)
        self.cold.append(time.perf_counter() - started)
        self.cold_processor.append(_children_seconds() - before)
        self.warm.extend(self._run(orders + 1, folder)[1:])

    def summary(self) -> dict[str, object]:
        """Give what it took."""
        return {
            "cold s": spread(self.cold),
            "cold processor s": spread(self.cold_processor),
            "warm s": spread(self.warm),
        }

    def _run(self, orders: int, folder: Path) -> list[float]:
        environment = {**os.environ, **self.variables, "PYTHONPATH": str(ROOT)}
        command = [*self.command, str(orders), str(folder)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - ours
        if done.returncode:
            raise click.ClickException(done.stderr[-3000:])
        return [float(line) for line in done.stdout.split()]


@click.command(help=__doc__)
@click.option("--orders", default=20, show_default=True, help="How many warm orders a turn has.")
@click.option("--turns", default=3, show_default=True)
@click.option("--environment", type=Path, default=ROOT / ".venv-prefect", help="Where Prefect is installed.")
def main(orders: int, turns: int, environment: Path) -> None:
    """Measure in turns and print."""
    before, prefect = load(), install(environment)
    with tempfile.TemporaryDirectory(prefix="prefect-") as name:
        folder = Path(name)
        sides = {
            "Prefect": Side(
                (str(prefect), "-m", "benchmarks.prefect_flow.five_steps"),
                {**PREFECT, "PREFECT_HOME": str(folder / "prefect")},
            ),
            "Dagster": Side((sys.executable, "-m", "benchmarks.prefect_flow.dagster_steps"), {}),
        }
        for side in sides.values():
            side.prepare(folder)
        for _ in range(turns):
            for side in sides.values():
                side.take_turn(orders, folder)
    click.echo(
        json.dumps(
            {
                **{name: side.summary() for name, side in sides.items()},
                "Prefect / Dagster": {
                    "cold": _ratio(sides["Prefect"].cold, sides["Dagster"].cold),
                    "cold processor": _ratio(
                        sides["Prefect"].cold_processor, sides["Dagster"].cold_processor
                    ),
                    "warm": _ratio(sides["Prefect"].warm, sides["Dagster"].warm),
                },
                "load before and after": [before, load()],
                "machine": machine(),
            },
            indent=1,
        )
    )


def install(folder: Path) -> Path:
    """Give the Python of an environment with Prefect, which is made where it is missing."""
    python = folder / "bin" / "python"
    if not (folder / ".installed").exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--requirement", str(REQUIREMENTS)], check=True)  # noqa: S603 - as make install does
        (folder / ".installed").touch()
    return python


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _ratio(one: list[float], other: list[float]) -> float:
    return round(spread(one)["p50"] / spread(other)["p50"], 2)


if __name__ == "__main__":
    main()
