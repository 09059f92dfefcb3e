"""Many orders again, one run each, through Dagster's own backfills: made, paused, resumed, looked at.

A backfill is a row of Dagster's database that the daemon works off, so it survives every restart and needs no
process of ours. Dagster knows no pause; ``docs/decisions/0018-backfills.md`` tells how there is one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.execution.backfill import (
    BulkActionsFilter,
    BulkActionStatus,
    PartitionBackfill,
)
from dagster._core.storage.dagster_run import RunPartitionData
from dagster._core.storage.tags import BACKFILL_ID_TAG, PARENT_BACKFILL_ID_TAG, ROOT_BACKFILL_ID_TAG
from dagster._core.utils import make_new_backfill_id
from pydantic import BaseModel, ConfigDict

from conversion_assets.errors import OrderError, TransientError
from conversion_assets.partitions import safe_items
from conversion_assets.quarantining import was_dropped
from conversion_assets.standing import ASSETS

SOURCE_TAG, PRIORITY_TAG = "conversion_assets/source", "dagster/priority"
PAUSED_TAG = "conversion_assets/paused"
BELOW_ORDERS, OF_ORDERS, ABOVE_ORDERS = "-10", "10", "20"
"""Priorities of runs: of our backfills, of orders, of upkeep. What the web interface launches has 0."""
MOST_NEW_KEYS = 1000
SECONDS_BETWEEN_LOOKS = 1.0
QUIET_LOOKS = 3
DAEMON, DAEMON_SILENCE_SECONDS = "BACKFILL", 90
MOST_LOOKS = 60

REQUESTED, CANCELING, CANCELED = (
    BulkActionStatus.REQUESTED,
    BulkActionStatus.CANCELING,
    BulkActionStatus.CANCELED,
)
UNDER_WAY = (REQUESTED, CANCELING, BulkActionStatus.FAILING)


class State(StrEnum):
    """Where a backfill stands."""

    GOING_ON = "going on"
    PAUSED = "paused"
    ENDING = "ending"
    CANCELED = "canceled"
    DONE = "done"
    DONE_WITH_FAILURES = "done, with failures"
    BROKEN = "broken"


STATES = {
    REQUESTED: State.GOING_ON,
    CANCELING: State.ENDING,
    BulkActionStatus.FAILING: State.ENDING,
    CANCELED: State.CANCELED,
    BulkActionStatus.COMPLETED: State.DONE,
    BulkActionStatus.COMPLETED_SUCCESS: State.DONE,
    BulkActionStatus.COMPLETED_FAILED: State.DONE_WITH_FAILURES,
    BulkActionStatus.FAILED: State.BROKEN,
}


class Stage(StrEnum):
    """Where one order of a backfill stands."""

    DONE = "done"
    FAILED = "failed"
    RUNNING = "running"
    QUEUED = "queued"
    WITHDRAWN = "withdrawn"
    WAITING = "waiting"


STAGES = {
    dg.DagsterRunStatus.SUCCESS: Stage.DONE,
    dg.DagsterRunStatus.FAILURE: Stage.FAILED,
    dg.DagsterRunStatus.CANCELED: Stage.WITHDRAWN,
    dg.DagsterRunStatus.QUEUED: Stage.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED: Stage.QUEUED,
}
BEFORE_THEIR_TURN = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED)
"""A run that was made when the daemon was killed, and not queued, would stay so."""
UNTRIED = frozenset({Stage.WAITING, Stage.WITHDRAWN})


@dataclass(frozen=True)
class Request:
    """What a backfill is made with.

    Attributes:
        keys: partition keys.
        assets: names of the assets to make, of ``standing.ASSETS``.
        reconvert: convert again what the same eopf converted before.
        title: for people.
    """

    keys: tuple[str, ...]
    assets: tuple[str, ...] = ASSETS
    reconvert: bool = False
    title: str | None = None


class BackfillStanding(BaseModel):
    """Where a backfill stands, counted in orders.

    Attributes:
        id: of the backfill.
        title: as it was given.
        state: see ``State``.
        total: of all.
        done: published, or whatever its assets do.
        failed: whose latest run failed.
        running: that are worked on.
        queued: whose run waits for its turn.
        withdrawn: whose run was cancelled, by a pause or by a person.
        waiting: that have no run yet.
        per_hour: how many ended an hour, since the first began.
        seconds_left: at this rate; None while it cannot be told.
        created: UTC.
        ended: UTC; None before.
        continues: the paused or cancelled backfill whose rest it does.
        continued_by: the backfill that does the rest of this one.
        error: why the daemon gave it up.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    title: str | None
    state: State
    total: int
    done: int = 0
    failed: int = 0
    running: int = 0
    queued: int = 0
    withdrawn: int = 0
    waiting: int = 0
    per_hour: float | None = None
    seconds_left: float | None = None
    created: datetime
    ended: datetime | None = None
    continues: str | None = None
    continued_by: str | None = None
    error: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen any more by itself."""
        busy = self.running or self.queued
        return self.state not in (State.GOING_ON, State.ENDING) and not busy


def launch(instance: dg.DagsterInstance, request: Request) -> str:
    """Make a backfill; the daemon begins with it within half a minute, or once it is started.

    Partitions that have retired are registered again: their orders are in the history.

    Returns:
        Its id.

    Raises:
        OrderError: there is nothing to do, or the options contradict one another.
    """
    if not request.keys:
        raise OrderError("the backfill", "no order meets the criteria", "Loosen them.")
    register(instance, request.keys)
    return _added(
        instance,
        make_new_backfill_id(),
        _subset(dict.fromkeys(request.assets, request.keys)),
        tags={PRIORITY_TAG: BELOW_ORDERS, SOURCE_TAG: "backfill"},
        title=request.title,
        run_config=_run_config(request),
    )


def register(instance: dg.DagsterInstance, keys: Collection[str]) -> None:
    """Add the keys that are not in the partition set."""
    known = frozenset(instance.get_dynamic_partitions(str(safe_items.name)))
    missing = [key for key in keys if key not in known]
    for first in range(0, len(missing), MOST_NEW_KEYS):
        instance.add_dynamic_partitions(str(safe_items.name), missing[first : first + MOST_NEW_KEYS])


def _run_config(request: Request) -> dict[str, Any]:
    config: dict[str, Any] = {"loggers": {"console": {}}}  # nobody watches: each line is to name its order
    if not request.reconvert:
        return config
    if "zarr_product" not in request.assets:
        raise OrderError(
            "the backfill",
            "it is to convert again, but zarr_product is not among its assets",
            "Leave --reconvert out, or choose more assets.",
        )
    return config | {"ops": {"zarr_product": {"config": {"reconvert": True}}}}


def _subset(keys: Mapping[str, Iterable[str]]) -> AssetGraphSubset:
    subsets = {
        dg.AssetKey(asset): safe_items.subset_with_partition_keys(some) for asset, some in keys.items()
    }
    return AssetGraphSubset.create_empty_subset()._replace(partitions_subsets_by_asset_key=subsets)


def _added(
    instance: dg.DagsterInstance,
    backfill_id: str,
    subset: AssetGraphSubset,
    *,
    tags: Mapping[str, str],
    title: str | None,
    run_config: Mapping[str, Any] | None,
) -> str:
    backfill = PartitionBackfill.from_asset_graph_subset(
        backfill_id=backfill_id,
        backfill_timestamp=time.time(),
        tags=tags,
        dynamic_partitions_store=instance,
        asset_graph_subset=subset,
        title=title,
        description=None,
        run_config=run_config,
    )
    instance.add_backfill(backfill)
    return backfill_id


def standing_of_backfill(instance: dg.DagsterInstance, backfill_id: str) -> BackfillStanding:
    """Tell where a backfill stands.

    Raises:
        OrderError: there is no such backfill.
    """
    return _standing(instance, _found(instance, backfill_id))


def latest_backfills(instance: dg.DagsterInstance, most: int) -> list[BackfillStanding]:
    """Tell where the latest backfills stand, newest first."""
    backfills = instance.get_backfills(limit=most)
    return [_standing(instance, backfill) for backfill in backfills if backfill.asset_backfill_data]


def _found(instance: dg.DagsterInstance, backfill_id: str) -> PartitionBackfill:
    backfill = instance.get_backfill(backfill_id)
    if backfill is None or backfill.asset_backfill_data is None:
        raise OrderError(
            f"backfill {backfill_id}", "there is none of this id", "See 'conversion-assets backfill list'."
        )
    return backfill


def _standing(instance: dg.DagsterInstance, backfill: PartitionBackfill) -> BackfillStanding:
    keys, runs = _keys(backfill), _runs(instance, backfill)
    counts = Counter(_stages(keys, runs).values())
    rate = _rate(runs)
    left = sum(counts[stage] for stage in (Stage.RUNNING, Stage.QUEUED, Stage.WAITING))
    going_on = backfill.status == REQUESTED
    return BackfillStanding(
        id=backfill.backfill_id,
        title=backfill.title,
        state=_state(backfill),
        total=len(keys),
        **{stage.value: counts[stage] for stage in Stage},
        per_hour=round(rate * 3600, 1) if rate else None,
        seconds_left=round(left / rate) if rate and going_on else None,
        created=_moment(backfill.backfill_timestamp),
        ended=_moment(backfill.backfill_end_timestamp) if backfill.backfill_end_timestamp else None,
        continues=backfill.tags.get(PARENT_BACKFILL_ID_TAG),
        continued_by=_continuation(instance, backfill.backfill_id),
        error=backfill.error.message.strip() if backfill.error else None,
    )


def _state(backfill: PartitionBackfill) -> State:
    if PAUSED_TAG in backfill.tags and backfill.status in (CANCELED, CANCELING):
        return State.PAUSED
    return STATES[backfill.status]


def _keys(backfill: PartitionBackfill) -> frozenset[str]:
    return frozenset(key for some in _keys_by_asset(backfill).values() for key in some)


def _keys_by_asset(backfill: PartitionBackfill) -> dict[str, frozenset[str]]:
    data = backfill.asset_backfill_data
    subsets = data.target_subset.partitions_subsets_by_asset_key if data else {}
    return {key.to_user_string(): frozenset(some.get_partition_keys()) for key, some in subsets.items()}


def _runs(instance: dg.DagsterInstance, backfill: PartitionBackfill) -> list[RunPartitionData]:
    """Give the latest run of each order that has one."""
    return list(instance.get_run_partition_data(dg.RunsFilter(tags={BACKFILL_ID_TAG: backfill.backfill_id})))


def _stages(keys: Iterable[str], runs: Iterable[RunPartitionData]) -> dict[str, Stage]:
    told = {run.partition: STAGES.get(run.status, Stage.RUNNING) for run in runs}
    return {key: told.get(key, Stage.WAITING) for key in keys}


def _rate(runs: Iterable[RunPartitionData]) -> float | None:
    """Give how many orders ended a second, from the first beginning to the latest end."""
    ended = [run for run in runs if run.start_time and run.end_time]
    if not ended:
        return None
    seconds = max(run.end_time or 0 for run in ended) - min(run.start_time or 0 for run in ended)
    return len(ended) / seconds if seconds > 0 else None


def _continuation(instance: dg.DagsterInstance, backfill_id: str) -> str | None:
    following = _following(backfill_id)
    return following if instance.get_backfill(following) else None


def _following(backfill_id: str) -> str:
    """Give the id of what continues a backfill: always the same, so that there is never more than one."""
    first, _, number = backfill_id.partition("-")
    return f"{first}-{int(number or 1) + 1}"


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)


def has_daemon(instance: dg.DagsterInstance) -> bool:
    """Tell whether a daemon that works off backfills showed itself of late."""
    beat = instance.get_daemon_heartbeats().get(DAEMON)
    return beat is not None and time.time() - beat.timestamp < DAEMON_SILENCE_SECONDS


def keys_under_way(instance: dg.DagsterInstance) -> frozenset[str]:
    """Give the keys of all backfills that go on: one whose partition is removed fails as a whole."""
    backfills = instance.get_backfills(filters=BulkActionsFilter(statuses=list(UNDER_WAY)))
    return frozenset(key for backfill in backfills for key in _keys(backfill))


def pause(
    instance: dg.DagsterInstance, backfill_id: str, sleep: Callable[[float], None] = time.sleep
) -> BackfillStanding:
    """Launch no more runs of a backfill, withdraw those that are queued, let those that run finish.

    Raises:
        OrderError: there is no such backfill, or it does not go on.
        TransientError: the daemon goes on submitting its runs.
    """
    backfill = _found(instance, backfill_id)
    if _state(backfill) not in (State.GOING_ON, State.PAUSED):
        raise OrderError(f"backfill {backfill_id}", f"it is {_state(backfill)}", "Pause one that goes on.")
    quiet = 0
    for _ in range(MOST_LOOKS):
        # The daemon may be submitting a few runs just now, and writes the row when it has.
        stopped = _stop(instance, backfill_id)
        withdrawn = sum(1 for _ in _withdrawn(instance, backfill_id))
        quiet = 0 if stopped or withdrawn else quiet + 1
        if quiet == QUIET_LOOKS:
            _settle(instance, backfill_id)
            return standing_of_backfill(instance, backfill_id)
        sleep(SECONDS_BETWEEN_LOOKS)
    raise TransientError(f"backfill {backfill_id}", "its runs keep coming", "Pause it again.")


def _stop(instance: dg.DagsterInstance, backfill_id: str) -> bool:
    """Mark a backfill as paused; False where it is."""
    backfill = _found(instance, backfill_id)
    if _state(backfill) != State.GOING_ON:
        return False
    now = time.time()
    tags = {**backfill.tags, PAUSED_TAG: _moment(now).isoformat(timespec="seconds")}
    instance.update_backfill(backfill._replace(tags=tags, status=CANCELED, backfill_end_timestamp=now))
    return True


def _settle(instance: dg.DagsterInstance, backfill_id: str) -> None:
    """Let the daemon count a paused backfill once nothing of it runs, for the page of the web interface."""
    standing = standing_of_backfill(instance, backfill_id)
    backfill = _found(instance, backfill_id)
    if standing.state == State.PAUSED and standing.is_over and backfill.status == CANCELED:
        instance.update_backfill(backfill._replace(status=CANCELING))


def _withdrawn(instance: dg.DagsterInstance, backfill_id: str) -> Iterator[str]:
    """Cancel the runs of a backfill that wait for their turn; give their ids.

    Each in one write. Dagster itself marks them as canceling first, and one that is left so by a kill counts
    as running: a continuation would leave its order out.
    """
    waiting = dg.RunsFilter(tags={BACKFILL_ID_TAG: backfill_id}, statuses=list(BEFORE_THEIR_TURN))
    for run_id in instance.get_run_ids(waiting):
        run = instance.get_run_by_id(run_id)
        if run is not None and run.status in BEFORE_THEIR_TURN:
            instance.report_run_canceled(run, message="Withdrawn: the backfill is paused.")
            yield run_id


def resume(instance: dg.DagsterInstance, backfill_id: str, *, failed_too: bool = False) -> str:
    """Do the rest of a paused, cancelled or broken backfill: a backfill of its own, linked to it.

    Orders that were dropped from quarantine meanwhile are left out.

    Args:
        instance: where it is.
        backfill_id: of the one to continue, made here or in the web interface.
        failed_too: try again what failed.

    Returns:
        Id of the continuation.

    Raises:
        OrderError: there is no such backfill, it goes on, was continued before, or has no rest.
    """
    backfill = _found(instance, backfill_id)
    if _state(backfill) in (State.GOING_ON, State.ENDING):
        raise OrderError(
            f"backfill {backfill_id}", f"it is {_state(backfill)}", "Wait for its end, or pause it."
        )
    if following := _continuation(instance, backfill_id):
        raise OrderError(
            f"backfill {backfill_id}", f"it was continued by {following} already", f"Resume {following}."
        )
    wanted = UNTRIED | {Stage.FAILED} if failed_too else UNTRIED
    stages = _stages(_keys(backfill), _runs(instance, backfill))
    live = frozenset(instance.get_dynamic_partitions(str(safe_items.name)))
    rest = frozenset(
        key
        for key, stage in stages.items()
        if stage in wanted and (key in live or not was_dropped(instance, key))
    )
    if not rest:
        hint = "" if failed_too else " With --failed, those that failed are tried again."
        raise OrderError(f"backfill {backfill_id}", "nothing of it is left to do", f"Make a new one.{hint}")
    register(instance, rest)
    _settle(instance, backfill_id)
    tags = _unpaused(backfill)
    return _added(
        instance,
        _following(backfill_id),
        _subset({asset: some for asset, keys in _keys_by_asset(backfill).items() if (some := keys & rest)}),
        tags={
            **tags,
            PARENT_BACKFILL_ID_TAG: backfill_id,
            ROOT_BACKFILL_ID_TAG: tags.get(ROOT_BACKFILL_ID_TAG, backfill_id),
        },
        title=backfill.title,
        run_config=backfill.run_config,
    )


def cancel(instance: dg.DagsterInstance, backfill_id: str) -> None:
    """End a backfill as the web interface does: the daemon cancels its runs, running ones too.

    Raises:
        OrderError: there is no such backfill, or it does not go on.
    """
    backfill = _found(instance, backfill_id)
    if _state(backfill) not in (State.GOING_ON, State.PAUSED):
        raise OrderError(f"backfill {backfill_id}", f"it is {_state(backfill)}", "Cancel one that goes on.")
    instance.update_backfill(backfill._replace(tags=_unpaused(backfill), status=CANCELING))


def _unpaused(backfill: PartitionBackfill) -> dict[str, str]:
    return {name: value for name, value in backfill.tags.items() if name != PAUSED_TAG}
