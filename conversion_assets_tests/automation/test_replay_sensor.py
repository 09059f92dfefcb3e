from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from conversion_assets.automation.replay_sensor import MOST_REPLAYS, RUN_KEY_TAG, replays
from conversion_assets.backfilling import OF_ORDERS, PRIORITY_TAG
from conversion_assets.instance import open_instance
from conversion_assets.resources.quarantine import QuarantineFolder, QuarantineStatus
from conversion_assets.settings import Settings
from conversion_assets_tests.resources.test_quarantine import record

ASKED = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def quarantine(tmp_path: Path) -> QuarantineFolder:
    return QuarantineFolder(root=str(tmp_path / "quarantine"))


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with open_instance(Settings(home=tmp_path / "home")) as opened:
        yield opened


def asked(quarantine: QuarantineFolder, key: str, when: datetime | None = ASKED) -> None:
    quarantine.write(record(key, status=QuarantineStatus.REPLAYED, replay_asked=when))


def requests(instance: dg.DagsterInstance, quarantine: QuarantineFolder) -> list[dg.RunRequest]:
    result = replays(dg.build_sensor_context(instance), quarantine=quarantine)
    if isinstance(result, dg.SkipReason):
        return []
    assert isinstance(result, dg.SensorResult)
    (added,) = result.dynamic_partitions_requests or []
    assert added.partition_keys == [request.partition_key for request in result.run_requests or []]
    return list(result.run_requests or [])


@dg.job
def a_job() -> None:
    """Do nothing."""


def test_each_wish_is_met_once_and_the_oldest_first(
    instance: dg.DagsterInstance, quarantine: QuarantineFolder
) -> None:
    asked(quarantine, "B", ASKED + timedelta(seconds=1))
    asked(quarantine, "A", ASKED + timedelta(seconds=2))
    first, second = requests(instance, quarantine)
    assert [first.partition_key, second.partition_key] == ["B", "A"]
    assert {request.tags[PRIORITY_TAG] for request in (first, second)} == {OF_ORDERS}
    instance.create_run_for_job(a_job, tags={RUN_KEY_TAG: str(first.run_key)})
    assert [request.partition_key for request in requests(instance, quarantine)] == ["A"]
    asked(quarantine, "B", ASKED + timedelta(seconds=3))
    assert [request.partition_key for request in requests(instance, quarantine)] == ["A", "B"]


def test_nothing_runs_that_nobody_submitted(
    instance: dg.DagsterInstance, quarantine: QuarantineFolder
) -> None:
    quarantine.write(record("A"))
    asked(quarantine, "B", None)  # replayed on the command line
    assert requests(instance, quarantine) == []


def test_great_many_wishes_are_met_tick_by_tick(
    instance: dg.DagsterInstance, quarantine: QuarantineFolder
) -> None:
    for number in range(MOST_REPLAYS + 1):
        asked(quarantine, f"K{number}")
    assert len(requests(instance, quarantine)) == MOST_REPLAYS
