"""Backfills as rows and runs of an instance; ``end_to_end/operation`` has the daemon work them off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from conversion_assets.backfilling import (
    PRIORITY_TAG,
    Request,
    State,
    cancel,
    has_daemon,
    keys_under_way,
    latest_backfills,
    launch,
    pause,
    resume,
    standing_of_backfill,
)
from conversion_assets.criteria import CodeVersions, Criteria
from conversion_assets.errors import OrderError, TransientError
from conversion_assets.instance import open_instance
from conversion_assets.partitions import safe_items
from conversion_assets.quarantining import DROPPED, tell_of
from conversion_assets.selecting import History, select
from conversion_assets.settings import Settings
from conversion_assets.standing import ASSETS

KEYS = ("A", "B", "C", "D")
SUCCESS, FAILURE, STARTED, QUEUED, CANCELED = (
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.CANCELED,
)
ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("anywhere"), "__repository__"), "a_job"
)
"""Where the code of a queued run is."""
NewRun = Callable[[str, str, dg.DagsterRunStatus], str]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def made(instance: dg.DagsterInstance) -> str:
    return launch(instance, Request(KEYS, title="summer"))


@pytest.fixture
def new_run(instance: dg.DagsterInstance) -> NewRun:
    """Make a run as the daemon does, in a state."""

    @dg.job
    def a_job() -> None:
        """Do nothing."""

    def create(backfill: str, key: str, status: dg.DagsterRunStatus) -> str:
        tags = {"dagster/backfill": backfill, "dagster/partition": key}
        run = instance.create_run_for_job(a_job, tags=tags, status=status, remote_job_origin=ORIGIN)
        return run.run_id

    return create


def quickly(_: float) -> None:
    """Stand for a pause between two looks."""


def row(instance: dg.DagsterInstance, backfill: str) -> Any:  # noqa: ANN401 - Dagster does not export the type
    return instance.get_backfill(backfill)


def set_status(instance: dg.DagsterInstance, backfill: str, status: BulkActionStatus) -> None:
    instance.update_backfill(row(instance, backfill).with_status(status))


def test_backfill_is_of_all_assets_below_orders_and_registers_its_keys(
    instance: dg.DagsterInstance, made: str
) -> None:
    kept = row(instance, made)
    assert {key.to_user_string() for key in kept.asset_selection} == set(ASSETS)
    assert (kept.status, kept.title) == (BulkActionStatus.REQUESTED, "summer")
    assert kept.tags == {PRIORITY_TAG: "-10", "conversion_assets/source": "backfill"}
    assert "ops" not in kept.run_config
    assert set(instance.get_dynamic_partitions(str(safe_items.name))) == set(KEYS)
    assert keys_under_way(instance) == set(KEYS)
    standing = standing_of_backfill(instance, made)
    assert (standing.state, standing.total, standing.waiting) == (State.GOING_ON, 4, 4)
    assert not standing.is_over


def test_reconversion_reaches_the_asset_by_run_configuration(instance: dg.DagsterInstance) -> None:
    made = launch(instance, Request(("A",), ASSETS[2:], reconvert=True))
    assert row(instance, made).run_config["ops"] == {"zarr_product": {"config": {"reconvert": True}}}
    with pytest.raises(OrderError, match="zarr_product is not among its assets"):
        launch(instance, Request(("A",), ("stac_item",), reconvert=True))


def test_nothing_is_not_launched(instance: dg.DagsterInstance) -> None:
    with pytest.raises(OrderError, match="no order meets the criteria"):
        launch(instance, Request(()))
    assert latest_backfills(instance, 5) == []


def test_standing_counts_the_latest_run_of_each_order(
    instance: dg.DagsterInstance, made: str, new_run: NewRun
) -> None:
    for key, status in (("A", FAILURE), ("A", SUCCESS), ("B", FAILURE), ("C", STARTED)):
        new_run(made, key, status)
    standing = standing_of_backfill(instance, made)
    assert (standing.done, standing.failed, standing.running, standing.waiting) == (1, 1, 1, 1)
    assert [entry.id for entry in latest_backfills(instance, 5)] == [made]


def test_rate_is_told_from_the_times_of_the_runs(tmp_path: Path) -> None:
    @dg.op
    def nothing() -> None:
        """Do nothing."""

    @dg.job
    def quick() -> None:
        nothing()

    with open_instance(Settings(home=tmp_path / "home")) as instance:
        made = launch(instance, Request(KEYS))
        for key in KEYS[:2]:
            tags = {"dagster/backfill": made, "dagster/partition": key}
            assert quick.execute_in_process(instance=instance, tags=tags).success
        standing = standing_of_backfill(instance, made)
    assert standing.done == 2
    assert standing.per_hour is not None
    assert standing.per_hour > 0
    assert standing.seconds_left is not None


def test_pause_withdraws_what_is_queued_and_lets_finish_what_runs(
    instance: dg.DagsterInstance, made: str, new_run: NewRun
) -> None:
    new_run(made, "A", SUCCESS)
    running, queued = new_run(made, "B", STARTED), new_run(made, "C", QUEUED)
    other = new_run("another", "C", QUEUED)
    standing = pause(instance, made, quickly)
    assert (standing.state, standing.running, standing.withdrawn, standing.waiting) == ("paused", 1, 1, 1)
    assert not standing.is_over
    statuses = {run.run_id: run.status for run in instance.get_runs()}
    assert (statuses[running], statuses[queued], statuses[other]) == (STARTED, CANCELED, QUEUED)
    assert row(instance, made).status == BulkActionStatus.CANCELED
    assert pause(instance, made, quickly).state == State.PAUSED


def test_run_is_withdrawn_in_one_write_so_that_a_kill_leaves_none_between(
    instance: dg.DagsterInstance, made: str, new_run: NewRun
) -> None:
    queued = new_run(made, "A", QUEUED)
    pause(instance, made, quickly)
    events = (entry.dagster_event_type for entry in instance.all_logs(queued))
    assert [event for event in events if event] == [dg.DagsterEventType.RUN_CANCELED]


def test_run_that_the_daemon_submits_meanwhile_is_withdrawn_too(
    instance: dg.DagsterInstance, made: str, new_run: NewRun
) -> None:
    late = iter(["A", "B"])

    def submit(_: float) -> None:
        if key := next(late, None):
            new_run(made, key, QUEUED)
            set_status(instance, made, BulkActionStatus.REQUESTED)  # the daemon writes the row that it read

    standing = pause(instance, made, submit)
    assert (standing.state, standing.withdrawn, standing.queued) == ("paused", 2, 0)


def test_pause_gives_up_on_a_daemon_that_goes_on(
    instance: dg.DagsterInstance, made: str, new_run: NewRun
) -> None:
    with pytest.raises(TransientError, match="its runs keep coming"):
        pause(instance, made, lambda _: set_status(instance, made, BulkActionStatus.REQUESTED))
    assert new_run(made, "A", QUEUED)


def test_once_nothing_runs_the_daemon_is_to_count_a_paused_backfill(
    instance: dg.DagsterInstance, made: str, new_run: NewRun
) -> None:
    new_run(made, "A", SUCCESS)
    assert pause(instance, made, quickly).state == State.PAUSED
    assert row(instance, made).status == BulkActionStatus.CANCELING


def test_published_orders_that_a_pause_withdrew_have_not_failed_and_are_resumed(
    instance: dg.DagsterInstance, made: str, new_run: NewRun
) -> None:
    for key in KEYS:
        instance.report_runless_asset_event(dg.AssetMaterialization("published_item", partition=key))
    new_run("before", "A", FAILURE)
    for key in KEYS:
        new_run(made, key, QUEUED)
    assert pause(instance, made, quickly).withdrawn == len(KEYS)
    assert select(History(instance), Criteria(failed=True), CodeVersions("", frozenset())) == ("A",)
    assert standing_of_backfill(instance, resume(instance, made)).total == len(KEYS)


def test_resume_leaves_out_what_was_dropped_meanwhile(
    instance: dg.DagsterInstance, made: str, new_run: NewRun
) -> None:
    for key, status in (("A", FAILURE), ("B", FAILURE), ("C", QUEUED), ("D", QUEUED)):
        new_run(made, key, status)
    pause(instance, made, quickly)
    for key in ("A", "C"):
        instance.delete_dynamic_partition(str(safe_items.name), key)
        tell_of(instance, key, DROPPED, "It was given up.")
    rest = resume(instance, made, failed_too=True)
    assert standing_of_backfill(instance, rest).total == 2
    assert set(instance.get_dynamic_partitions(str(safe_items.name))) == {"B", "D"}


def test_resume_does_what_was_not_tried_as_a_linked_backfill(
    instance: dg.DagsterInstance, made: str, new_run: NewRun
) -> None:
    for key, status in (("A", SUCCESS), ("B", FAILURE), ("C", QUEUED)):
        new_run(made, key, status)
    pause(instance, made, quickly)
    instance.delete_dynamic_partition(str(safe_items.name), "D")
    rest = resume(instance, made)
    standing = standing_of_backfill(instance, rest)
    assert (standing.total, standing.title, standing.continues) == (2, "summer", made)
    assert keys_under_way(instance) >= {"C", "D"}
    assert "D" in instance.get_dynamic_partitions(str(safe_items.name))
    tags = row(instance, rest).tags
    assert (tags["dagster/root_backfill_id"], tags[PRIORITY_TAG]) == (made, "-10")
    assert "conversion_assets/paused" not in tags
    assert standing_of_backfill(instance, made).continued_by == rest == f"{made}-2"
    with pytest.raises(OrderError, match=f"continued by {rest}"):
        resume(instance, made)
    pause(instance, rest, quickly)
    last = resume(instance, rest)
    assert last == f"{made}-3"
    assert row(instance, last).tags["dagster/root_backfill_id"] == made


def test_resume_tries_again_what_failed_where_that_is_asked(
    instance: dg.DagsterInstance, made: str, new_run: NewRun
) -> None:
    for key, status in zip(KEYS, (SUCCESS, FAILURE, SUCCESS, SUCCESS), strict=True):
        new_run(made, key, status)
    set_status(instance, made, BulkActionStatus.COMPLETED_FAILED)
    with pytest.raises(OrderError, match="nothing of it is left to do"):
        resume(instance, made)
    assert standing_of_backfill(instance, resume(instance, made, failed_too=True)).total == 1


def test_backfill_that_was_cancelled_in_the_web_interface_is_resumed_with_its_own_assets_and_tags(
    instance: dg.DagsterInstance, new_run: NewRun
) -> None:
    made = launch(instance, Request(KEYS, ("stac_item", "published_item")))
    set_status(instance, made, BulkActionStatus.CANCELED)
    new_run(made, "A", SUCCESS)
    rest = row(instance, resume(instance, made))
    assert {key.to_user_string() for key in rest.asset_selection} == {"stac_item", "published_item"}
    assert standing_of_backfill(instance, made).state == State.CANCELED


def test_run_that_was_made_and_not_queued_when_the_daemon_was_killed_is_withdrawn(
    instance: dg.DagsterInstance, made: str, new_run: NewRun
) -> None:
    new_run(made, "A", dg.DagsterRunStatus.NOT_STARTED)
    assert pause(instance, made, quickly).withdrawn == 1
    assert standing_of_backfill(instance, resume(instance, made)).total == len(KEYS)


@pytest.mark.parametrize("status", [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING])
def test_what_goes_on_is_not_resumed(
    instance: dg.DagsterInstance, made: str, status: BulkActionStatus
) -> None:
    set_status(instance, made, status)
    with pytest.raises(OrderError, match="Wait for its end, or pause it"):
        resume(instance, made)


def test_cancel_leaves_the_rest_to_the_daemon(
    instance: dg.DagsterInstance, made: str, new_run: NewRun
) -> None:
    new_run(made, "A", STARTED)
    pause(instance, made, quickly)
    cancel(instance, made)
    assert standing_of_backfill(instance, made).state == State.ENDING
    with pytest.raises(OrderError, match="it is ending"):
        cancel(instance, made)


@pytest.mark.parametrize("act", [pause, cancel, resume, standing_of_backfill])
def test_unknown_backfill_is_told(instance: dg.DagsterInstance, act: Callable[..., object]) -> None:
    with pytest.raises(OrderError, match="none of this id"):
        act(instance, "unheard-of")


def test_ended_backfill_is_neither_paused_nor_cancelled(instance: dg.DagsterInstance, made: str) -> None:
    set_status(instance, made, BulkActionStatus.COMPLETED_SUCCESS)
    for act in (pause, cancel):
        with pytest.raises(OrderError, match="it is done"):
            act(instance, made)
    assert keys_under_way(instance) == frozenset()


def test_without_a_daemon_there_is_none(instance: dg.DagsterInstance) -> None:
    assert not has_daemon(instance)
