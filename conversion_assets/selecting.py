"""From criteria to partition keys, by what Dagster's history tells; read in bulk, and only what is asked.

Most is told without reading a single event: the indexed data versions hold fingerprint, converter and
product type, and the name of a Sentinel product holds its type and time. Events, some of which hold pictures,
are read for the few orders whose names tell nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import dagster as dg

from conversion_assets.criteria import CodeVersions, Criteria, DataVersions, Product
from conversion_assets.orders import Order
from conversion_assets.partitions import INPUT_ITEM, ORDER, safe_items
from conversion_assets.safe.naming import product_name

UNZIPPED, ZARR = dg.AssetKey("unzipped_safe"), dg.AssetKey("zarr_product")
PUBLISHED = dg.AssetKey("published_item")
DATA_VERSION_TAG = "dagster/data_version"
PARTITION_TAG = "dagster/partition"
MOST_KEYS = 500
"""How many keys one query names: SQLite takes up to 32 766 variables, and pages stay small."""
LEVELS = 4
"""Names at the end of an item's path: owner, collection, day, item; or collections, its id, items, item."""
ENDED_BADLY = frozenset({dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED})

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Matched:
    """Published items and the orders they came of.

    Attributes:
        keys: of the orders that are known.
        unknown: items of which no order is known.
    """

    keys: list[str]
    unknown: list[Mapping[str, Any]]


class History:
    """What the instance knows of orders.

    Args:
        instance: whose history.
    """

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance

    @cached_property
    def live(self) -> tuple[str, ...]:
        """The partition keys, oldest first."""
        return tuple(self._instance.get_dynamic_partitions(str(safe_items.name)))

    @cached_property
    def published(self) -> frozenset[str]:
        """The keys of all orders that were published, those whose partition has retired included."""
        return frozenset(self._instance.get_materialized_partitions(PUBLISHED))

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The keys of what may be converted again: live ones, then retired ones."""
        return (*self.live, *sorted(self.published.difference(self.live)))

    def data_versions(self) -> Callable[[str], DataVersions]:
        """Look the data versions of all orders up; give what tells those of one."""
        unzipped, product = self._versions_of(UNZIPPED), self._versions_of(ZARR)
        return lambda key: DataVersions(unzipped.get(key), product.get(key))

    def _versions_of(self, asset: dg.AssetKey) -> Mapping[str, str]:
        tags = self._instance.event_log_storage.get_latest_tags_by_partition(
            asset, dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG]
        )
        return {key: values[DATA_VERSION_TAG] for key, values in tags.items()}

    def latest_runs(self, keys: Iterable[str]) -> dict[str, dg.DagsterRunStatus]:
        """Give how the latest run of each order stands, of those that have had one."""
        found: dict[str, dg.DagsterRunStatus] = {}
        for some in in_batches(keys, MOST_KEYS):
            chosen = dg.RunsFilter(tags={PARTITION_TAG: some})
            found |= {run.partition: run.status for run in self._instance.get_run_partition_data(chosen)}
        return found

    def deciding_runs(self, keys: Iterable[str]) -> dict[str, dg.DagsterRunStatus]:
        """Give how the run stands that decides where each order stands, of those that have one.

        It is the latest; of a published order, the latest that was not withdrawn.
        """
        found: dict[str, dg.DagsterRunStatus] = {}
        withdrawn: list[str] = []
        for some in in_batches(keys, MOST_KEYS):
            for run in self._instance.get_run_partition_data(dg.RunsFilter(tags={PARTITION_TAG: some})):
                if run.partition in self.published and was_withdrawn(run.status, run.start_time):
                    withdrawn.append(run.partition)
                else:
                    found[run.partition] = run.status
        for some in in_batches(withdrawn, MOST_KEYS):
            for record in self._instance.get_run_records(dg.RunsFilter(tags={PARTITION_TAG: some})):
                former = record.dagster_run
                if not was_withdrawn(former.status, record.start_time):
                    found.setdefault(former.tags[PARTITION_TAG], former.status)
        return found

    def products(self, keys: Collection[str]) -> dict[str, Product]:
        """Tell type and time of products: by name, else as they were found when they were unzipped."""
        found = {key: product for key in keys if (product := Product.named(name_in(key)))}
        orders = self.orders([key for key in keys if key not in found])
        found |= {
            key: product
            for key, order in orders.items()
            if (product := Product.named(name_of(order.href)) or Product.named(order.item_id))
        }
        return found | dict(self._unzipped([key for key in keys if key not in found]))

    def orders(self, keys: Iterable[str]) -> dict[str, Order]:
        """Give the latest orders of keys; one that another version of the project kept is left out."""
        found: dict[str, Order] = {}
        for key, event in self._latest(INPUT_ITEM, keys):
            try:
                found[key] = Order.model_validate(event.metadata[ORDER].value)
            except (KeyError, ValueError):
                continue
        return found

    def places(self, keys: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Tell where orders were published; see ``place_of``."""
        events = self._latest(PUBLISHED, keys)
        return {key: place_of(str(event.metadata["item"].value)) for key, event in events}

    def _unzipped(self, keys: Iterable[str]) -> Iterator[tuple[str, Product]]:
        for key, event in self._latest(UNZIPPED, keys):
            told = event.metadata
            if "product type" in told and "start" in told:
                start = datetime.fromisoformat(str(told["start"].value))
                yield key, Product(str(told["product type"].value), start)

    def _latest(
        self, asset: dg.AssetKey, keys: Iterable[str]
    ) -> Iterator[tuple[str, dg.AssetMaterialization]]:
        """Give the latest materialization of each key that has one."""
        for key, record in latest_records(self._instance, asset, keys):
            if (event := record.asset_materialization) is not None:
                yield key, event


