"""The web interface and the daemon as one command: it starts them, tells where, and ends what it started."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import dagster as dg
import httpx
import psutil
import pytest
from click.testing import CliRunner

from conversion_assets.cli import main
from conversion_assets.instance import open_instance
from conversion_assets.servers import HOST, free_port
from conversion_assets.settings import Settings
from conversion_assets_tests.end_to_end.browser import Interface, still_alive, wait_for
from conversion_assets_tests.safe_products import SMALLEST_SCALE, ProductKind, make_product

KIND = ProductKind.S3_OL_ERR
ENGINE = "conversion_assets.zarr.engine"
QUICK = {"CONVERSION_ASSETS_INBOX_STABLE_SECONDS": "0.1"}
SECONDS_TO_VANISH = 30
SECONDS_TO_CONVERT = 150
StartInterface = Callable[..., Interface]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartInterface]:
    started: list[Interface] = []

    def start(port: int = 0, environment: Mapping[str, str] = QUICK) -> Interface:
        started.append(Interface(tmp_path / "home", port=port, environment=environment))
        return started[-1]

    yield start
    for interface in started:
        interface.end()


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as server:
        yield int(server.getsockname()[1])


def programs(processes: list[psutil.Process]) -> set[str]:
    return {Path(part).name for part in command_lines(processes).split()}


def command_lines(processes: list[psutil.Process]) -> str:
    lines = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            lines.append(" ".join(process.cmdline()))
    return "\n".join(lines)


def require_gone(processes: list[psutil.Process]) -> None:
    wait_for("the end of what it started", lambda: not still_alive(processes), SECONDS_TO_VANISH)


def test_entries_that_a_changed_configuration_lacks_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CONVERSION_ASSETS_HOME", "DAGSTER_HOME"):  # what a command sets ends with the test
        monkeypatch.setenv(name, os.environ.get(name, ""))
    dagster_home = Settings(home=tmp_path).dagster_home
    dagster_home.mkdir()
    (dagster_home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with (dagster_home / "ui.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as if it were running already
        ended = CliRunner(mix_stderr=False).invoke(main, ["ui", "--home", str(tmp_path)])
    assert "already running" in ended.stderr
    assert f"note {dagster_home}/dagster.yaml is kept as somebody changed it" in ended.stderr
    assert "run_retries" in ended.stderr


def test_interrupted_it_ends_everything_it_started(start: StartInterface, tmp_path: Path) -> None:
    interface = start()
    assert httpx.get(f"{interface.url()}/server_info").is_success
    assert str(tmp_path / "home") in interface.said()
    family = interface.family()
    assert {"dagster-webserver", "dagster-daemon"} <= programs(family)

    interface.send(signal.SIGINT)
    interface.send(signal.SIGINT)
    assert interface.ended() == 0
    require_gone(family)


def test_terminated_it_ends_everything_it_started_on_another_port_than_the_taken_one(
    start: StartInterface, taken_port: int
) -> None:
    interface = start(taken_port)
    assert not interface.url().endswith(f":{taken_port}")
    family = interface.family()

    interface.send(signal.SIGTERM)
    assert interface.ended() == 0
    require_gone(family)


def test_ended_during_a_conversion_it_leaves_nothing_running_and_continues_when_it_is_started_again(
    start: StartInterface, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    product = make_product(KIND, tmp_path / "input", scale=SMALLEST_SCALE[KIND])
    (home / "inbox").mkdir(parents=True)
    product.rename(home / "inbox" / product.name)
    first = start()
    assert first.url()
    wait_for("a converting process", lambda: ENGINE in command_lines(first.family()), SECONDS_TO_CONVERT)
    family = first.family()

    first.send(signal.SIGTERM)
    assert first.ended() == 0
    require_gone(family)
    assert not list(home.glob("products/*/*/*/*.zarr"))

    assert start().url()
    wait_for("the end of the repeated run", lambda: len(ends_of_runs(home)) == 2, SECONDS_TO_CONVERT)
    assert ends_of_runs(home) == [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS]
    assert len(list(home.glob("products/*/*/*/*.zarr"))) == 1
    assert len(list(home.glob("catalogue/*/*/2*/S03OLCERR_*.json"))) == 1


def ends_of_runs(home: Path) -> list[dg.DagsterRunStatus]:
    """Statuses of the runs that have ended, oldest first."""
    with open_instance(Settings(home=home)) as instance:
        return [run.status for run in reversed(instance.get_runs()) if run.is_finished]


def test_a_second_one_on_the_same_home_is_refused_and_told_where_the_first_one_is(
    start: StartInterface, tmp_path: Path
) -> None:
    first = start()
    url = first.url()
    second = start()
    assert second.ended() == 1
    assert f"already running on this home, {tmp_path / 'home'}, at {url}" in second.said()
    assert "Traceback" not in second.said()
    assert httpx.get(f"{url}/server_info").is_success


def test_a_server_that_ends_by_itself_ends_the_command_with_a_word(
    start: StartInterface, tmp_path: Path
) -> None:
    interface = start()
    assert interface.url()
    family = interface.family()
    (daemon,) = (process for process in family if "dagster-daemon" in programs([process]))
    daemon.kill()

    assert interface.ended() == 1
    assert str(tmp_path / "home" / "dagster" / "dagster-daemon.log") in interface.said()
    require_gone(family)


def test_a_server_that_does_not_start_is_told_with_the_place_of_its_log(
    start: StartInterface, tmp_path: Path
) -> None:
    interface = start(environment={"DAGSTER_WEBSERVER_LOG_LEVEL": "no such level"})
    assert interface.ended() == 1
    log = tmp_path / "home" / "dagster" / "dagster-webserver.log"
    assert str(log) in interface.said()
    assert "no such level" in log.read_text()


def test_free_port_is_the_wanted_one_where_it_is_free(taken_port: int) -> None:
    free = free_port(0)
    assert free_port(free) == free
    assert free_port(taken_port) not in (0, taken_port)
