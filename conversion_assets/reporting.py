"""What was ordered, published and used, read from Dagster's history in one pass over either.

Only the events of ``input_item`` and ``published_item`` are read, page by page: they are small and hold all
numbers. What is kept in memory is a line for each order of the time that is asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg

from conversion_assets.criteria import Product, TimeRange
from conversion_assets.figures import (
    SINCE_ORDER,
    SINCE_SOURCE,
    Delays,
    Figures,
    Grouping,
    Ordered,
    Publication,
    Tally,
)
from conversion_assets.orders import Order
from conversion_assets.partitions import INPUT_ITEM, ORDER, VERSION
from conversion_assets.selecting import ENDED_BADLY, PUBLISHED, History, latest_records, name_in, name_of

MOST_EVENTS = 500
INSTANT = timedelta(microseconds=1)
UNKNOWN = "unknown"
PRODUCT_TYPE = "product type"


def tally_of(instance: dg.DagsterInstance, time: TimeRange, *groupings: Grouping) -> Tally:
    """Add up what was ordered and what was published in a range of time.

    Args:
        instance: whose history.
        time: when orders were made, and items published.
        groupings: which rows there are to be.
    """
    tally, orders = Tally(*groupings), _orders_of(instance, time)
    published: dict[str, datetime] = {}
    types: dict[str, str] = {}

    def publications() -> Iterator[Publication]:
        for publication in _publications(instance, time.start):
            published.setdefault(publication.key, publication.when)  # the newest comes first
            types.setdefault(publication.key, publication.product_type)
            if publication.when in time:
                yield publication

    tally.add_publications(publications())
    tally.add_orders(_outcomes(instance, orders, published, types))
    return tally


def delays_of(instance: dg.DagsterInstance, order: Order, now: datetime) -> Delays:
    """Tell how long an order took that is published now; nothing where it was published before.

    Args:
        instance: knows when the order was made, and whether it was published since.
        order: the order.
        now: the time of its publication.
    """
    ordered = _latest(instance, INPUT_ITEM, order.key)
    published = _latest(instance, PUBLISHED, order.key)
    if ordered is None or (published is not None and published >= ordered):
        return Delays()
    return Delays(
        since_order=_seconds(ordered, now),
        since_source=_seconds(order.published, now) if order.published else None,
    )


def _seconds(start: datetime, end: datetime) -> float:
    return round(max((end - start).total_seconds(), 0), 1)


def _latest(instance: dg.DagsterInstance, asset: dg.AssetKey, key: str) -> datetime | None:
    selection = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[key])
    records = instance.fetch_materializations(selection, limit=1).records
    return _when(records[0]) if records else None


def _when(record: dg.EventLogRecord) -> datetime:
    return datetime.fromtimestamp(record.timestamp, UTC)


def _orders_of(instance: dg.DagsterInstance, time: TimeRange) -> list[Ordered]:
    """Give the latest order of each key for each day."""
    found: dict[tuple[str, object], Ordered] = {}
    for record in _events(instance, INPUT_ITEM, time.start, time.end):
        event, key, when = record.asset_materialization, record.partition_key, _when(record)
        if event is not None and key is not None:
            ordered = Ordered(key, when, _type_of(key, event.metadata))
            found.setdefault((key, when.date()), ordered)
    return list(found.values())


def _type_of(key: str, metadata: Mapping[str, dg.MetadataValue]) -> str:
    product = Product.named(name_in(key)) or _product_of_order(metadata)
    return product.product_type if product else UNKNOWN


def _product_of_order(metadata: Mapping[str, dg.MetadataValue]) -> Product | None:
    kept = metadata[ORDER].value if ORDER in metadata else None
    if not isinstance(kept, dict):
        return None
    return Product.named(name_of(str(kept.get("href")))) or Product.named(str(kept.get("item_id")))


def _publications(instance: dg.DagsterInstance, start: datetime | None) -> Iterator[Publication]:
    for record in _events(instance, PUBLISHED, start, None):
        event, key = record.asset_materialization, record.partition_key
        if event is None or key is None:
            continue
        numbers = _numbers(event.metadata)
        kind = event.metadata.get(PRODUCT_TYPE)
        yield Publication(
            key=key,
            when=_when(record),
            product_type=str(kind.value) if kind else UNKNOWN,
            figures=Figures.of_numbers(numbers),
            delays=Delays(numbers.get(SINCE_ORDER), numbers.get(SINCE_SOURCE)),
        )


def _numbers(metadata: Mapping[str, dg.MetadataValue]) -> dict[str, int | float]:
    return {
        name: value.value
        for name, value in metadata.items()
        if isinstance(value, dg.IntMetadataValue | dg.FloatMetadataValue) and value.value is not None
    }


def _outcomes(
    instance: dg.DagsterInstance,
    orders: list[Ordered],
    published: Mapping[str, datetime],
    types: Mapping[str, str],
) -> Iterator[Ordered]:
    """Say what became of orders: published since they were made, failed, or neither."""
    history, open_orders = History(instance), [one for one in orders if not _is_published(one, published)]
    repeated = _repeated(instance, [one for one in open_orders if one.key in history.published])
    runs = history.latest_runs({order.key for order in open_orders})
    for order in orders:
        is_published = _is_published(order, published) or order in repeated
        yield replace(
            order,
            product_type=types.get(order.key, order.product_type),
            is_published=is_published,
            is_failed=not is_published and runs.get(order.key) in ENDED_BADLY,
        )


def _repeated(instance: dg.DagsterInstance, orders: Collection[Ordered]) -> frozenset[Ordered]:
    """Find the orders that ask only for what was published before.

    A watch that has forgotten what it saw records its order once more; its run is not made a second time.
    """
    records = latest_records(instance, PUBLISHED, {order.key for order in orders})
    published = {key: _when(record) for key, record in records}
    return frozenset(
        order
        for order in orders
        if _is_published(replace(order, when=_first_asked(instance, order)), published)
    )


def _first_asked(instance: dg.DagsterInstance, order: Ordered) -> datetime:
    """Tell when an order was made that has only been recorded again since, of the same content."""
    first, asked = order.when, None
    for record in _events(instance, INPUT_ITEM, None, order.when + INSTANT, key=order.key):
        version = _version_in(record)
        if version is None or asked not in (None, version):
            break
        first, asked = _when(record), version
    return first


def _version_in(record: dg.EventLogRecord) -> object:
    event = record.asset_materialization
    return event.metadata[VERSION].value if event is not None and VERSION in event.metadata else None


def _is_published(order: Ordered, published: Mapping[str, datetime]) -> bool:
    when = published.get(order.key)
    return when is not None and when >= order.when


def _events(
    instance: dg.DagsterInstance,
    asset: dg.AssetKey,
    start: datetime | None,
    end: datetime | None,
    *,
    key: str | None = None,
) -> Iterator[dg.EventLogRecord]:
    """Give the materializations of an asset in a range of time, newest first; the start belongs to it."""
    selection = dg.AssetRecordsFilter(
        asset_key=asset,
        asset_partitions=None if key is None else [key],
        after_timestamp=(start - INSTANT).timestamp() if start else None,
        before_timestamp=end.timestamp() if end else None,
    )
    cursor, more = None, True
    while more:
        page = instance.fetch_materializations(selection, limit=MOST_EVENTS, cursor=cursor)
        cursor, more = page.cursor, page.has_more
        yield from page.records
