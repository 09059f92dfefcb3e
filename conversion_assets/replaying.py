"""What becomes of quarantined orders: run again, or given up with all that is kept of their input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import dagster as dg

from conversion_assets.orders import Order
from conversion_assets.partitions import find_order, record_order
from conversion_assets.quarantining import tell_of
from conversion_assets.resources.object_store import ObjectStore
from conversion_assets.resources.quarantine import Quarantine, QuarantinedOrder, QuarantineStatus
from conversion_assets.resources.staging import Staging

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
    """Give an order up; a run that works on it is awaited."""
    with keepers.object_store.turn(record.key):
        keepers.staging.release(record.order)
        keepers.object_store.release(record.key)
        keepers.quarantine.forget(record.key)
    tell_of(instance, record.key, "dropped", "It was given up; nothing is kept of its input.")
