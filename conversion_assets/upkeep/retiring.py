"""Retirement: partition keys whose order was published long ago leave the partition set, and nothing else.

The item, the order, its publication and its history stay. To order the product again adds its key again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import dagster as dg

from conversion_assets.partitions import INPUT_ITEM, safe_items
from conversion_assets.resources.quarantine import Quarantine
from conversion_assets.run_traces import PARTITION_TAG
from conversion_assets.selecting import PUBLISHED, in_batches, latest_records
from conversion_assets.standing import order_key
from conversion_assets.upkeep.live_orders import active_keys

AT_ONCE = 500


def retire(
    instance: dg.DagsterInstance, quarantine: Quarantine, published_before: datetime, now: datetime, most: int
) -> tuple[str, ...]:
    """Let keys go that were published, ordered and run before a time, and that nothing works on.

    Killed anywhere, it is completed by repeating.

    Args:
        instance: whose partition set.
        quarantine: what is in it stays.
        published_before: with time zone.
        now: with time zone.
        most: how many go at most, the oldest keys first.

    Returns:
        The keys that went.
    """
    gone: list[str] = []
    for keys in in_batches(instance.get_dynamic_partitions(str(safe_items.name)), AT_ONCE):
        kept = active_keys(instance, now) | {record.key for record in quarantine.records()}
        settled = _settled(instance, [key for key in keys if key not in kept], published_before.timestamp())
        for key in settled[: most - len(gone)]:
            instance.delete_dynamic_partition(str(safe_items.name), key)
            gone.append(key)
        if len(gone) == most:
            break
    return tuple(_still_gone(instance, gone, published_before.timestamp(), now))


def _settled(instance: dg.DagsterInstance, keys: list[str], before: float) -> list[str]:
    """Choose the keys whose publication, order and latest run are so old; in the order in which they come."""
    published = {
        key for key, record in latest_records(instance, PUBLISHED, keys) if record.timestamp < before
    }
    stirred = _ordered_since(instance, published, before) | _run_since(instance, published, before)
    return [key for key in keys if key in published and key not in stirred]


def _ordered_since(instance: dg.DagsterInstance, keys: Iterable[str], before: float) -> set[str]:
    records = latest_records(instance, INPUT_ITEM, keys)
    return {key for key, record in records if record.timestamp >= before}


def _run_since(instance: dg.DagsterInstance, keys: Iterable[str], before: float) -> set[str]:
    found = set[str | None]()
    for some in in_batches(keys, AT_ONCE):
        runs = dg.RunsFilter(tags={PARTITION_TAG: some}, updated_after=datetime.fromtimestamp(before, UTC))
        found |= {order_key(record.dagster_run) for record in instance.get_run_records(runs)}
    return {key for key in found if key}


def _still_gone(instance: dg.DagsterInstance, keys: list[str], before: float, now: datetime) -> Iterator[str]:
    """Add a key again that somebody ordered, or began to work on, while it went."""
    wanted = _ordered_since(instance, keys, before) | active_keys(instance, now).intersection(keys)
    if wanted:
        instance.add_dynamic_partitions(str(safe_items.name), sorted(wanted))
    yield from (key for key in keys if key not in wanted)
