"""The stack that operators try things on: it tells how to reach it, and ends with all that it started."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import psutil
import pytest
from dask_gateway import Gateway
from dask_gateway.auth import BasicAuth

from conversion_assets.instance import open_instance
from conversion_assets.settings import PREFIX, Settings
from conversion_assets_tests.end_to_end.browser import still_alive, wait_for
from conversion_assets_tests.services import stack
from conversion_assets_tests.services.processes import program

SECONDS_TO_START = 180
SECONDS_TO_END = 90
COMMAND = [sys.executable, "-m", stack.__name__]


class Running:
    """``make stack`` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.variables = folder / "stack", folder / "stack.env"
        with (folder / "said.txt").open("wb") as output:
            arguments = [*COMMAND, str(self.folder), str(self.variables)]
            self.process = subprocess.Popen(arguments, stdout=output, stderr=output)
        self._said = folder / "said.txt"

    def said(self) -> str:
        return self._said.read_text()

    def told(self) -> dict[str, str]:
        """Wait until it is up, and read the variables as a shell would."""

        def is_up() -> bool:
            assert self.process.poll() is None, self.said()
            return "The stack is up" in self.said()

        wait_for("the stack", is_up, SECONDS_TO_START)
        lines = (shlex.split(line)[0] for line in self.variables.read_text().splitlines())
        return dict(line.split("=", 1) for line in lines)

    def end(self, times: int = 1) -> int:
        for _ in range(times if self.process.poll() is None else 0):
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(SECONDS_TO_END)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    for name in ("initdb", "radosgw"):
        program(name, *sorted(Path("/usr/lib/postgresql").glob("*/bin")))
    started = Running(tmp_path)
    try:
        yield started
    finally:
        started.end()


def test_variables_lead_to_every_service_until_it_ends(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = running.told()
    assert stat.S_IMODE(running.variables.stat().st_mode) == 0o600
    assert stat.S_IMODE(running.folder.stat().st_mode) == 0o700
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert all(service_answers(settings, told).values())

    family = psutil.Process(running.process.pid).children(recursive=True)
    assert len(family) > 5
    assert running.end(times=2) == 0, running.said()
    assert not still_alive(family)
    assert not running.folder.exists()
    assert not running.variables.exists()


def service_answers(settings: Settings, told: dict[str, str]) -> dict[str, bool]:
    """Ask each service what only it can know."""
    client = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=told[f"{PREFIX}S3_ACCESS_KEY"],
        aws_secret_access_key=told[f"{PREFIX}S3_SECRET_KEY"],
    )
    landing = httpx.get(str(settings.catalogue_url)).json()
    with open_instance(settings) as instance:
        history = type(instance.event_log_storage).__module__
    return {
        "bucket": settings.bucket in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]],
        "catalogue": any("transaction" in name for name in landing["conformsTo"]),
        "cluster": asyncio.run(labels_of_clusters(settings, told)) == [settings.dask_cluster_label],
        "history": history.startswith("dagster_postgres."),
    }


async def labels_of_clusters(settings: Settings, told: dict[str, str]) -> list[str]:
    auth = BasicAuth(settings.dask_gateway_user, told[f"{PREFIX}DASK_GATEWAY_PASSWORD"])
    async with Gateway(settings.dask_gateway_address, auth=auth, asynchronous=True) as gateway:
        return [cluster.options["cluster_name"] for cluster in await gateway.list_clusters()]


def test_second_stack_in_the_same_place_is_refused(tmp_path: Path) -> None:
    variables, folder = tmp_path / "stack.env", tmp_path / "stack"
    folder.mkdir()
    with stack._only_one(variables):
        done = subprocess.run([*COMMAND, folder, variables], capture_output=True, text=True, check=False)
    assert (done.returncode, folder.exists()) == (1, True)
    assert f"its variables are in {variables}" in done.stderr
