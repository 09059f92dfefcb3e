"""Which items of the catalogue a person means, whichever it is; and what they tell of lost orders."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self

from shapely.errors import ShapelyError
from shapely.geometry import box, shape

from conversion_assets.criteria import EOPF_PART, CodeVersions, Criteria, DataVersions, Product, TimeRange
from conversion_assets.errors import ConversionAssetsError, OrderError
from conversion_assets.ordering import Wishes, orders_from
from conversion_assets.orders import Order, TargetRule, valid_identifier
from conversion_assets.resources.catalogue import Catalogue, CollectionSpec, Document
from conversion_assets.safe.product_types import product_type_of_name
from conversion_assets.selecting import History, link_of, match, name_of, select

BoundingBox = tuple[float, float, float, float]


@dataclass(frozen=True)
class CatalogueQuery:
    """What is asked of items.

    Attributes:
        collection: id of theirs.
        bbox: west, south, east, north in degrees, which their footprint touches; west > east crosses the
            antimeridian.
        time: when their acquisition starts; only narrows what a server searches.
        expression: CQL2 as text or JSON (https://docs.ogc.org/is/21-065r2/21-065r2.html).
    """

    collection: str | None = None
    bbox: BoundingBox | None = None
    time: TimeRange | None = None
    expression: str | None = None

    def found_in(self, catalogue: Catalogue) -> Iterator[Document]:
        """Give the items, superseded versions left out; the server searches where it can.

        Raises:
            OrderError: the catalogue cannot search by an expression, or does not know the collection.
            ConversionAssetsError: as ``Catalogue.items``.
        """
        if self.expression is not None:
            collections = self._collections(catalogue) if self.collection else ()
            found = catalogue.search(self._parameters(self.expression), collections)
        else:
            found = (item for spec in self._collections(catalogue) for item in catalogue.items(spec))
        for item in found:
            if not item["properties"].get("deprecated") and self._touches(item):
                yield item

    def _parameters(self, expression: str) -> dict[str, str]:
        language = "cql2-json" if expression.lstrip().startswith("{") else "cql2-text"
        given = {
            "bbox": ",".join(map(str, self.bbox)) if self.bbox else None,
            "datetime": self.time.interval() if self.time else None,
            "filter": expression,
            "filter-lang": language,
        }
        return {name: value for name, value in given.items() if value is not None}

    def _collections(self, catalogue: Catalogue) -> list[CollectionSpec]:
        known = list(catalogue.collections())
        chosen = [spec for spec in known if self.collection in (None, spec.id)]
        if not chosen and self.collection is not None:
            ids = ", ".join(sorted({spec.id for spec in known})) or "none"
            raise OrderError(
                f"collection {self.collection}", "the catalogue has none of this id", f"It has: {ids}."
            )
        return chosen

    def _touches(self, item: Document) -> bool:
        if self.bbox is None:
            return True
        west, south, east, north = self.bbox
        parts = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
        try:
            footprint = shape(item["geometry"])
            return any(footprint.intersects(box(left, south, right, north)) for left, right in parts)
        except (AttributeError, KeyError, TypeError, ValueError, ShapelyError):
            return False  # an item without a footprint is nowhere

    @classmethod
    def parse(
        cls, *, collection: str | None, bbox: str | None, time: TimeRange | None, expression: str | None
    ) -> Self:
        """Read what a person wrote.

        Raises:
            OrderError: the box or the expression is none.
        """
        if expression is not None:
            _require_expression(expression)
        return cls(collection, _parse_box(bbox) if bbox else None, time, expression)


def _parse_box(text: str) -> BoundingBox:
    try:
        west, south, east, north = map(float, text.split(","))
    except ValueError:
        raise _no_box(text) from None
    if not (abs(west) <= 180 and abs(east) <= 180 and -90 <= south <= north <= 90):  # noqa: PLR2004 - degrees
        raise _no_box(text)
    return west, south, east, north


def _no_box(text: str) -> OrderError:
    return OrderError(
        f"box {text!r}", "it is no box", "Write WEST,SOUTH,EAST,NORTH in degrees, such as 5.9,45.8,10.5,47.8."
    )


def _require_expression(text: str) -> None:
    try:
        if not text.strip() or (text.lstrip().startswith("{") and not isinstance(json.loads(text), dict)):
            raise ValueError  # noqa: TRY301 - told as what cannot be parsed
    except (ValueError, RecursionError):
        raise OrderError(
            "the catalogue query", "it is no CQL2", 'Write an expression such as "eo:cloud_cover < 20".'
        ) from None


@dataclass(frozen=True)
class Chosen:
    """What was found: orders that are known, and those that only the catalogue still tells of.

    Attributes:
        keys: of the known ones.
        lost: orders made anew.
        refusals: why there are not more.
    """

    keys: tuple[str, ...]
    lost: tuple[Order, ...] = ()
    refusals: tuple[str, ...] = ()

    @property
    def all_keys(self) -> tuple[str, ...]:
        """The keys of both, each once."""
        return tuple(dict.fromkeys((*self.keys, *(order.key for order in self.lost))))


def choose_published(
    items: Iterable[Document], history: History, criteria: Criteria, now: CodeVersions, wishes: Wishes
) -> Chosen:
    """Give the orders of published items that meet criteria.

    Args:
        items: of the catalogue.
        history: what is known of orders.
        criteria: what is asked.
        now: with what orders would be converted now.
        wishes: what holds for orders that have to be made anew.
    """
    matched = match(history, items)
    lost: list[Order] = []
    refusals: list[str] = []
    for item in matched.unknown:
        told = LostOrder.of(item, wishes.owner)
        if told is None:
            refusals.append(f"{item['id']}: it does not say where it came from")
        elif told.is_meant(criteria, now):
            try:
                lost.append(told.order(wishes))
            except ConversionAssetsError as error:
                refusals.append(f"{item['id']}: {error}")
    return Chosen(select(history, criteria, now, matched.keys), tuple(lost), tuple(refusals))


@dataclass(frozen=True)
class LostOrder:
    """What an item still tells of its order, which the history has lost.

    Attributes:
        source: where the product came from.
        owner: for whom it was.
        collection: into which collection.
        eopf: by which eopf it was converted, if the item says so.
    """

    source: str
    owner: str
    collection: str
    eopf: str | None

    @classmethod
    def of(cls, item: Mapping[str, Any], default_owner: str) -> Self | None:
        """Read an item; None where it does not say where it came from."""
        source, properties = link_of(item, "derived_from"), item["properties"]
        if source is None:
            return None
        software = properties.get("processing:software")
        eopf = software.get("eopf") if isinstance(software, dict) else None
        owner = str(properties.get("owner", default_owner))
        return cls(source, owner, str(item.get("collection")), str(eopf) if eopf else None)

    def is_meant(self, criteria: Criteria, now: CodeVersions) -> bool:
        """Tell whether it meets criteria, as far as an item can tell; what failed is not published."""
        versions = DataVersions(None, f"{EOPF_PART}{self.eopf or 0}")
        return (
            not criteria.failed
            and (criteria.older_than_eopf is None or versions.is_older_than(criteria.older_than_eopf))
            and (not criteria.stale or versions.is_stale(now))
            and criteria.fit(Product.named(name_of(self.source)))
        )

    def order(self, wishes: Wishes) -> Order:
        """Order the product again, as it was.

        Args:
            wishes: what holds for all orders; owner and target are replaced.

        Raises:
            ConversionAssetsError: as ``orders_from``.
        """
        wishes = replace(wishes, owner=self.owner, target=self._target())
        (order,) = orders_from(self.source, wishes)
        return order

    def _target(self) -> TargetRule:
        """Give the rule of the order: none where the collection is that of the product's type."""
        with suppress(OrderError):
            if product_type_of_name(name_of(self.source)).collection == self.collection:
                return TargetRule()
        return TargetRule(collection=valid_identifier("collection", self.collection))
