"""A backfill beside on-demand orders of other and of the same products: those first, one result each."""

from __future__ import annotations

import shutil
from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import dagster as dg
import pytest
import yaml

from conversion_assets.backfilling import SOURCE_TAG, standing_of_backfill
from conversion_assets.instance import open_instance
from conversion_assets.resources.folder_object_store import FolderObjectStore
from conversion_assets.settings import Settings
from conversion_assets_tests.end_to_end.browser import wait_for
from conversion_assets_tests.end_to_end.operation.conversions import (
    conversions,
    sources_in_turn,
    statuses,
)
from conversion_assets_tests.faults import work
from conversion_assets_tests.faults.rig import Rig
from conversion_assets_tests.faults.supervision import ended, make_quick, supervised
from conversion_assets_tests.faults.wholeness import assert_whole

QUEUED, STARTED, SUCCESS = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.SUCCESS,
)
INBOX = {"watches": [{"name": "inbox", "kind": "inbox", "stable_seconds": 0, "interval_seconds": 1}]}
SECONDS_TO_QUEUE, SECONDS_TO_END = 150, 240


def waiting(settings: Settings) -> Counter[str]:
    """Count the queued runs by who asked for them."""
    with open_instance(settings) as instance:
        runs = instance.get_runs(dg.RunsFilter(statuses=[QUEUED]))
    return Counter(run.tags[SOURCE_TAG] for run in runs)


def drop(archive: Path, inbox: Path) -> None:
    """Let an archive appear as a whole."""
    hidden = inbox / f".{archive.name}"
    shutil.copy(archive, hidden)
    hidden.rename(inbox / archive.name)


@pytest.mark.timeout(500)
def test_backfill_lets_orders_go_first_and_each_has_one_result(rig: Rig, archives: list[Path]) -> None:
    settings = Settings(home=rig.home, watches=rig.home / "watches.yaml")
    (rig.home / "watches.yaml").write_text(yaml.safe_dump(INBOX))
    make_quick(settings, runs_at_once=1, seconds_to_start=SECONDS_TO_END)
    published, new = archives[:3], archives[3]
    keys = rig.run(partial(work.order_all, sources=published))
    made = rig.run(work.backfill)
    store = FolderObjectStore(root=str(rig.home))
    with supervised(settings):
        with ExitStack() as turns:
            for key in keys:  # the first run of the backfill, whichever it is, waits for its turn
                turns.enter_context(store.turn(key))
            wait_for("the backfill", lambda: statuses(settings)[STARTED] == 1, SECONDS_TO_QUEUE)
            assert waiting(settings) == {"backfill": 2}
            for archive in (*published, new):
                drop(archive, rig.home / "inbox")
            wait_for("the orders", lambda: waiting(settings)["inbox"] == 4, SECONDS_TO_QUEUE)
        wait_for("the end of all runs", lambda: ended(settings), SECONDS_TO_END)
    first = ["command line"] * 3
    assert sources_in_turn(settings) == [*first, "backfill", *["inbox"] * 4, "backfill", "backfill"]
    assert statuses(settings) == {SUCCESS: 10}
    key_of_new = new.name.partition(".")[0]
    assert conversions(settings) == dict.fromkeys(keys, 2) | {key_of_new: 1}
    with open_instance(settings) as instance:
        assert standing_of_backfill(instance, made).done == 3
    assert_whole(rig.home, items=7)
    rig.require_in_order()
    assert_whole(rig.home, items=7)
