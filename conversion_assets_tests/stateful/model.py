"""What the platform should be, in a few dictionaries."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from conversion_assets.orders import Order
from conversion_assets_tests.stateful.line import PUBLISH
from conversion_assets_tests.stateful.sight import Family, ItemPlace, SeenProduct, Sight
from conversion_assets_tests.stateful.sources import Content

ALL_STEPS = PUBLISH + 1


@dataclass
class OrderState:
    """How far an order is.

    Attributes:
        order: as it was ordered last.
        name: of the product.
        done: how many steps of the line are done.
        staged: what was staged.
        reconvert: whether it is to be converted again.
        was_interrupted: whether somebody broke it off since it was converted last.
        keeps_nothing: whether it is published, refused or given up: nothing may be left of its input.
    """

    order: Order
    name: str
    done: int = 0
    staged: Content | None = None
    reconvert: bool = False
    was_interrupted: bool = False
    keeps_nothing: bool = True

    @property
    def key(self) -> str:
        """Its partition key."""
        return self.order.key

    @property
    def next_step(self) -> int:
        """The step to be done next; a finished order begins anew."""
        return self.done % ALL_STEPS


@dataclass(frozen=True)
class Entry:
    """An item of the catalogue.

    Attributes:
        product: what it leads to.
        number: its version.
        is_superseded: whether another one took its place.
    """

    product: Path
    number: int
    is_superseded: bool = False


Entries = dict[ItemPlace, Entry]


@dataclass
class Model:
    """What there should be.

    Attributes:
        orders: by key.
        entries: the items.
        products: the products, which nobody changes once they are there.
        made_of: name of the SAFE of each product.
        quarantined: classes of the orders in quarantine.
        lost_products: those that a stranger removed.
        lost_items: those that a stranger removed.
        disturbed: families in which a stranger removed something.
        half_removed: products whose removal was broken off.
    """

    orders: dict[str, OrderState] = field(default_factory=dict)
    entries: Entries = field(default_factory=dict)
    products: dict[Path, SeenProduct] = field(default_factory=dict)
    made_of: dict[Path, str] = field(default_factory=dict)
    quarantined: dict[str, str] = field(default_factory=dict)
    lost_products: set[Path] = field(default_factory=set)
    lost_items: set[ItemPlace] = field(default_factory=set)
    disturbed: set[Family] = field(default_factory=set)
    half_removed: set[Path] = field(default_factory=set)

    def stands(self, product: Path) -> bool:
        """Say whether a product is there and can be opened."""
        return product in self.products and self.products[product].eopf is not None

    def is_recorded(self, product: Path, digest: str) -> bool:
        """Say whether a product is there that has not taken the place of another one, which was lost."""
        return self.stands(product) and self.products[product].digest == digest

    def is_taken(self, owner: str, collection: str, eopf_name: str, safe: str) -> bool:
        """Say whether the place of a product is that of another SAFE's."""
        return any(
            made_of != safe
            for product, made_of in self.made_of.items()
            if product in self.products
            and product.parts[-3:-1] == (owner, collection)
            and product.name.partition(".")[0] == eopf_name
        )

    def publications(self, family: Family, product: Path, entries: Entries) -> Iterator[Entries]:
        """Give what the catalogue may hold while an item is published, and at last when it is."""
        yield entries
        place = ItemPlace(family, family.name)
        current = entries.get(place)
        if current is None:
            yield entries | {place: Entry(product, 1)}
        elif current.product == product or not self.stands(current.product):
            yield entries | {place: Entry(product, current.number)}
        else:
            number = _number_of(family, current, entries)
            aside = ItemPlace(family, f"{family.name}.v{number}")
            kept = entries | {aside: Entry(current.product, number, is_superseded=True)}
            yield kept
            yield kept | {place: Entry(product, number + 1)}

    def _is_partial(self, product: Path) -> bool:
        return product in self.products and self.products[product].eopf is None

    def adopt(self, sight: Sight, made_of: Collection[str] = ()) -> None:
        """Take what is seen for what there should be; it was compared before.

        Args:
            sight: what is seen.
            made_of: name of the SAFE of which new products can be.
        """
        for product, seen in sight.products.items():
            if seen != self.products.get(product) and seen.eopf is not None:
                (self.made_of[product],) = made_of
        self.entries = entries_of(sight)
        self.products = dict(sight.products)
        self.quarantined = dict(sight.quarantined)
        self.lost_products -= set(self.products)
        self.lost_items -= set(self.entries)
        self.half_removed = {product for product in self.half_removed if self._is_partial(product)}


def _number_of(family: Family, current: Entry, entries: Entries) -> int:
    number = current.number
    while there := entries.get(ItemPlace(family, f"{family.name}.v{number}")):
        if there.product == current.product:
            return number
        number += 1
    return number


def without(entries: Entries, places: Collection[ItemPlace]) -> Entries:
    """Give the entries that are left when some are released."""
    return {place: entry for place, entry in entries.items() if place not in places}


def unneeded(before: Entries, after: Entries) -> set[Path]:
    """Give the products to which no item of the same family leads any more."""
    kept = {(place.family, entry.product) for place, entry in after.items()}
    return {entry.product for place, entry in before.items() if (place.family, entry.product) not in kept}


def entries_of(sight: Sight) -> Entries:
    """Give the items as the model has them."""
    return {
        place: Entry(item.product, item.number, is_superseded=item.expires is not None)
        for place, item in sight.items.items()
    }
