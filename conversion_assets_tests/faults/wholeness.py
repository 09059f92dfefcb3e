"""What must hold of a home: at every instant for its readers, and after a repetition for all of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pystac

from conversion_assets.quarantining import quarantine_of
from conversion_assets.resources.object_store import ROOT_METADATA
from conversion_assets.resources.quarantine import QuarantinedOrder
from conversion_assets.settings import Settings
from conversion_assets.zarr.product_folder import local_product
from conversion_assets.zarr.verification import check_completeness
from conversion_assets_tests.end_to_end.test_killed import (
    left_behind,
    require_resolving_links,
    visible_products,
)
from conversion_assets_tests.faults.points import CrashPoint


def assert_state(home: Path, point: CrashPoint) -> None:
    """What readers see is whole, and the home is as the point says."""
    found = require_whole_for_readers(home)
    assert len(found) == point.seen
    assert [pattern for pattern in point.there if not any(home.glob(pattern))] == []
    assert [pattern for pattern in point.missing if any(home.glob(pattern))] == []


def require_whole_for_readers(home: Path) -> list[pystac.Item]:
    """Every link leads somewhere; every product that an item leads to, or that can be opened, is complete.

    Returns:
        The items.
    """
    items = []
    for parent, _, its_items in _walk(home):
        require_resolving_links(parent)
        for item in its_items:
            require_resolving_links(item)
            items.append(item)
    openable = {product for product in visible_products(home) if _can_be_opened(product)}
    for product in openable.union(map(product_of, items)):
        outcome = check_completeness(local_product(product))
        assert outcome.passed, outcome.detail
    return items


def _walk(home: Path) -> Iterable[tuple[pystac.Catalog, Iterable[pystac.Catalog], Iterable[pystac.Item]]]:
    root = home / "catalogue" / "catalog.json"
    return pystac.Catalog.from_file(str(root)).walk() if root.exists() else ()


def _can_be_opened(product: Path) -> bool:
    return any((product / name).exists() for name in ROOT_METADATA)


def assert_whole(home: Path, *, items: int = 1) -> None:
    """So many items are published, each with a complete product; nothing else is left."""
    found = require_whole_for_readers(home)
    assert len(found) == items
    assert {product_of(item) for item in found} == set(visible_products(home))
    assert sorted(left_behind(home)) == []
    assert unfinished(home) == []
    assert {Path(str(item.get_self_href())) for item in found} == set(home.glob("catalogue/*/*/*/S*.json"))
    assert quarantined(home) == []


def assert_quarantined(home: Path) -> QuarantinedOrder:
    """Nothing is published, and the one order is in quarantine as poisoned, with its evidence."""
    assert require_whole_for_readers(home) == []
    assert visible_products(home) == []
    (record,) = quarantined(home)
    assert record.error_class.value == "poisoned"
    assert record.rule
    assert list(Path(str(record.evidence["copy"])).iterdir())
    assert sorted(left_behind(home)) == []
    assert unfinished(home) == []
    return record


def quarantined(home: Path) -> list[QuarantinedOrder]:
    """Give what is in quarantine."""
    return quarantine_of(Settings(home=home)).records()


def product_of(item: pystac.Item) -> Path:
    """Give the product of an item."""
    return Path(unquote(urlsplit(str(item.assets["product"].get_absolute_href())).path))


def unfinished(home: Path) -> Iterable[Path]:
    """Give documents that were not finished."""
    return sorted(home.rglob(".*.partial"))