def was_withdrawn(status: dg.DagsterRunStatus, began: float | None) -> bool:
    """Tell whether a run was cancelled while it waited for its turn, as those of a paused backfill are.

    Args:
        status: of the run.
        began: when it was started; None where it never was.
    """
    return status is dg.DagsterRunStatus.CANCELED and began is None


def latest_records(
    instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Iterable[str]
) -> Iterator[tuple[str, dg.EventLogRecord]]:
    """Give the record of the latest materialization of each key that has one."""
    for some in in_batches(keys, MOST_KEYS):
        missing, cursor, more = set(some), None, True
        selection = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=some)
        while missing and more:
            page = instance.fetch_materializations(selection, limit=MOST_KEYS, cursor=cursor)
            cursor, more = page.cursor, page.has_more
            for record in page.records:
                key = record.partition_key
                if record.asset_materialization is not None and key in missing:
                    missing.discard(key)
                    yield key, record


def select(
    history: History, criteria: Criteria, now: CodeVersions, among: Iterable[str] | None = None
) -> tuple[str, ...]:
    """Give the keys of the orders that meet all criteria, each once.

    Args:
        history: what is known of orders.
        criteria: what is asked.
        now: with what orders would be converted now.
        among: only these; None for all that the history knows.
    """
    keys = list(dict.fromkeys(history.keys if among is None else among))
    if criteria.older_than_eopf is not None or criteria.stale:
        keys = _outdated(history.data_versions(), criteria, now, keys)
    if criteria.failed:
        keys = _failed(history, keys)
    if criteria.are_of_the_product:
        products = history.products(keys)
        keys = [key for key in keys if criteria.fit(products.get(key))]
    return tuple(keys)


def _outdated(
    versions: Callable[[str], DataVersions], criteria: Criteria, now: CodeVersions, keys: Iterable[str]
) -> list[str]:
    older = criteria.older_than_eopf
    return [
        key
        for key in keys
        if (older is None or versions(key).is_older_than(older))
        and (not criteria.stale or versions(key).is_stale(now))
    ]


def _failed(history: History, keys: Iterable[str]) -> list[str]:
    """Keep what ended badly, and what was never published though nothing works on it."""
    live = frozenset(history.live)
    keys = [key for key in keys if key in live]
    runs = history.deciding_runs(keys)
    return [key for key in keys if _is_failed(runs.get(key), is_published=key in history.published)]


def _is_failed(latest: dg.DagsterRunStatus | None, *, is_published: bool) -> bool:
    if latest in ENDED_BADLY:
        return True
    return not is_published and latest in (None, dg.DagsterRunStatus.SUCCESS)


def keys_by_item(keys: Iterable[str]) -> dict[str, list[str]]:
    """List keys by the id of the input item: that of a special order goes on after a point."""
    found: dict[str, list[str]] = {}
    for key in keys:
        for item_id in {key, key.rpartition(".")[0]} - {""}:
            found.setdefault(item_id, []).append(key)
    return found


def name_in(key: str) -> str:
    """Give the name of a product that a key begins with: such names have no point in them."""
    return key.partition(".")[0]


def name_of(href: str) -> str:
    """Give the name of the product that an href leads to."""
    return product_name(unquote(urlsplit(href).path).rstrip("/").rpartition("/")[2])


def in_batches(entries: Iterable[Entry], most: int) -> Iterator[list[Entry]]:
    """Cut entries into lists of a length."""
    batch: list[Entry] = []
    for entry in entries:
        batch.append(entry)
        if len(batch) == most:
            yield batch
            batch = []
    if batch:
        yield batch


def match(history: History, items: Iterable[Mapping[str, Any]]) -> Matched:
    """Find the orders that published items came of, by where they were published.

    Args:
        history: what is known of orders.
        items: STAC items with their links ``self`` and ``derived_from``.
    """
    by_item, candidates = keys_by_item(history.keys), list[tuple[Mapping[str, Any], list[str]]]()
    for item in items:
        source = link_of(item, "derived_from")
        candidates.append((item, by_item.get(name_of(source), []) if source else []))
    places = history.places({key for _, keys in candidates for key in keys})
    matched = Matched([], [])
    for item, keys in candidates:
        place = place_of(link_of(item, "self") or "")
        found = [key for key in keys if places.get(key) == place]
        matched.keys.extend(found)
        if not found:
            matched.unknown.append(item)
    return matched


def link_of(item: Mapping[str, Any], rel: str) -> str | None:
    """Give where the first link of a relation leads."""
    return next((str(link["href"]) for link in item["links"] if link.get("rel") == rel), None)


def place_of(href: str) -> tuple[str, ...]:
    """Give what of an item's href tells it from others, whatever address a server gives itself."""
    return tuple(unquote(urlsplit(href).path).split("/")[-LEVELS:])
