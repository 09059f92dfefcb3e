"""Pruning of history, killed at each point and repeated: what is known of orders stays, each fact once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conversion_assets.upkeep.pruning import LASTING
from conversion_assets_tests.faults import points, work
from conversion_assets_tests.faults.conftest import OpenRig
from conversion_assets_tests.faults.points import CrashPoint
from conversion_assets_tests.faults.test_orders import by_id
from conversion_assets_tests.faults.wholeness import assert_state, assert_whole

FACTS = ("status", "product_type", "item", "product", "source")


def known_of(history: dict[str, Any]) -> dict[str, Any]:
    """Give what must be known of each order, whatever is pruned: where it stands, and what was made when."""
    return {
        key: (
            {name: standing[name] for name in FACTS},
            {asset: standing["assets"].get(asset) for asset in LASTING},
            history["versions"][key],
        )
        for key, standing in history["standings"].items()
    }


@pytest.mark.parametrize("point", points.PRUNED, ids=by_id)
def test_pruning_of_history(point: CrashPoint, rig_of: OpenRig, long_home: Path) -> None:
    rig = rig_of(long_home)
    before = rig.run(work.history)
    retired, live = (key for _, key in before["runs"][:2])
    assert [before["standings"][key]["status"] for key in (retired, live)] == ["retired", "published"]
    *gone, needed = [run_id for run_id, _ in before["runs"]]

    rig.run_killed(work.prune, point.place)
    assert_state(rig.home, point)
    assert known_of(rig.run(work.history)) == known_of(before)

    rig.run(work.prune)
    after = rig.run(work.history)
    assert known_of(after) == known_of(before)
    assert after["without a run"] == {retired: [1, 1, 1], live: [0, 0, 0]}
    assert after["backfills"] == 0
    runs = [run_id for run_id, key in after["runs"] if key]
    assert runs == [needed]
    assert [path for path in rig.home.rglob("*") if any(run_id in path.name for run_id in gone)] == []
    rig.require_in_order()
    assert_whole(rig.home, items=4)
