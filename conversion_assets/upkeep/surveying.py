"""Catalogue, store and this machine compared: what is missing, and what is left behind.

Nothing is changed here, and nothing counts that something works on, or that is younger than the time in which
things settle.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

from conversion_assets.errors import PermanentError
from conversion_assets.orders import IDENTIFIER
from conversion_assets.provenance import name_and_number
from conversion_assets.publishing import product_of
from conversion_assets.resources.bucket_rules import BucketRules
from conversion_assets.resources.catalogue import Catalogue, CollectionSpec, Document
from conversion_assets.resources.job_notes import JobNotes
from conversion_assets.resources.object_store import (
    PRODUCT_ENDING,
    Kept,
    KeptFor,
    ObjectStore,
    Shelf,
    StoredProduct,
)
from conversion_assets.resources.quarantine import Quarantine, QuarantineStatus
from conversion_assets.resources.staging import Staging
from conversion_assets.stac.versions import VERSION_LINKS, earlier_version, linked_id, self_href
from conversion_assets.upkeep.findings import Finding, Findings, Kind
from conversion_assets.upkeep.live_orders import LiveOrders
from conversion_assets.zarr.product_folder import CONSOLIDATED_METADATA, metadata_digest

EOPF_NAME = re.compile(r"S0[1-9][A-Z0-9_]{4,10}_\d{8}T\d{6}_[A-Za-z0-9_]+")
SOFTWARE = "processing:software"


@dataclass(frozen=True)
class House:
    """Everything that is to be in order.

    Attributes:
        catalogue: where items are.
        store: where products are, and what is kept for orders on this machine.
        staging: who keeps copies elsewhere.
        quarantine: of orders that failed for good.
        bucket_rules: name the buckets to look into.
        orders: what is known of orders.
    """

    catalogue: Catalogue
    store: ObjectStore
    staging: Staging
    quarantine: Quarantine
    bucket_rules: BucketRules
    orders: LiveOrders

    def busy(self) -> frozenset[str]:
        """Give the keys of orders that something works on, or will by itself."""
        replayed = (one.key for one in self.quarantine.records() if one.status is QuarantineStatus.REPLAYED)
        return self.orders.active().union(replayed)

    def job_notes(self) -> Iterator[JobNotes]:
        """Give the notes of each service that works for us."""
        for folder in Path(self.store.root, "jobs").glob("*/"):
            yield JobNotes(folder)

    def is_readable(self, uri: str) -> bool:
        """Tell whether a product can be opened."""
        try:
            self.store.open_product(uri).read(CONSOLIDATED_METADATA)
        except FileNotFoundError:
            return False
        return True

    def is_damaged(self, uri: str) -> bool:
        """Tell whether a product has not the metadata it was converted with."""
        note = self.store.provenance_of(uri)
        return note is not None and metadata_digest(self.store.open_product(uri)) != note.metadata_sha256


@dataclass
class Family:
    """What the catalogue has in one owner's collection.

    Attributes:
        spec: of the owner.
        ids: of all items.
        products: id of the item, by the URI of its product; of ours only.
        linking: items of ours with links to other versions.
    """

    spec: CollectionSpec
    ids: set[str] = field(default_factory=set)
    products: dict[str, str] = field(default_factory=dict)
    linking: list[Document] = field(default_factory=list)


def survey(house: House, now: datetime, settle: timedelta, *, is_deep: bool = False) -> Findings:
    """Look for everything that should not be there, or is missing.

    Args:
        house: where to look.
        now: with time zone.
        settle: what changed within it is left alone.
        is_deep: compare the metadata of each product with those it was converted with.

    Raises:
        ConversionAssetsError: as what is looked into.
    """
    looking = _Survey(house, now, now - settle, is_deep=is_deep)
    found = tuple(looking.all())
    locks = sum(1 for _ in house.store.unused_locks(now - settle))
    return Findings(found, looking.foreign, locks, looking.specs)


@dataclass
class _Survey:
    house: House
    now: datetime
    before: datetime
    is_deep: bool
    foreign: int = 0

    def all(self) -> Iterator[Finding]:
        yield from self._catalogue()
        for shelf in sorted(self._shelves, key=str):
            yield from self._shelf(shelf)
        yield from self._machine()
        yield from self._quarantine()

    @cached_property
    def specs(self) -> tuple[CollectionSpec, ...]:
        return tuple(self.house.catalogue.collections())

    @cached_property
    def _busy(self) -> frozenset[str]:
        return self.house.busy()

    @cached_property
    def _quarantined(self) -> frozenset[str]:
        return frozenset(record.key for record in self.house.quarantine.records())

    @cached_property
    def _expected(self) -> frozenset[str]:
        """Give products whose items are still to be published."""
        return self.house.orders.products(self._busy | self._quarantined)

    @cached_property
    def _families(self) -> dict[tuple[str, str], Family]:
        return {}

    @cached_property
    def _shelves(self) -> set[Shelf]:
        store, buckets = self.house.store, self.house.bucket_rules.buckets()
        uris = [uri for family in self._families.values() for uri in family.products]
        known = {store.shelf_at(uri) for uri in uris}
        buckets |= {shelf.bucket for shelf in known}
        return known | set(store.shelves()) | set(store.shelves(buckets))

    # The catalogue.

    def _catalogue(self) -> Iterator[Finding]:
        for spec in self.specs:
            for item in self.house.catalogue.items(spec):
                yield from self._item(item, spec)
        for family in self._families.values():
            yield from self._links(family)

    def _item(self, item: Document, spec: CollectionSpec) -> Iterator[Finding]:
        owner = spec.owner or str(item["properties"].get("owner"))
        if not IDENTIFIER.fullmatch(owner):
            self.foreign += 1
            return
        family = self._families.setdefault((owner, spec.id), Family(replace(spec, owner=owner)))
        family.ids.add(item["id"])
        version, uri = earlier_version(item), product_of(item)
        is_half_removed = version is not None and uri is None
        if not _is_eopf(item) or not (is_half_removed or self._is_ours(item, uri, family.spec)):
            self.foreign += 1
            return
        if uri is not None:
            family.products[uri] = item["id"]
        if version is not None and version.expires < self.now:
            why = f"its time was over on {version.expires:%Y-%m-%d}"
            yield Finding(Kind.SUPERSEDED, self_href(item), why, spec=family.spec, item_id=item["id"])
        elif VERSION_LINKS & {link.get("rel") for link in item["links"]}:
            family.linking.append({**item, "assets": {}, "geometry": None})

    def _is_ours(self, item: Document, uri: str | None, spec: CollectionSpec) -> bool:
        """Tell whether an item leads to a product of ours that is its own."""
        shelf = self._shelf_at(uri)
        if uri is None or shelf is None or (shelf.owner, shelf.collection) != (spec.owner, spec.id):
            return False
        version = earlier_version(item)
        return _item_id(uri) == (version.current if version else item["id"])

    def _shelf_at(self, uri: str | None) -> Shelf | None:
        with suppress(PermanentError):
            return self.house.store.shelf_at(uri) if uri else None
        return None

    def _links(self, family: Family) -> Iterator[Finding]:
        for item in family.linking:
            lost = {
                rel: target
                for rel in sorted(VERSION_LINKS)
                if (target := linked_id(item, rel)) is not None and target not in family.ids
            }
            for rel, target in lost.items():
                if self.house.catalogue.find(target, family.spec) is None:
                    why = f"its {rel} {target} is not in the catalogue"
                    yield Finding(
                        Kind.DANGLING_LINK, self_href(item), why, spec=family.spec, item_id=item["id"]
                    )

    # The store.

    def _shelf(self, shelf: Shelf) -> Iterator[Finding]:
        known = self._families.get((shelf.owner, shelf.collection))
        family = known or Family(CollectionSpec(shelf.owner, shelf.collection, shelf.collection))
        stored = {product.uri: product for product in self.house.store.products(shelf)}
        for uri, item_id in family.products.items():
            if self._shelf_at(uri) == shelf:
                yield from self._published(uri, item_id, stored.get(uri), family.spec)
        for uri, product in stored.items():
            if uri not in family.products:
                yield from self._unpublished(product, shelf, family.spec)
        for note in self.house.store.notes_without_product(shelf):
            uri = f"{note.place}{PRODUCT_ENDING}"
            is_needed = any(one.endswith(f"/{uri}") for one in (*family.products, *self._expected))
            if note.converted < self.before and not is_needed:
                why = "there is no such product"
                yield Finding(Kind.NOTE_WITHOUT_PRODUCT, note.place, why, shelf=shelf)

    def _published(
        self, uri: str, item_id: str, product: StoredProduct | None, spec: CollectionSpec
    ) -> Iterator[Finding]:
        is_whole = product is not None and product.is_complete
        if is_whole and not (self.is_deep and self.house.is_damaged(uri)):
            return
        kind = Kind.DAMAGED_PRODUCT if is_whole else Kind.ITEM_WITHOUT_DATA
        item = self.house.catalogue.find(item_id, spec)
        if item is None or product_of(item) != uri or (not is_whole and self.house.is_readable(uri)):
            return  # replaced or released since it was listed
        key = None if earlier_version(item) else self.house.orders.key_of(item)
        if key in self._busy:
            return
        why = "its metadata are not those it was converted with" if is_whole else f"there is no {uri}"
        if not is_whole and self._has_expired(uri, item):
            key, why = None, f"{why}, which the bucket rules keep no longer"
        subject = uri if is_whole else self_href(item)
        shelf = self.house.store.shelf_at(uri)
        yield Finding(kind, subject, why, key=key, spec=spec, item_id=item_id, shelf=shelf)

    def _has_expired(self, uri: str, item: Document) -> bool:
        """Tell whether a product was older than the bucket rules let it be: then S3 may have removed it."""
        note, shelf = self.house.store.provenance_of(uri), self.house.store.shelf_at(uri)
        product_type = str(item["properties"].get("product:type"))
        with suppress(PermanentError):  # no rule is for it
            rule = self.house.bucket_rules.rule_for(shelf.owner, shelf.collection, product_type)
            return note is not None and note.converted + timedelta(days=rule.expiration_days) <= self.now
        return False

    def _unpublished(self, product: StoredProduct, shelf: Shelf, spec: CollectionSpec) -> Iterator[Finding]:
        note, item_id = self.house.store.provenance_of(product.uri), _item_id(product.uri)
        is_rest = not product.is_complete and EOPF_NAME.fullmatch(item_id)
        if note is None and not is_rest:
            self.foreign += 1
        elif product.changed < self.before and product.uri not in self._expected:
            kind = Kind.DATA_WITHOUT_ITEM if product.is_complete else Kind.INCOMPLETE_PRODUCT
            why = "no item leads to it" if product.is_complete else "it has no root metadata"
            yield Finding(kind, product.uri, why, spec=spec, item_id=item_id, shelf=shelf)

    # This machine, and what is kept elsewhere.

    def _machine(self) -> Iterator[Finding]:
        for kept in self.house.store.kept(self._shelves):
            if self._is_stale(kept):
                why = f"{kept.kind.value}, unchanged since {kept.changed:%Y-%m-%d}, and nothing works on it"
                yield Finding(Kind.LEFT_BEHIND, kept.place, why, key=kept.key, kept=kept)
        for kept in self.house.staging.kept():
            if self.house.orders.find(kept.key) is None:
                self.foreign += 1
            elif self._is_stale(kept):
                why = f"unchanged since {kept.changed:%Y-%m-%d}, and nothing works on it"
                yield Finding(Kind.COPY_ELSEWHERE, kept.place, why, key=kept.key)
        for key, submitted in self._noted_jobs():
            if submitted < self.before and key not in self._busy | self._quarantined:
                why = f"submitted on {submitted:%Y-%m-%d}, and nobody waits for it"
                yield Finding(Kind.JOB_NOTE, key, why, key=key)

    def _noted_jobs(self) -> Iterable[tuple[str, datetime]]:
        for notes in self.house.job_notes():
            for key, note in notes.all():
                yield key, note.submitted

    def _is_stale(self, kept: Kept) -> bool:
        """Tell whether nobody needs something any more; a quarantined order goes on with its copy."""
        needing = self._quarantined if kept.kind is KeptFor.STAGING else frozenset()
        return kept.changed < self.before and kept.key not in self._busy | needing

    def _quarantine(self) -> Iterator[Finding]:
        for record in self.house.quarantine.records():
            published = self.house.orders.published(record.key)
            if published is not None and published > record.when and record.key not in self._busy:
                why = f"published on {published:%Y-%m-%d}, after it failed"
                yield Finding(Kind.PUBLISHED_SINCE, record.key, why, key=record.key)
        for key in self.house.quarantine.evidence_expired(self.now):
            yield Finding(Kind.OLD_EVIDENCE, key, "it has been kept long enough", key=key)


def _is_eopf(item: Document) -> bool:
    software = item["properties"].get(SOFTWARE)
    return isinstance(software, dict) and "eopf" in software


def _item_id(uri: str) -> str:
    """Give the id of the item that a product has or would have."""
    return name_and_number(uri.rpartition("/")[2].removesuffix(PRODUCT_ENDING))[0]
