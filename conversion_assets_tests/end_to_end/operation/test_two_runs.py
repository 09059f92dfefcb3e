"""Two runs of one order, started past the queue while a daemon runs: one published product."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
import pytest

from conversion_assets.automation.jobs import CONVERT
from conversion_assets.instance import open_instance
from conversion_assets.ordering import Wishes, orders_from
from conversion_assets.partitions import record_order
from conversion_assets.resources.folder_object_store import FolderObjectStore
from conversion_assets.selecting import PARTITION_TAG
from conversion_assets.settings import Settings
from conversion_assets_tests.end_to_end.browser import wait_for
from conversion_assets_tests.end_to_end.operation.conversions import conversions, statuses
from conversion_assets_tests.faults.rig import Rig
from conversion_assets_tests.faults.supervision import CODE, supervised, variables_of
from conversion_assets_tests.faults.wholeness import assert_whole

STARTED, SUCCESS = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS
SECONDS_TO_START, SECONDS_TO_END = 120, 120


@contextmanager
def executing(settings: Settings, key: str, times: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Begin runs of an order, each in a process of its own that asks no queue."""
    program = Path(sys.executable).with_name("dagster")
    tags = json.dumps({PARTITION_TAG: key})
    command = [str(program), "job", "execute", "-m", CODE, "-j", CONVERT, "--tags", tags]
    runs = [subprocess.Popen(command, env=variables_of(settings)) for _ in range(times)]
    try:
        yield runs
    finally:
        for run in runs:
            run.kill()
            run.wait()


@pytest.mark.timeout(400)
def test_two_runs_of_one_order_at_once_are_one_result(rig: Rig, archives: list[Path]) -> None:
    settings = Settings(home=rig.home)
    (order,) = orders_from(str(archives[0]), Wishes(owner="local", default_owner="local"))
    with open_instance(settings) as instance:
        record_order(instance, order)
    store = FolderObjectStore(root=str(rig.home))
    with supervised(settings), ExitStack() as started:
        with store.turn(order.key):  # both have begun before either may work
            runs = started.enter_context(executing(settings, order.key, 2))
            wait_for("both runs", lambda: statuses(settings)[STARTED] == len(runs), SECONDS_TO_START)
        assert [run.wait(SECONDS_TO_END) for run in runs] == [0, 0]
    assert statuses(settings) == {SUCCESS: 2}
    assert conversions(settings) == {order.key: 1}
    assert_whole(rig.home)
    rig.require_in_order()
    assert_whole(rig.home)
