"""What becomes of quarantined orders: run again, or given up with all that is kept of their input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import dagster as dg

from conversion_assets.backfilling import keys_under_way
from conversion_assets.errors import OrderError
from conversion_assets.orders import Order
from conversion_assets.partitions import find_order, record_order, safe_items
from conversion_assets.quarantining import DROPPED, tell_of
from conversion_assets.resources.object_store import ObjectStore
from conversion_assets.resources.quarantine import Quarantine, QuarantinedOrder, QuarantineStatus
from conversion_assets.resources.staging import Staging
from conversion_assets.run_traces import PARTITION_TAG

REPLACED = "was ordered anew since it failed; the latest order is replayed"


@dataclass(frozen=True)
class Keepers:
    """Who keeps something of an order that is not published.

    Attributes:
        quarantine: its record, and evidence.
        object_store: its staged copy on this machine.
        staging: its staged copy elsewhere.
    """

    quarantine: Quarantine
    object_store: ObjectStore
    staging: Staging

    @classmethod
    @contextmanager
    def opened(cls, resources: Mapping[str, Any]) -> Iterator[Self]:
        """Make them ready, with secrets as the environment has them.

        Args:
            resources: those of the definitions, by name.
        """
        names = ("quarantine", "object_store", "staging")
        with dg.build_resources({name: resources[name] for name in names}) as ready:
            yield cls(*(getattr(ready, name) for name in names))


def begin_replay(
    instance: dg.DagsterInstance,
    quarantine: Quarantine,
    record: QuarantinedOrder,
    tell: Callable[[str], None],
    *,
    is_submitted: bool = False,
) -> Order:
    """Let an order be known as replayed, and give the order that is to run.

    Args:
        instance: knows the latest order of the key.
        quarantine: keeps the record until the order is published, or fails again.
        record: of the order.
        tell: receives a sentence when the order was replaced since it failed.
        is_submitted: the sensor of replays is to run it.
    """
    latest = find_order(instance, record.key)
    if latest is not None and latest != record.order:
        tell(f"{record.key} {REPLACED}")
    order = latest or record.order
    record_order(instance, order)
    asked = datetime.now(UTC) if is_submitted else None
    quarantine.write(
        record.model_copy(update={"status": QuarantineStatus.REPLAYED, "replay_asked": asked, "order": order})
    )
    how = "through the run queue" if is_submitted else "on the command line"
    tell_of(instance, record.key, "replayed", f"A replay was asked for {how}.")
    return order


def drop_order(instance: dg.DagsterInstance, keepers: Keepers, record: QuarantinedOrder) -> None:
    """Give an order up: nothing is kept of its input, and its partition key goes, so that nobody tries again.

    A run that works on it is awaited, those that wait for their turn are withdrawn. The record goes last:
    killed anywhere, it is completed by repeating.

    Args:
        instance: whose partition set.
        keepers: who keep something of it.
        record: of the order.

    Raises:
        OrderError: a backfill that goes on names it, and would fail as a whole without the key.
    """
    key = record.key
    if key in keys_under_way(instance):
        raise OrderError(
            f"order {key}",
            "it belongs to a backfill that goes on",
            "Drop it when that has ended, or pause it: see 'conversion-assets backfill list'.",
        )
    with keepers.object_store.turn(key):
        _withdraw(instance, key)
        keepers.staging.release(record.order)
        keepers.object_store.release(key)
        instance.delete_dynamic_partition(str(safe_items.name), key)
        tell_of(instance, key, DROPPED, "It was given up; nothing is kept of its input.")
        keepers.quarantine.forget(key)


def _withdraw(instance: dg.DagsterInstance, key: str) -> None:
    """Cancel the runs of an order that wait in the queue."""
    waiting = dg.RunsFilter(tags={PARTITION_TAG: key}, statuses=[dg.DagsterRunStatus.QUEUED])
    for run in instance.get_runs(waiting):
        instance.report_run_canceled(run, message="Withdrawn: the order was dropped.")
