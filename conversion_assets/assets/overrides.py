"""Run configuration of the first asset: another source or target than what was ordered."""

from __future__ import annotations

import dagster as dg
from pydantic import Field

from conversion_assets.errors import OrderError
from conversion_assets.ordering import Wishes, orders_from
from conversion_assets.orders import Order, TargetRule, valid_identifier
from conversion_assets.partitions import find_order, order_of, record_order


class OrderOverrides(dg.Config):
    """Overrides the order of a partition; with nothing set the order stands as it was given."""

    source: str | None = Field(
        default=None,
        description="Path or URL of a SAFE folder or archive, or of a STAC item, instead of the ordered one.",
    )
    owner: str | None = Field(default=None, description="Owner of the product, instead of the ordered one.")
    collection: str | None = Field(
        default=None, description="Target rule: COLLECTION, or TYPE=COLLECTION for one EOPF product type."
    )
    assets: list[str] = Field(default=[], description="Keys of the assets to take from the STAC item.")
    schemes: list[str] = Field(
        default=["file", "s3", "https"], description="URL schemes the source may have."
    )

    def applied(self, instance: dg.DagsterInstance, key: str) -> Order:
        """Give the order of a partition, with the overrides applied and remembered.

        Raises:
            OrderError: nothing was ordered, or the source is not the product of this partition.
        """
        if self.source is None:
            order = order_of(instance, key)
            changed = order.model_copy(update=self._changes())
        else:
            changed = self._ordered_anew(self.source, key, find_order(instance, key))
        record_order(instance, changed)
        return changed

    def _changes(self) -> dict[str, object]:
        changes: dict[str, object] = {}
        if self.owner:
            changes["owner"] = valid_identifier("owner", self.owner)
        if self.collection:
            changes["target"] = TargetRule.parse(self.collection)
        return changes

    def _ordered_anew(self, source: str, key: str, former: Order | None) -> Order:
        owner = self.owner or (former.owner if former else "local")
        wishes = Wishes(
            owner=owner, default_owner=owner, assets=tuple(self.assets), schemes=tuple(self.schemes)
        )
        for order in orders_from(source, wishes):
            if key == order.item_id or (former is not None and former.item_id == order.item_id):
                target = former.target if former else TargetRule()
                return order.model_copy(update={"key": key, "target": target, **self._changes()})
        raise OrderError(
            source,
            f"it holds no product {key}",
            "Name a source of this partition's product, or order it anew.",
        )
