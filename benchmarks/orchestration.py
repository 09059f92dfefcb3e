"""N orders from the inbox to the catalogue, with nothing to convert: what the platform itself takes.

Usage: ``python -m benchmarks.orchestration --orders 200 --storage postgres``. Everything is the real code:
sensor, partition, run queue, five assets, folders, static catalogue, in a real ``dagster-daemon``; only the
converter is ``null_conversion``. What was measured goes to standard output as JSON. Exit code 1 if an order
was lost or done twice.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import dagster as dg
import yaml

from benchmarks.audit import audit
from benchmarks.machine import load, machine
from benchmarks.processes import named, processor_seconds, watching
from benchmarks.rig import CODE, ROOT, fill, history_in
from benchmarks.spreads import spread
from conversion_assets.instance import environment, open_instance
from conversion_assets.settings import Settings
from conversion_assets_tests.services.processes import serving

DAEMON = (Path(sys.executable).parent / "dagster-daemon", "run", *CODE)
SECONDS_BETWEEN_LOOKS = 1.0
STARTUP_SECONDS = 300.0
WARM_UP, COOL_DOWN = 0.1, 0.9
ENDED = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE])


@dataclass(frozen=True)
class Load:
    """What is asked of the platform.

    Attributes:
        orders: how many products lie in the inbox.
        storage: ``sqlite`` or ``postgres``.
        runs: how many runs may work at the same time.
        launcher: module and class of a run launcher, Dagster's own where it is empty.
        seconds: after which it is given up.
    """

    orders: int
    storage: str
    runs: int
    launcher: str
    seconds: float


@click.command(help=__doc__)
@click.option("--orders", default=200, show_default=True, help="How many products lie in the inbox.")
@click.option("--storage", type=click.Choice(["sqlite", "postgres"]), default="sqlite", show_default=True)
@click.option("--runs", default=4, show_default=True, help="How many runs may work at the same time.")
@click.option("--launcher", default="", help="MODULE:CLASS of a run launcher, instead of Dagster's own.")
@click.option("--seconds", default=3600.0, show_default=True, help="After which it is given up.")
def main(orders: int, storage: str, runs: int, launcher: str, seconds: float) -> None:
    """Measure, print, and fail where an order was lost or done twice."""
    found = measure(Load(orders, storage, runs, launcher, seconds))
    click.echo(json.dumps(found, indent=1))
    sys.exit(1 if found["faults"] else 0)


def measure(asked: Load) -> dict[str, Any]:
    """Take the orders through the platform, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="orchestration-") as name, history_in(asked.storage, Path(name)):
        settings = Settings(home=Path(name) / "home")
        fill(settings.home / "inbox", asked.orders)
        with open_instance(settings):
            _configure(settings.dagster_home / "dagster.yaml", asked)
        with open_instance(settings) as instance:
            return _run(instance, settings, asked)


def _configure(path: Path, asked: Load) -> None:
    configuration = yaml.safe_load(path.read_text())
    configuration["concurrency"]["runs"]["max_concurrent_runs"] = asked.runs
    if asked.launcher:
        module, _, name = asked.launcher.partition(":")
        configuration["run_launcher"] = {"module": module, "class": name}
    path.write_text(yaml.safe_dump(configuration))


def _run(instance: dg.DagsterInstance, settings: Settings, asked: Load) -> dict[str, Any]:
    before, started = load(), time.time()
    with serving(
        DAEMON,
        log=settings.home / "daemon.log",
        ready=lambda: instance.get_runs_count() > 0,
        env={**environment(settings), "PYTHONPATH": str(ROOT), "CONVERSION_ASSETS_INBOX_STABLE_SECONDS": "0"},
        seconds=STARTUP_SECONDS,
    ):
        daemon = named("dagster-daemon")
        with watching(daemon) as memory:
            while instance.get_runs_count(ENDED) < asked.orders and time.time() < started + asked.seconds:
                time.sleep(SECONDS_BETWEEN_LOOKS)
        done = max(instance.get_runs_count(ENDED), 1)
        processors = processor_seconds(daemon) | _database(asked)
    return {
        "asked": asdict(asked),
        **_figures(instance, started),
        "processor s/order": {who: round(used / done, 3) for who, used in processors.items()},
        "processor s/order, all": round(sum(processors.values()) / done, 3),
        "memory MB": memory.summary(),
        "faults": audit(instance, settings, asked.orders),
        "load before and after": [before, load()],
        "machine": machine(),
    }


def _database(asked: Load) -> dict[str, float]:
    if asked.storage == "sqlite":
        return {}
    return {"PostgreSQL": sum(processor_seconds(named("bin/postgres")).values())}


def _figures(instance: dg.DagsterInstance, started: float) -> dict[str, Any]:
    runs = [run.run_id for run in instance.get_runs(ENDED)]
    moments = [_moments(instance, run_id) for run_id in runs]
    ends = sorted(ended for _, _, ended in moments)
    return {
        "orders": len(ends),
        "orders/s from the daemon's start": round(len(ends) / (ends[-1] - started), 3),
        "orders/s sustained": _rate(ends[int(len(ends) * WARM_UP) : int(len(ends) * COOL_DOWN) + 1]),
        "s from dequeued to started": spread([began - launched for launched, began, _ in moments]),
        "s from started to ended": spread([ended - began for _, began, ended in moments]),
    }


def _moments(instance: dg.DagsterInstance, run_id: str) -> tuple[float, float, float]:
    """Give when a run was taken out of the queue, when it began to work, and when it ended."""
    stats = instance.get_run_stats(run_id)
    return float(stats.launch_time or 0), float(stats.start_time or 0), float(stats.end_time or 0)


def _rate(ends: Sequence[float]) -> float | None:
    return round((len(ends) - 1) / (ends[-1] - ends[0]), 3) if len(ends) > 1 else None


if __name__ == "__main__":
    main()
