"""A run that is cancelled from the web interface ends its converter, and leaves nothing half-done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import httpx
import psutil
import pytest

from conversion_assets.instance import open_instance
from conversion_assets.ordering import Wishes, orders_from
from conversion_assets.partitions import record_order
from conversion_assets.settings import Settings
from conversion_assets_tests.end_to_end.browser import Interface, still_alive, wait_for
from conversion_assets_tests.end_to_end.command import ENGINE_MODULE, run
from conversion_assets_tests.safe_products import ProductKind, make_archive, make_product

LAUNCH = """
mutation($params: ExecutionParams!) {
  launchRun(executionParams: $params) { __typename ... on LaunchRunSuccess { run { runId } } }
}
"""
TERMINATE = """
mutation($run: String!) { terminateRun(runId: $run) { __typename } }
"""
ENDED = {dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS}
SECONDS_TO_CONVERT = 120
SECONDS_TO_CANCEL = 30


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def interface(home: Path) -> Iterator[Interface]:
    running = Interface(home)
    yield running
    running.end()


def ask(url: str, query: str, **variables: object) -> dict[str, object]:
    answer = httpx.post(f"{url}/graphql", json={"query": query, "variables": variables}, timeout=60)
    answer.raise_for_status()
    document: dict[str, dict[str, object]] = answer.json()
    assert "errors" not in document, document
    return document["data"]


def launch(url: str, key: str) -> str:
    selector = {
        "repositoryName": "__repository__",
        "repositoryLocationName": "conversion_assets",
        "jobName": "convert",
    }
    tags = [{"key": "dagster/partition", "value": key}]
    params = {"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}}
    launched = ask(url, LAUNCH, params=params)["launchRun"]
    assert isinstance(launched, dict)
    assert launched["__typename"] == "LaunchRunSuccess", launched
    return str(launched["run"]["runId"])


def engines(interface: Interface, home: Path) -> list[psutil.Process]:
    """Give the converters that work below a home and have begun to read."""
    found = []
    for process in interface.family():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if ENGINE_MODULE in command and process.environ()["TMPDIR"].startswith(str(home)):
                found.append(process)
    return found


def test_cancelled_run_ends_its_converter_and_leaves_nothing(
    interface: Interface, home: Path, tmp_path: Path
) -> None:
    archive = make_archive(make_product(ProductKind.S2_MSI_L1C, tmp_path))
    (order,) = orders_from(str(archive), Wishes(owner="local", default_owner="local"))
    url = interface.url()
    with open_instance(Settings(home=home)) as instance:
        record_order(instance, order)
        run_id = launch(url, order.key)
        (engine,) = wait_for("the converter", lambda: engines(interface, home), SECONDS_TO_CONVERT)
        ask(url, TERMINATE, run=run_id)

        def status() -> dg.DagsterRunStatus | None:
            found = instance.get_run_by_id(run_id)
            return found.status if found and found.status in ENDED else None

        assert wait_for("the end of the run", status, SECONDS_TO_CANCEL) is dg.DagsterRunStatus.CANCELED
    assert not still_alive([engine])
    assert not list((home / "products").rglob("*.zarr*"))
    assert not list((home / "products").rglob(".converting-*"))
    assert not list((home / "scratch").iterdir())
    assert not (home / "catalogue").exists()

    repeated = run("convert", "--json", archive, home=home)
    assert (repeated.code, repeated.orders[0]["status"]) == (0, "published")
