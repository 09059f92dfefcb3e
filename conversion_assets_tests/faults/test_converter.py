"""One order with eopf, whose run and whose converting process are killed one after the other."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import psutil
import pytest

from conversion_assets_tests.end_to_end.browser import wait_for
from conversion_assets_tests.end_to_end.command import ENGINE_MODULE
from conversion_assets_tests.faults import points, work
from conversion_assets_tests.faults.conftest import OpenRig
from conversion_assets_tests.faults.rig import start_variables
from conversion_assets_tests.faults.sabotage import arm, deaths
from conversion_assets_tests.faults.sources import Sources
from conversion_assets_tests.faults.wholeness import assert_state, assert_whole

SECONDS_TO_END = 60


@pytest.mark.timeout(300)
def test_converter_killed_again_and_again(
    rig_of: OpenRig, empty_home: Path, sources: Sources, tmp_path: Path
) -> None:
    faults = tmp_path / "converter-faults"
    places = [point.place for point in points.CONVERTER]
    rig = rig_of(empty_home, start_variables(faults, places))
    order = partial(work.order, source=sources.archive, is_real=True)

    rig.run_killed(order, points.RUN_WITH_CONVERTER.place)
    wait_for("the end of the converter", lambda: not converters(rig.home), SECONDS_TO_END)
    assert_state(rig.home, points.RUN_WITH_CONVERTER)

    arm(faults, *places)
    assert rig.run(order)["status"] == "published"
    assert deaths(faults) == len(places)
    rig.require_in_order()
    assert_whole(rig.home)
    assert rig.run(work.statuses) == ["FAILURE", "SUCCESS"]
    assert rig.run(work.retries) == len(places)


def converters(home: Path) -> list[psutil.Process]:
    """Find the converting processes of a home."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        environment = process.info["environ"] or {}
        if ENGINE_MODULE in (process.info["cmdline"] or ()) and str(home) in environment.get("TMPDIR", ""):
            found.append(process)
    return found
