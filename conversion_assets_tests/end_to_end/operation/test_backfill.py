"""A backfill as the daemon works it off: killed, paused and resumed, it converts each product once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import psutil
import pytest

from conversion_assets.backfilling import BackfillStanding, standing_of_backfill
from conversion_assets.instance import environment, open_instance, prepare_home, workspace_arguments
from conversion_assets.ordering import Wishes, orders_from
from conversion_assets.partitions import record_order
from conversion_assets.settings import Settings
from conversion_assets_tests.end_to_end.browser import wait_for
from conversion_assets_tests.end_to_end.command import run
from conversion_assets_tests.safe_products import SMALLEST_SCALE, ProductKind, make_product

KIND = ProductKind.S3_OL_ERR
DAYS = (1, 2, 3)
SECONDS_TO_CONVERT = 240


class Daemon:
    """Dagster's daemon of a home as a process, with what it started."""

    def __init__(self, settings: Settings) -> None:
        program = Path(sys.executable).with_name("dagster-daemon")
        with (settings.home / "daemon.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(program), "run", *workspace_arguments()],
                env=environment(settings),
                stdout=log,
                stderr=log,
            )
        self._started: list[psutil.Process] = []

    def kill(self) -> None:
        """Kill it alone: its code server and the run that works go on."""
        if self._process.poll() is None:
            self._started += psutil.Process(self._process.pid).children(recursive=True)
            self._process.kill()
            self._process.wait()

    def end(self) -> None:
        """Kill it with all that it started."""
        self.kill()
        for process in self._started:
            with suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Make a home in which one run works at a time."""
    settings = Settings(home=tmp_path / "home")
    prepare_home(settings)
    configuration = settings.dagster_home / "dagster.yaml"
    one = configuration.read_text().replace("max_concurrent_runs: 2", "max_concurrent_runs: 1")
    configuration.write_text(one)
    return settings


@pytest.fixture
def keys(settings: Settings, tmp_path: Path) -> list[str]:
    """Record three orders without running them."""
    wishes = Wishes(owner="local", default_owner="local")
    with open_instance(settings) as instance:
        for day in DAYS:
            start = datetime(2024, 6, day, 9, 30, tzinfo=UTC)
            product = make_product(KIND, tmp_path / "input", scale=SMALLEST_SCALE[KIND], start=start)
            (order,) = orders_from(str(product), wishes)
            record_order(instance, order)
        return list(instance.get_dynamic_partitions("safe_items"))


@pytest.fixture
def start_daemon(settings: Settings) -> Iterator[Callable[[], Daemon]]:
    with ExitStack() as started:

        def start() -> Daemon:
            daemon = Daemon(settings)
            started.callback(daemon.end)
            return daemon

        yield start


def backfill(settings: Settings, *arguments: str) -> str:
    done = run("backfill", *arguments, home=settings.home)
    assert done.code == 0, done.stderr
    return done.stdout.strip()


def standing(settings: Settings, made: str) -> BackfillStanding:
    with open_instance(settings) as instance:
        return standing_of_backfill(instance, made)


def working(settings: Settings, made: str) -> list[str]:
    """Name the runs that work: one that only starts may have no process, and fails with its daemon."""
    chosen = dg.RunsFilter(tags={"dagster/backfill": made}, statuses=[dg.DagsterRunStatus.STARTED])
    with open_instance(settings) as instance:
        return list(instance.get_run_ids(chosen))


@pytest.mark.timeout(600)
def test_killed_paused_and_resumed_a_backfill_converts_each_product_once(
    settings: Settings, keys: list[str], start_daemon: Callable[[], Daemon]
) -> None:
    would = json.loads(
        backfill(settings, "--type", "OL_1_ERR", "--time", "2024-06-01/..", "--dry-run", "--json")
    )
    assert (would["keys"], would["types"]) == (keys, {"S03OLCERR": 3})
    made = json.loads(backfill(settings, "--failed", "--title", "June", "--json"))["id"]
    assert standing(settings, made).waiting == 3

    daemon = start_daemon()
    wait_for("the first run", lambda: working(settings, made), SECONDS_TO_CONVERT)
    daemon.kill()
    backfill(settings, "pause", made)
    paused = standing(settings, made)
    left = paused.withdrawn + paused.waiting
    assert (paused.state, paused.queued) == ("paused", 0)
    assert left >= 1

    rest = backfill(settings, "resume", made)
    assert standing(settings, rest).total == left
    daemon = start_daemon()
    wait_for("a run of the rest", lambda: working(settings, rest), SECONDS_TO_CONVERT)
    daemon.kill()
    start_daemon()
    wait_for("the rest", lambda: standing(settings, rest).done == left, SECONDS_TO_CONVERT)
    assert standing(settings, made).done == len(DAYS) - left
    told = json.loads(backfill(settings, "status", rest, "--json"))
    assert (told["continues"], told["failed"]) == (made, 0)

    with open_instance(settings) as instance:
        ended = [
            found.status for found in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS]))
        ]
        events = [
            instance.fetch_materializations(
                dg.AssetRecordsFilter(asset_key=dg.AssetKey("zarr_product"), asset_partitions=[key]), limit=5
            ).records
            for key in keys
        ]
        priorities = {found.tags["dagster/priority"] for found in instance.get_runs()}
    assert len(ended) == 3
    assert [len(conversions) for conversions in events] == [1, 1, 1]
    assert priorities == {"-10"}
    assert len(list(settings.home.glob("products/**/*.zarr"))) == 3
    assert json.loads(backfill(settings, "--failed", "--dry-run", "--json"))["keys"] == []
    assert json.loads(backfill(settings, "--stale", "--dry-run", "--json"))["keys"] == []
    assert len(json.loads(backfill(settings, "--older-than-eopf", "99", "--dry-run", "--json"))["keys"]) == 3
    collection = "sentinel-3-olci-l1-err"
    found = json.loads(backfill(settings, "--collection", collection, "--dry-run", "--json"))
    assert (sorted(found["keys"]), found["lost"]) == (sorted(keys), 0)
