"""Orders of a command, killed at each point and repeated: with nothing to convert, in folders."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest

from conversion_assets_tests.faults import points, work
from conversion_assets_tests.faults.conftest import OpenRig
from conversion_assets_tests.faults.points import CrashPoint
from conversion_assets_tests.faults.sources import Sources
from conversion_assets_tests.faults.wholeness import assert_quarantined, assert_state, assert_whole


def by_id(point: CrashPoint) -> str:
    return point.id


@pytest.mark.parametrize("point", points.ORDERED, ids=by_id)
def test_order(point: CrashPoint, rig_of: OpenRig, empty_home: Path, sources: Sources) -> None:
    rig = rig_of(empty_home)
    order = partial(work.order, source=sources.archive)
    rig.run_killed(order, point.place)
    assert_state(rig.home, point)
    assert rig.run(order)["status"] == "published"
    rig.require_in_order()
    assert_whole(rig.home)


GIVEN_UP = ("run-created-not-started", "unzip-some-members", "promoted-unrecorded", "publish-day-linked")


@pytest.mark.parametrize("point", [point for point in points.ORDERED if point.id in GIVEN_UP], ids=by_id)
def test_order_that_is_dropped(
    point: CrashPoint, rig_of: OpenRig, empty_home: Path, sources: Sources
) -> None:
    rig = rig_of(empty_home)
    rig.run_killed(partial(work.order, source=sources.archive), point.place)
    assert_state(rig.home, point)
    assert len(rig.run(work.close)) == 1
    assert rig.run(work.drop) == 1
    rig.require_in_order()
    assert_whole(rig.home, items=0)


@pytest.mark.parametrize("point", points.FROM_FOLDER, ids=by_id)
def test_order_of_a_folder(point: CrashPoint, rig_of: OpenRig, empty_home: Path, sources: Sources) -> None:
    rig = rig_of(empty_home)
    order = partial(work.order, source=sources.folder)
    rig.run_killed(order, point.place)
    assert_state(rig.home, point)
    assert rig.run(order)["status"] == "published"
    rig.require_in_order()
    assert_whole(rig.home)


@pytest.mark.parametrize("point", points.CONVERTED_AGAIN, ids=by_id)
def test_conversion_of_what_is_published(
    point: CrashPoint, rig_of: OpenRig, published_home: Path, sources: Sources
) -> None:
    rig = rig_of(published_home)
    rig.run_killed(partial(work.order, source=sources.archive, reconvert=True), point.place)
    assert_state(rig.home, point)
    assert rig.run(partial(work.order, source=sources.archive))["product"].endswith(".v2.zarr")
    rig.require_in_order()
    assert_whole(rig.home, items=2)


@pytest.mark.parametrize("point", points.RELEASED, ids=by_id)
def test_release_of_a_superseded_version(point: CrashPoint, rig_of: OpenRig, superseded_home: Path) -> None:
    rig = rig_of(superseded_home)
    rig.run_killed(work.release, point.place)
    assert_state(rig.home, point)
    rig.run(work.release)
    rig.require_in_order()
    assert_whole(rig.home)


@pytest.mark.parametrize("point", points.POISONED, ids=by_id)
def test_order_of_a_corrupt_archive(
    point: CrashPoint, rig_of: OpenRig, empty_home: Path, sources: Sources
) -> None:
    rig = rig_of(empty_home)
    order = partial(work.order, source=sources.corrupt)
    rig.run_killed(order, point.place)
    assert_state(rig.home, point)
    told = rig.run(order)
    assert (told["status"], told["error_class"]) == ("failed", "poisoned")
    rig.require_in_order()
    assert assert_quarantined(rig.home).rule in told["error"]


@pytest.mark.parametrize("point", points.REPLAYED, ids=by_id)
def test_replay_of_a_mended_input(
    point: CrashPoint, rig_of: OpenRig, quarantined_home: Path, sources: Sources
) -> None:
    rig = rig_of(quarantined_home)
    damaged = sources.corrupt.read_bytes()
    shutil.copy(sources.archive, sources.corrupt)
    try:
        rig.run_killed(work.replay, point.place)
        assert_state(rig.home, point)
        assert rig.run(work.replay)["status"] == "published"
    finally:
        sources.corrupt.write_bytes(damaged)
    rig.require_in_order()
    assert_whole(rig.home)


@pytest.mark.parametrize("point", points.DROPPED, ids=by_id)
def test_drop_of_a_quarantined_order(point: CrashPoint, rig_of: OpenRig, quarantined_home: Path) -> None:
    rig = rig_of(quarantined_home)
    rig.run_killed(work.drop, point.place)
    assert_state(rig.home, point)
    rig.run(work.drop)
    (standing,) = rig.run(work.standings)
    assert standing["status"] == "dropped"
    assert rig.run(work.history)["standings"] == {}, "no backfill may choose it"
    rig.require_in_order()
    assert_whole(rig.home, items=0)


@pytest.mark.parametrize("point", points.RECONCILED, ids=by_id)
def test_reconciliation_of_what_was_dropped(point: CrashPoint, rig_of: OpenRig, dropped_home: Path) -> None:
    rig = rig_of(dropped_home)
    rig.run_killed(work.reconcile, point.place)
    assert_state(rig.home, point)
    rig.require_in_order()
    assert_whole(rig.home, items=0)


@pytest.mark.parametrize("point", points.RETIRED, ids=by_id)
def test_retirement_of_a_published_order(
    point: CrashPoint, rig_of: OpenRig, published_home: Path, sources: Sources
) -> None:
    rig = rig_of(published_home)
    rig.run_killed(work.retire_published, point.place)
    assert_state(rig.home, point)
    assert rig.run(work.retire_published) == []
    assert rig.run(partial(work.order, source=sources.archive))["status"] == "published"
    rig.require_in_order()
    assert_whole(rig.home)
