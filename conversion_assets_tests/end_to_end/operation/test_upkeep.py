"""Upkeep by its schedules, as a real daemon runs them: it mends, retires and prunes without a command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from conversion_assets.automation.upkeep import PRUNE, RECONCILE, RETIRE, SCHEDULE_TAG
from conversion_assets.instance import open_instance
from conversion_assets.partitions import safe_items
from conversion_assets.settings import PREFIX, Settings
from conversion_assets.standing import standing_of
from conversion_assets_tests.end_to_end.browser import wait_for
from conversion_assets_tests.end_to_end.operation.test_backfill import Daemon
from conversion_assets_tests.upkeep.conftest import Line, line

__all__ = ["line"]

AT_ONCE = {
    "RECONCILE_CRON": "* * * * *",
    "RETIRE_CRON": "* * * * *",
    "PRUNE_CRON": "* * * * *",
    "UPKEEP_SETTLE_HOURS": "0",
    "RETIRE_DAYS": "0.00001",
    "HISTORY_DAYS": "0.00001",
}
SECONDS_TO_TICK = 300


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in AT_ONCE.items():
        monkeypatch.setenv(f"{PREFIX}{name}", value)
    return Settings(home=tmp_path / "home")


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    with open_instance(settings) as opened:
        yield opened


@pytest.mark.timeout(400)
def test_schedules_of_a_daemon_mend_retire_and_prune(
    settings: Settings, instance: dg.DagsterInstance, line: Line
) -> None:
    run = line(instance, "A")
    left = settings.home / "staging" / "X"
    left.mkdir(parents=True)
    done = set[str]()

    def all_is_done() -> bool:
        ended = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS]))
        done.update(found.tags[SCHEDULE_TAG] for found in ended if SCHEDULE_TAG in found.tags)
        has_retired = not instance.has_dynamic_partition(str(safe_items.name), "A")
        is_tidy = has_retired and not left.exists() and not instance.has_run(run)
        return is_tidy and done == {RECONCILE, RETIRE, PRUNE}

    daemon = Daemon(settings)
    try:
        wait_for("upkeep by all schedules", all_is_done, SECONDS_TO_TICK)
    finally:
        daemon.end()
    standing = standing_of(instance, "A")
    assert (standing.status, standing.item) == ("retired", "file:///catalogue/A.json")
