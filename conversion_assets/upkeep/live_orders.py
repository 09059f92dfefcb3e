"""What Dagster and the records tell of orders, as upkeep asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import ValidationError

from conversion_assets.backfilling import Request, keys_under_way, launch
from conversion_assets.errors import PermanentError
from conversion_assets.orders import Order
from conversion_assets.partitions import find_order
from conversion_assets.quarantining import tell_of, will_be_tried_again
from conversion_assets.records import ZarrProduct
from conversion_assets.selecting import PUBLISHED, ZARR, History, latest_records, match
from conversion_assets.standing import order_key

UNFINISHED = [
    status for status in dg.DagsterRunStatus if status.value not in ("SUCCESS", "FAILURE", "CANCELED")
]
RETRY_TIME = timedelta(days=1)
"""Within it the daemon has repeated a failed run that it means to repeat."""
REPEATED_TAG = "dagster/auto_retry_run_id"
"""On a failed run that the daemon has repeated: the other run tells from then on."""


def active_keys(instance: dg.DagsterInstance, now: datetime) -> frozenset[str]:
    """Give the keys of orders that something works on, or will by itself."""
    records = [
        *instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED)),
        *(
            record
            for record in instance.get_run_records(
                dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=now - RETRY_TIME)
            )
            if will_be_tried_again(record.dagster_run) and REPEATED_TAG not in record.dagster_run.tags
        ),
    ]
    keys = {order_key(record.dagster_run) for record in records}
    return frozenset(key for key in keys if key) | keys_under_way(instance)


@dataclass(frozen=True)
class LiveOrders:
    """The orders of an instance.

    Attributes:
        instance: knows orders, runs and publications.
        records: folder of the records between the assets.
        now: with time zone.
    """

    instance: dg.DagsterInstance
    records: Path
    now: datetime
    _history: dict[None, History] = field(default_factory=dict, repr=False)

    def active(self) -> frozenset[str]:
        """See ``active_keys``."""
        return active_keys(self.instance, self.now)

    def find(self, key: str) -> Order | None:
        """Give the latest order of a key that this version of the project can read."""
        with suppress(PermanentError):
            return find_order(self.instance, key)
        return None

    def published(self, key: str) -> datetime | None:
        """Tell when an order was published last."""
        for _, record in latest_records(self.instance, PUBLISHED, [key]):
            return datetime.fromtimestamp(record.timestamp, UTC)
        return None

    def products(self, keys: Iterable[str]) -> frozenset[str]:
        """Give the products that orders have got so far, and their items perhaps not yet."""
        return frozenset(uri for key in keys if (uri := self._product(key)) is not None)

    def key_of(self, item: Mapping[str, Any]) -> str | None:
        """Give the key of the order that an item came of."""
        history = self._history.setdefault(None, History(self.instance))
        return next(iter(match(history, [item]).keys), None)

    def convert_again(self, keys: Iterable[str]) -> str:
        """Order products again, behind all other orders; a daemon works them off.

        Returns:
            Id of the backfill.
        """
        return launch(self.instance, Request(keys=tuple(keys), title="items whose data are gone"))

    def tell_published(self, key: str) -> None:
        """Let Dagster show that a quarantined order was published."""
        tell_of(self.instance, key, "published", "It was published since it failed.")

    def _product(self, key: str) -> str | None:
        path = self.records.joinpath(*ZARR.path, f"{key}.json")
        with suppress(FileNotFoundError, ValidationError):
            return ZarrProduct.model_validate_json(path.read_bytes()).uri
        return None
