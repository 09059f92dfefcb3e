"""Publication in versions: readers of a product lose nothing when it is converted again.

The item is replaced in one write, after what it was before has got a place of its own; that is taken away
when its time is over, and its product last. So is the item of an order that has moved to another collection,
or that eopf names otherwise by now.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from conversion_assets.errors import OrderError, PermanentError
from conversion_assets.orders import IDENTIFIER
from conversion_assets.provenance import name_and_number
from conversion_assets.resources.catalogue import Catalogue, CollectionSpec, Document
from conversion_assets.resources.object_store import PRODUCT_ENDING, ObjectStore
from conversion_assets.stac.assets import PRODUCT_KEY
from conversion_assets.stac.validation import validate_item
from conversion_assets.stac.versions import (
    PREDECESSOR,
    EarlierVersion,
    carried_over,
    earlier_version,
    linked_id,
    moved,
    preceded_by,
    self_href,
    succeeding,
    superseded,
    version_id,
    version_number,
)
from conversion_assets.zarr.product_folder import metadata_digest


@dataclass(frozen=True)
class Published:
    """An item as it was published.

    Attributes:
        item: what was sent: the described item with its version.
        href: where it is.
    """

    item: Document
    href: str


@dataclass(frozen=True)
class Released:
    """An earlier version that was taken away.

    Attributes:
        item_id: id it had, such as ``<id>.v1``.
        current: id of the item that took its place.
        product: URI of its product, where that went with it; None where another item needs the product, or
            it is none of the store.
    """

    item_id: str
    current: str
    product: str | None


def publish_version(
    item: Document,
    collection: CollectionSpec,
    catalogue: Catalogue,
    store: ObjectStore,
    keep_until: datetime,
    *,
    metadata_sha256: str | None = None,
) -> Published:
    """Publish the item of a product; a former product of the same item stays for a while.

    Killed anywhere and repeated, it comes to the same end.

    Args:
        item: the described item.
        collection: where it goes.
        catalogue: where readers find it.
        store: where its product is.
        keep_until: how long a version stays that this one supersedes.
        metadata_sha256: of the product that the item describes, see ``Provenance``; None if nobody knows.

    Raises:
        OrderError: the catalogue keeps an earlier version of another item under this id.
        PermanentError: the product is not there any more, or another is in its place; or as
            ``Catalogue.publish``.
        TransientError: as ``Catalogue.publish``.
    """
    place = _Place(catalogue, store, collection)
    with store.sole_publication(collection.owner, collection.id, item["id"]):
        place.require_product(item, metadata_sha256)
        sent = place.in_history(item, keep_until)
        validate_item(sent)
        return Published(sent, catalogue.publish(sent, collection))


def supersede_moved(
    former: str,
    successor: Document,
    collection: CollectionSpec,
    catalogue: Catalogue,
    store: ObjectStore,
    keep_until: datetime,
    *,
    is_wanted: Callable[[Document], bool] = lambda _: False,
) -> bool:
    """Let the item that an order had elsewhere, or under another id, lead to the one that it has now.

    eopf names a product by its attributes, too, so that another version of it, or an input that was mended,
    may give another name. The former item stays readable where it is, with its product, until
    ``release_superseded`` takes both away. Nothing happens where the order has the same item, where the
    former item leads to another product by now, and between owners.
    Killed anywhere and repeated, it comes to the same end.

    Args:
        former: URI of the product that the order had published before.
        successor: the published item, as ``Catalogue.read`` gives it.
        collection: where that is.
        catalogue: where both items are.
        store: where both products are.
        keep_until: how long the former item stays.
        is_wanted: tells of the former item whether another order has published it, too.

    Returns:
        Whether the former item was changed.

    Raises:
        ConversionAssetsError: as the catalogue.
    """
    shelf = None
    with suppress(PermanentError):
        shelf = store.shelf_at(former)
    if shelf is None or shelf.owner != collection.owner:
        return False
    if shelf.collection == collection.id and _item_id(store, former) == successor["id"]:
        return False
    before = CollectionSpec(shelf.owner, shelf.collection, shelf.collection)
    return _Place(catalogue, store, before).give_way(former, successor, keep_until, is_wanted)


def release_superseded(
    catalogue: Catalogue,
    store: ObjectStore,
    collection: CollectionSpec,
    now: datetime,
    lost: Collection[str] = (),
) -> tuple[Released, ...]:
    """Take away the earlier versions in a collection whose time is over, and their products.

    What links to one of them is replaced first, so that no link leads nowhere at any instant. Killed
    anywhere, it is completed by repeating; a product that is left then is without an item.

    Args:
        catalogue: where the items are.
        store: where their products are.
        collection: of one owner, or of several, as ``Catalogue.collections`` gives it.
        now: with time zone.
        lost: ids of earlier versions whose products are gone; they go before their time.

    Raises:
        ConversionAssetsError: as catalogue and store.
    """
    families: dict[tuple[str, str], list[EarlierVersion]] = {}
    for item in catalogue.items(collection):
        version, owner = earlier_version(item), collection.owner or str(item["properties"].get("owner"))
        if version and IDENTIFIER.fullmatch(owner):
            families.setdefault((owner, version.current), []).append(version)
    return tuple(
        released
        for (owner, current), versions in families.items()
        if any(_is_over(version, now, lost) for version in versions)
        for released in _Place(catalogue, store, replace(collection, owner=owner)).release(
            current, sorted(version.number for version in versions if not version.has_moved), now, lost
        )
    )


@dataclass(frozen=True)
class _Place:
    """Where items of one owner's collection are published, and where their products are.

    Attributes:
        catalogue: see ``publish_version``.
        store: see ``publish_version``.
        collection: see ``publish_version``.
    """

    catalogue: Catalogue
    store: ObjectStore
    collection: CollectionSpec

    def require_product(self, item: Document, described: str | None) -> None:
        """Refuse an item whose product has been released meanwhile, or is not the one it describes."""
        found = self._digest(item["id"], product_of(item))
        if found is None:
            raise PermanentError(
                f"item {item['id']}",
                f"its product {product_of(item)} is not there, or is not of this item",
                "Materialize from staged_safe_item on, so that it is converted again.",
            )
        if described not in (None, found):
            raise PermanentError(
                f"item {item['id']}",
                f"another product stands at {product_of(item)} since the item was described",
                "Materialize stac_item again, then published_item.",
            )

    def in_history(self, item: Document, keep_until: datetime) -> Document:
        """Give an item its version, and set aside what it was before, if that was another product."""
        current = self.catalogue.find(item["id"], self.collection)
        if current is None:
            return item
        known = earlier_version(current)
        if known and not known.has_moved:
            raise OrderError(
                f"item {item['id']}",
                f"the catalogue keeps an earlier version of {known.current} under this id",
                "Order it into another collection.",
            )
        former = product_of(current)
        if former == product_of(item) or self._digest(item["id"], former) is None:
            return carried_over(item, current)
        number = self._number_of(current)
        aside = self._published(superseded(current, number, self_href(current), keep_until))
        return succeeding(item, number + 1, aside)

    def release(
        self, current: str, numbers: Iterable[int], now: datetime, lost: Collection[str]
    ) -> Iterator[Released]:
        """Take away the earlier versions of an item whose time is over, the oldest first."""
        with self.store.sole_publication(self.collection.owner, self.collection.id, current):
            ids = [*(version_id(current, number) for number in numbers), current]
            family = {one: item for one in ids if (item := self.catalogue.find(one, self.collection))}
            for old in list(family.values()):
                version = earlier_version(old)
                if version and _is_over(version, now, lost) and self._may_go(version, old, family):
                    del family[old["id"]]
                    self._unlink(old, family)
                    self.catalogue.remove(old["id"], self.collection)
                    yield Released(old["id"], current, self._removed_product(current, old, family))

    def give_way(
        self, former: str, successor: Document, keep_until: datetime, is_wanted: Callable[[Document], bool]
    ) -> bool:
        """Let the item of a product lead to another one, if it still is the item of that product."""
        item_id = _item_id(self.store, former)
        with self.store.sole_publication(self.collection.owner, self.collection.id, item_id):
            item = self.catalogue.find(item_id, self.collection)
            if item is None or product_of(item) != former or earlier_version(item) or is_wanted(item):
                return False
            self._published(moved(item, version_number(item), self_href(successor), keep_until))
            return True

    def _may_go(self, version: EarlierVersion, old: Document, family: dict[str, Document]) -> bool:
        """Say whether a version may be taken away: one that has moved is the last to go, and must be ours."""
        if not version.has_moved:
            return True
        uri, others = product_of(old), (item for name, item in family.items() if name != old["id"])
        return (uri is None or self._belongs(version.current, uri)) and not any(map(earlier_version, others))

    def _number_of(self, current: Document) -> int:
        """Give the version of the current item: its own, unless something else has the id of that version."""
        number = version_number(current)
        while there := self.catalogue.find(version_id(current["id"], number), self.collection):
            if earlier_version(there) and product_of(there) == product_of(current):
                return number  # an interrupted publication left it
            number += 1
        return number

    def _unlink(self, old: Document, family: dict[str, Document]) -> None:
        """Let what links to a version link to the one before it, if there is one."""
        before = family.get(linked_id(old, PREDECESSOR) or "")
        for item_id, item in family.items():
            if linked_id(item, PREDECESSOR) == old["id"]:
                family[item_id] = self._published(preceded_by(item, before))

    def _removed_product(self, current: str, old: Document, family: dict[str, Document]) -> str | None:
        uri = product_of(old)
        if uri is None or uri in map(product_of, family.values()) or not self._belongs(current, uri):
            return None
        self.store.remove_product(uri)
        return uri

    def _published(self, item: Document) -> Document:
        return self.catalogue.read(self.catalogue.publish(item, self.collection))

    def _belongs(self, item_id: str, uri: str) -> bool:
        """Say whether a product is ours and of this item: others may write to the catalogue, too."""
        try:
            shelf = self.store.shelf_at(uri)
        except PermanentError:
            return False
        of_shelf, of_item = (shelf.owner, shelf.collection), (self.collection.owner, self.collection.id)
        return of_shelf == of_item and _item_id(self.store, uri) == item_id

    def _digest(self, item_id: str, uri: str | None) -> str | None:
        """Give the digest of a product's metadata; None where no product of this item can be opened."""
        if uri is None or not self._belongs(item_id, uri):
            return None
        try:
            return metadata_digest(self.store.open_product(uri))
        except FileNotFoundError:
            return None


def _is_over(version: EarlierVersion, now: datetime, lost: Collection[str]) -> bool:
    return version.expires < now or version.item_id in lost


def _item_id(store: ObjectStore, uri: str) -> str:
    """Give the id of the item that a product has."""
    return name_and_number(store.open_product(uri).name.removesuffix(PRODUCT_ENDING))[0]


def product_of(item: Document) -> str | None:
    """Give the URI of the product that an item leads to; None where it leads to none."""
    href = item["assets"].get(PRODUCT_KEY, {}).get("href")
    return href if isinstance(href, str) else None
