"""Backfills whose daemon, or whose command, is killed: each order is converted once for them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conversion_assets.settings import Settings
from conversion_assets_tests.end_to_end.browser import wait_for
from conversion_assets_tests.faults import points, work
from conversion_assets_tests.faults.conftest import OpenRig
from conversion_assets_tests.faults.rig import Rig
from conversion_assets_tests.faults.sabotage import arm, deaths
from conversion_assets_tests.faults.supervision import (
    Supervisor,
    ended,
    fault_variables,
    make_quick,
    supervised,
)
from conversion_assets_tests.faults.wholeness import assert_state, assert_whole, require_whole_for_readers

SECONDS_TO_END = 300
Runs = dict[str, list[str]]
"""The statuses of runs by order."""
ORDERS_WITH_RUNS = {
    "backfill-worked-out": 0,
    "backfill-runs-reserved": 0,
    "backfill-run-made": 1,
    "backfill-one-run-queued": 1,
    "backfill-all-runs-queued": 2,
    "backfill-ended-not-marked": 2,
}
"""How many orders of the backfill had a run when the daemon was killed."""
QUEUED_AND_WITHDRAWN = {"pause-row-marked": (2, 0), "pause-one-run-withdrawn": (1, 1)}
"""Orders of the backfill when its pause was killed."""


def done(rig: Rig, supervisor: Supervisor, seen: list[Runs]) -> list[dict[str, Any]]:
    """Give where the backfills stand once the latest has been worked off; note the runs at each death."""
    if supervisor.is_dead:
        seen.append(rig.run(work.runs_by_key))
    supervisor.keep_running()
    require_whole_for_readers(rig.home)
    standings: list[dict[str, Any]] = rig.run(work.backfills)["standings"]
    return standings if standings[0]["state"] == "done" else []


def require_converted_once(rig: Rig) -> None:
    """Each order has its second product, of one run; nothing else is left."""
    statuses = rig.run(work.runs_by_key).values()
    assert [runs.count("SUCCESS") for runs in statuses] == [1, 1]
    rig.require_in_order()
    assert_whole(rig.home, items=4)
    assert len(list(rig.home.glob(points.SECOND))) == len(statuses)


@pytest.mark.timeout(600)
def test_backfill_in_the_hands_of_the_daemon(
    rig_of: OpenRig, two_published_home: Path, tmp_path: Path
) -> None:
    rig, faults = rig_of(two_published_home), tmp_path / "faults"
    settings = Settings(home=rig.home)
    make_quick(settings)
    assert rig.run(partial(work.retire_published, most=2)) == []
    of_command, *in_daemon = points.BACKFILLED
    rig.run_killed(work.backfill, of_command.place)
    assert_state(rig.home, of_command)
    left = rig.run(work.backfills)
    assert (left["standings"], len(left["keys"])) == ([], 2)

    made = rig.run(work.backfill)
    arm(faults, *(point.place for point in in_daemon))
    seen: list[Runs] = []
    with supervised(settings, fault_variables(faults, in_daemon)) as supervisor:
        standings = wait_for("the backfill", lambda: done(rig, supervisor, seen), SECONDS_TO_END)
    assert deaths(faults) == len(in_daemon)
    assert supervisor.started == 1 + len(in_daemon)
    assert [len(runs) for runs in seen] == [ORDERS_WITH_RUNS[point.id] for point in in_daemon]
    assert all("SUCCESS" in statuses for statuses in seen[-1].values())
    assert [(one["id"], one["done"], one["total"]) for one in standings] == [(made, 2, 2)]
    require_converted_once(rig)


@pytest.mark.timeout(400)
def test_pause_and_continuation_of_a_backfill(rig_of: OpenRig, two_published_home: Path) -> None:
    rig = rig_of(two_published_home)
    settings = Settings(home=rig.home)
    rig.run(work.backfill)
    make_quick(settings, runs_at_once=0)
    with supervised(settings):
        wait_for("the queue", lambda: queued(rig) == 2, SECONDS_TO_END)

    for point in points.PAUSED:
        rig.run_killed(work.pause_backfill, point.place)
        assert_state(rig.home, point)
        (standing,) = rig.run(work.backfills)["standings"]
        assert standing["state"] == "paused"
        assert (standing["queued"], standing["withdrawn"]) == QUEUED_AND_WITHDRAWN[point.id]
    paused = rig.run(work.pause_backfill)
    assert (paused["state"], paused["queued"], paused["withdrawn"]) == ("paused", 0, 2)

    (of_resume,) = points.RESUMED
    rig.run_killed(work.resume_backfill, of_resume.place)
    assert_state(rig.home, of_resume)
    assert [one["state"] for one in rig.run(work.backfills)["standings"]] == ["paused"]
    rest = rig.run(work.resume_backfill)
    make_quick(settings)
    with supervised(settings) as supervisor:
        wait_for("the continuation", lambda: all_worked_off(rig, supervisor), SECONDS_TO_END)
        wait_for("the end of all runs", lambda: ended(settings), SECONDS_TO_END)
    latest, _ = rig.run(work.backfills)["standings"]
    assert (latest["id"], latest["continues"], latest["done"]) == (rest, paused["id"], 2)
    require_converted_once(rig)


def queued(rig: Rig) -> int:
    (standing,) = rig.run(work.backfills)["standings"]
    return int(standing["queued"])


def all_worked_off(rig: Rig, supervisor: Supervisor) -> bool:
    """Tell whether the latest backfill has made all its orders; the daemon marks it as done later."""
    supervisor.keep_running()
    latest = rig.run(work.backfills)["standings"][0]
    return bool(latest["done"] == latest["total"])
