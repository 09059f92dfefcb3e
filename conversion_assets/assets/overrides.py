"""Run configuration of the first asset: another source or target than what was ordered."""

from __future__ import annotations

import dagster as dg
from pydantic import Field

from conversion_assets.errors import OrderError
from conversion_assets.ordering import Wishes, orders_from
from conversion_assets.orders import Order, TargetRule, valid_identifier
from conversion_assets.partitions import find_order, order_of, record_order
from conversion_assets.resources.order_defaults import OrderDefaults


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
    assets: list[str] = Field(
        default=[], description="Keys of the assets to take, where the source is a STAC document."
    )

    def applied(self, instance: dg.DagsterInstance, key: str, defaults: OrderDefaults) -> Order:
        """Give the order of a partition, with the overrides applied and remembered.

        Raises:
            OrderError: nothing was ordered, or the source is not the product of this partition.
        """
        if self.source is None:
            self._refuse_assets_alone(key)
            changed = order_of(instance, key).model_copy(update=self._changes(defaults))
        else:
            changed = self._ordered_anew(self.source, key, find_order(instance, key), defaults)
        record_order(instance, changed)
        return changed

    def _refuse_assets_alone(self, key: str) -> None:
        if self.assets:
            raise OrderError(
                f"run configuration of {key}",
                "assets are chosen from a STAC document, and no source is named",
                "Name the document as source, too.",
            )

    def _changes(self, defaults: OrderDefaults) -> dict[str, object]:
        changes: dict[str, object] = {}
        if self.owner:
            changes["owner"] = valid_identifier("owner", self.owner)
        if self.collection:
            changes["target"] = TargetRule.parse(self.collection, defaults.type_names)
        return changes

    def _ordered_anew(self, source: str, key: str, former: Order | None, defaults: OrderDefaults) -> Order:
        owner = self.owner or (former.owner if former else defaults.owner)
        wishes = Wishes(
            owner=owner,
            default_owner=owner,
            assets=tuple(self.assets),
            rules=defaults.rules,
            credentials=defaults.credentials,
        )
        for order in orders_from(source, wishes):
            if key == order.item_id or (former is not None and former.item_id == order.item_id):
                target = former.target if former else TargetRule()
                return order.model_copy(update={"key": key, "target": target, **self._changes(defaults)})
        raise OrderError(
            source,
            f"it holds no product {key}",
            "Name a source of this partition's product, or order it anew.",
        )
