"""Nothing lost, nothing twice: a finished benchmark against the history, the catalogue and the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import dagster as dg
import pystac

from conversion_assets.partitions import safe_items
from conversion_assets.settings import Settings
from conversion_assets_tests.end_to_end.command import leftovers

LINE = ("staged_safe_item", "unzipped_safe", "zarr_product", "stac_item", "published_item")
PAGE = 1000


def audit(instance: dg.DagsterInstance, settings: Settings, orders: int) -> list[str]:
    """Give what is wrong, nothing if each order was done exactly once.

    Args:
        instance: whose history is read.
        settings: whose home is looked into.
        orders: how many there were.
    """
    return [*_of_history(instance, orders), *_of_home(settings.home, orders)]


def _of_history(instance: dg.DagsterInstance, orders: int) -> Iterator[str]:
    runs = Counter((run.tags.get("dagster/partition", ""), run.status.value) for run in instance.get_runs())
    keys = instance.get_dynamic_partitions(str(safe_items.name))
    yield from _unless(len(keys) == orders, f"{len(keys)} partitions")
    wanted = Counter((key, "SUCCESS") for key in keys)
    unlike = (runs - wanted) + (wanted - runs)
    yield from _unless(runs == wanted, f"{unlike.total()} runs too many, too few or unsuccessful")
    for asset in LINE:
        found = Counter(_materialized(instance, dg.AssetKey(asset)))
        yield from _unless(found == Counter(keys), f"materializations of {asset}: {found.total()}")


def _of_home(home: Path, orders: int) -> Iterator[str]:
    root = pystac.Catalog.from_file(str(home / "catalogue" / "catalog.json"))
    items = {item.id: item for item in root.get_items(recursive=True)}
    products = {path.absolute() for path in home.glob("products/*/*/*/*.zarr")}
    linked = {_path(item) for item in items.values()}
    yield from _unless(len(items) == orders, f"{len(items)} items in the catalogue")
    yield from _unless(linked == products, f"{len(linked ^ products)} products or links without the other")
    yield from _unless(not leftovers(home), f"{len(leftovers(home))} leftovers")


def _materialized(instance: dg.DagsterInstance, key: dg.AssetKey) -> Iterator[str | None]:
    page, cursor = instance.fetch_materializations(key, limit=PAGE), None
    while True:
        yield from (record.partition_key for record in page.records)
        cursor = page.cursor
        if not page.has_more:
            return
        page = instance.fetch_materializations(key, limit=PAGE, cursor=cursor)


def _path(item: pystac.Item) -> Path:
    """Give the root of the product that an item describes."""
    hrefs = {asset.get_absolute_href() or "" for asset in item.assets.values()}
    paths = [Path(unquote(urlsplit(href).path)) for href in hrefs if ".zarr" in href]
    first = min(paths, key=lambda path: len(path.parts))
    return next(path for path in (first, *first.parents) if path.suffix == ".zarr")


def _unless(holds: bool, fault: str) -> Iterator[str]:
    if not holds:
        yield fault
