"""Orders of the inbox under a real daemon: it, its code server and its runs are killed in turn."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from conversion_assets.errors import ErrorClass
from conversion_assets.instance import open_instance
from conversion_assets.partitions import safe_items
from conversion_assets.settings import Settings
from conversion_assets_tests.end_to_end.browser import wait_for
from conversion_assets_tests.faults import points, work
from conversion_assets_tests.faults.rig import Copier, Rig
from conversion_assets_tests.faults.sabotage import arm, deaths
from conversion_assets_tests.faults.sources import Sources
from conversion_assets_tests.faults.supervision import (
    Supervisor,
    ended,
    fault_variables,
    make_quick,
    supervised,
)
from conversion_assets_tests.faults.wholeness import assert_whole, quarantined, require_whole_for_readers

WATCHES = """\
watches:
  - name: inbox
    kind: inbox
    stable_seconds: 0
    interval_seconds: 1
"""
SECONDS_TO_END = 240
SUCCESS, FAILURE = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE


@pytest.fixture
def settings(empty_home: Path, tmp_path: Path) -> Settings:
    """Make a home whose daemon looks into the inbox every second, and soon repeats a lost run."""
    home = tmp_path / "home"
    shutil.copytree(empty_home, home)
    settings = Settings(home=home, watches=home / "watches.yaml")
    make_quick(settings)
    (home / "watches.yaml").write_text(WATCHES)
    return settings


def published(settings: Settings, supervisor: Supervisor) -> Callable[[], bool]:
    def look() -> bool:
        supervisor.keep_running()
        require_whole_for_readers(settings.home)
        return any(settings.home.glob(points.record_of("published_item")))

    return look


@pytest.mark.timeout(400)
def test_order_in_the_hands_of_the_daemon(settings: Settings, sources: Sources) -> None:
    group, faults = points.IN_THE_DAEMON, settings.home.with_name("faults")
    arm(faults, *(point.place for point in group))
    shutil.copy(sources.archive, settings.home / "inbox")
    with supervised(settings, fault_variables(faults, group)) as supervisor:
        wait_for("the item", published(settings, supervisor), SECONDS_TO_END)
        wait_for("the end of all runs", lambda: ended(settings), SECONDS_TO_END)
    assert deaths(faults) == len(group)
    assert supervisor.started == 1 + sum(point.dies == "daemon" for point in group)
    assert_whole(settings.home)
    assert ended(settings).count(SUCCESS) == 1
    with open_instance(settings) as instance:
        assert len(instance.get_dynamic_partitions(str(safe_items.name))) == 1


@pytest.mark.timeout(400)
def test_order_in_the_hands_of_the_code_server(settings: Settings, sources: Sources, warm: Copier) -> None:
    group, faults = points.IN_THE_CODE_SERVER, settings.home.with_name("faults")
    arm(faults, *(point.place for point in group))
    shutil.copy(sources.archive, settings.home / "inbox")
    with supervised(settings, fault_variables(faults, group)) as supervisor:
        (record,) = wait_for("the quarantine", lambda: quarantined(settings.home), SECONDS_TO_END)
    assert deaths(faults) == len(group)
    assert supervisor.started == 1
    assert record.error_class is ErrorClass.TRANSIENT
    assert require_whole_for_readers(settings.home) == []
    assert ended(settings) == [FAILURE]
    rig = Rig(warm, settings.home, {})
    assert rig.run(work.replay)["status"] == "published"
    rig.require_in_order()
    assert_whole(settings.home)
