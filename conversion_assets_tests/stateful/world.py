"""The platform itself: a home with everything in it, and what people, daemons and strangers do to it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus

from conversion_assets.backfilling import keys_under_way
from conversion_assets.definitions import build_definitions
from conversion_assets.ordering import Wishes, orders_from
from conversion_assets.orders import Order, TargetRule
from conversion_assets.partitions import record_order, safe_items
from conversion_assets.publishing import Released, release_superseded
from conversion_assets.replaying import Keepers, begin_replay, drop_order
from conversion_assets.resources.catalogue import Catalogue, CollectionSpec
from conversion_assets.resources.object_store import ObjectStore, emptied
from conversion_assets.resources.quarantine import Quarantine
from conversion_assets.running import OrderResult, run_order
from conversion_assets.services import resources_for
from conversion_assets.settings import Settings
from conversion_assets.upkeep.findings import Findings, Outcome
from conversion_assets.upkeep.live_orders import LiveOrders
from conversion_assets.upkeep.mending import mend
from conversion_assets.upkeep.retiring import retire
from conversion_assets.upkeep.surveying import House, survey
from conversion_assets_tests.stateful.line import Line
from conversion_assets_tests.stateful.numbering_converter import VERSION_FILE, NumberingConverter
from conversion_assets_tests.stateful.sight import ItemPlace, Sight, look
from conversion_assets_tests.stateful.sources import Sources

FIRST_EOPF = "2.8.1"
SETTLED = timedelta(0)
OUR_OWNER = "local"


@dataclass(frozen=True)
class Platform:
    """What is the same for all worlds: it takes a second to make.

    Attributes:
        folder: everything is in it.
        definitions: the code location.
        resources: its resources, ready, by name.
    """

    folder: Path
    definitions: dg.Definitions
    resources: Mapping[str, Any]

    @classmethod
    @contextmanager
    def opened(cls, folder: Path) -> Iterator[Platform]:
        """Make it ready in an empty folder."""
        settings = Settings(home=folder / "home")
        converter = NumberingConverter(notes=str(folder))
        resources = resources_for(settings) | {"converter": converter}
        definitions = build_definitions(settings, converter=converter)
        with dg.build_resources(resources) as ready:
            yield cls(folder, definitions, {name: getattr(ready, name) for name in resources})


class World:
    """One history of the platform, from an empty home on.

    Args:
        platform: whose folder is emptied.
    """

    def __init__(self, platform: Platform) -> None:
        emptied(platform.folder)
        self._platform = platform
        self.home = platform.folder / "home"
        self.instance = dg.DagsterInstance.ephemeral()
        _let_one_in_at_a_time(self.instance.run_storage)
        self.sources = Sources(platform.folder / "sources")
        self.line = Line(self.instance, platform.resources, platform.resources["records"])
        self.catalogue: Catalogue = platform.resources["catalogue"]
        self.store: ObjectStore = platform.resources["object_store"]
        self.quarantine: Quarantine = platform.resources["quarantine"]
        self.use_eopf(FIRST_EOPF)

    def close(self) -> None:
        """Let Dagster's databases go."""
        self.instance.dispose()

    def look(self) -> Sight:
        """Look at everything that can be seen."""
        return look(self.home)

    def use_eopf(self, version: str) -> None:
        """Convert by another eopf from now on."""
        (self._platform.folder / VERSION_FILE).write_text(version)

    def order(self, name: str, owner: str, target: str | None) -> Order:
        """Order a product as the command line does."""
        wishes = Wishes(owner=owner, default_owner=OUR_OWNER, target=TargetRule.parse(target))
        (order,) = orders_from(str(self.sources.path(name)), wishes)
        record_order(self.instance, order)
        return order

    def run_by_dagster(self, order: Order, *, reconvert: bool) -> OrderResult:
        """Take an order through the line in a run of Dagster's."""
        return run_order(
            self._platform.definitions,
            self.instance,
            order,
            reconvert=reconvert,
            listener=lambda *_: None,
        )

    def replay(self, key: str) -> Order:
        """Begin the replay of a quarantined order as the command line does."""
        record = self.quarantine.find(key)
        assert record is not None
        return begin_replay(self.instance, self.quarantine, record, lambda _: None)

    def drop(self, key: str) -> None:
        """Give a quarantined order up as the command line does."""
        record = self.quarantine.find(key)
        assert record is not None
        keepers = Keepers(self.quarantine, self.store, self._platform.resources["staging"])
        drop_order(self.instance, keepers, record)

    def release(self, now: datetime) -> list[Released]:
        """Release what is superseded, in every collection."""
        return [
            released
            for spec in list(self.catalogue.collections())
            for released in release_superseded(self.catalogue, self.store, spec, now)
        ]

    def survey(self, now: datetime) -> Findings:
        """Look what is not as it should be; everything has settled."""
        return survey(self._house(now), now, SETTLED)

    def mend(self, now: datetime) -> tuple[Outcome, ...]:
        """Mend what is not as it should be."""
        house = self._house(now)
        return mend(house, survey(house, now, SETTLED), now, SETTLED)

    def taken_up(self) -> frozenset[str]:
        """Take up what was ordered to be converted again, as a daemon does, and give the keys."""
        keys = keys_under_way(self.instance)
        for backfill in self.instance.get_backfills():
            self.instance.update_backfill(backfill._replace(status=BulkActionStatus.COMPLETED_SUCCESS))
        return keys

    def retire(self, now: datetime) -> tuple[str, ...]:
        """Retire the keys of all orders that are published."""
        return retire(self.instance, self.quarantine, now, now, most=100)

    def keys(self) -> set[str]:
        """Give the partition set."""
        return set(self.instance.get_dynamic_partitions(str(safe_items.name)))

    def _house(self, now: datetime) -> House:
        resources = self._platform.resources
        return House(
            self.catalogue,
            self.store,
            resources["staging"],
            self.quarantine,
            resources["bucket_rules"],
            LiveOrders(self.instance, self.home / "records", now),
        )

    def remove_item(self, place: ItemPlace) -> None:
        """Take an item out of the catalogue behind the platform's back."""
        owner, collection, _ = place.family
        self.catalogue.remove(place.id, CollectionSpec(owner, collection, collection))

    def remove_folder(self, product: Path) -> None:
        """Remove a product behind the platform's back."""
        shutil.rmtree(product)


def _let_one_in_at_a_time(runs: Any) -> None:  # noqa: ANN401 - Dagster's storage in memory
    """Let threads wait for each other: SQLite in memory refuses them, and SQLite on a disk is slower."""
    connect, lock = runs.connect, threading.RLock()

    @contextmanager
    def connected() -> Iterator[Any]:
        with lock, connect() as connection:
            yield connection

    runs.connect = connected
