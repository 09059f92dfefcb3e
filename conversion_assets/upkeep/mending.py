"""What becomes of findings. Each is looked at once more, under the lock of those who could change it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from conversion_assets.errors import ConversionAssetsError
from conversion_assets.publishing import product_of, release_superseded
from conversion_assets.resources.catalogue import CollectionSpec, Document
from conversion_assets.resources.object_store import StoredProduct
from conversion_assets.stac.versions import (
    PREDECESSOR,
    earlier_version,
    linked_id,
    preceded_by,
    version_id,
    version_number,
)
from conversion_assets.upkeep.findings import Finding, Findings, Kind, Outcome
from conversion_assets.upkeep.surveying import House

WORKED_ON = "somebody works on it"
CHANGED = "it has changed since it was found"


class _LeftError(Exception):
    """A finding is left as it is; with the reason."""


def mend(house: House, findings: Findings, now: datetime, settle: timedelta) -> tuple[Outcome, ...]:
    """Put right what can be put right; killed anywhere, it is completed by repeating.

    A product whose order is known is converted again; an item whose data are gone for good goes, too; what
    nobody needs is removed. What others made, what somebody works on and what only a person can decide stays.

    Args:
        house: where.
        findings: of ``survey``, just now.
        now: with time zone.
        settle: as for ``survey``.
    """
    mending = _Mending(house, findings, now, now - settle)
    return tuple(mending.all())


@dataclass(frozen=True)
class _Mending:
    house: House
    findings: Findings
    now: datetime
    before: datetime

    def all(self) -> Iterator[Outcome]:
        """Mend one after the other; what fails is told and hinders nothing else."""
        again = [finding for finding in self.findings.found if self._is_to_be_converted(finding)]
        yield from self._together(again, self._converted_again)
        versions = [finding for finding in self.findings.found if self._is_to_be_released(finding)]
        yield from self._together(versions, self._released)
        rest = (finding for finding in self.findings.found if finding not in (*again, *versions))
        for finding in rest:
            yield from self._together([finding], self._mended)
        for path in self.house.store.unused_locks(self.before):
            self.house.store.discard_lock(path)

    def _together(self, findings: list[Finding], mended: Callable[[list[Finding]], str]) -> Iterator[Outcome]:
        try:
            said = mended(findings) if findings else ""
        except (ConversionAssetsError, _LeftError) as error:
            yield from (Outcome(finding, is_mended=False, said=str(error)) for finding in findings)
        else:
            yield from (Outcome(finding, is_mended=True, said=said) for finding in findings)

    # Products again.

    def _is_to_be_converted(self, finding: Finding) -> bool:
        is_item = finding.kind in (Kind.ITEM_WITHOUT_DATA, Kind.DAMAGED_PRODUCT)
        known = finding.key if is_item else None
        return known is not None and self.house.quarantine.find(known) is None

    def _converted_again(self, findings: list[Finding]) -> str:
        keys = dict.fromkeys(finding.key for finding in findings if finding.key)
        return f"it is converted again, in backfill {self.house.orders.convert_again(keys)}"

    # Earlier versions.

    def _is_to_be_released(self, finding: Finding) -> bool:
        is_lost = finding.kind is Kind.ITEM_WITHOUT_DATA and self._is_known_version(finding)
        return finding.kind is Kind.SUPERSEDED or is_lost

    def _is_known_version(self, finding: Finding) -> bool:
        item = self._item(finding)
        return item is not None and earlier_version(item) is not None and self._was_ours(item)

    def _released(self, findings: list[Finding]) -> str:
        lost = [finding.item_id for finding in findings if finding.kind is Kind.ITEM_WITHOUT_DATA]
        for spec in {finding.spec for finding in findings if finding.spec}:
            release_superseded(self.house.catalogue, self.house.store, spec, self.now, lost)
        return "it was released"

    # One by one.

    def _mended(self, findings: list[Finding]) -> str:
        (finding,) = findings
        by_kind: dict[Kind, Callable[[Finding], str]] = {
            Kind.ITEM_WITHOUT_DATA: self._item_without_data,
            Kind.DAMAGED_PRODUCT: self._damaged,
            Kind.DATA_WITHOUT_ITEM: self._product,
            Kind.INCOMPLETE_PRODUCT: self._product,
            Kind.DANGLING_LINK: self._link,
            Kind.LEFT_BEHIND: self._left_behind,
            Kind.COPY_ELSEWHERE: self._copy_elsewhere,
            Kind.JOB_NOTE: self._job_note,
            Kind.NOTE_WITHOUT_PRODUCT: self._note,
            Kind.PUBLISHED_SINCE: self._published_since,
            Kind.OLD_EVIDENCE: self._evidence,
        }
        return by_kind[finding.kind](finding)

    def _item_without_data(self, finding: Finding) -> str:
        """Take an item away whose product was ours, is gone, and of whose order nothing is known."""
        spec = _spec(finding)
        if finding.key is not None:
            raise _LeftError(f"its order is in quarantine: replay or drop {finding.key}")
        with self.house.store.publication_if_free(spec.owner, spec.id, finding.item_id) as is_ours:
            item = self._item(finding) if is_ours else None
            uri = product_of(item) if item else None
            if not is_ours or item is None or uri is None or self.house.is_readable(uri):
                raise _LeftError(CHANGED if is_ours else WORKED_ON)
            if not self._was_ours(item):
                raise _LeftError("nothing tells whether its product ever was here: a person has to")
            self.house.catalogue.remove(finding.item_id, spec)
        return "its order is not known: it was taken out of the catalogue"

    def _damaged(self, finding: Finding) -> str:
        if finding.key is not None:
            raise _LeftError(f"its order is in quarantine: replay or drop {finding.key}")
        raise _LeftError("its order is not known: a person has to decide")

    def _product(self, finding: Finding) -> str:
        """Remove a product that no item leads to, while nobody converts or publishes one in its place."""
        spec, store = _spec(finding), self.house.store
        note = store.provenance_of(finding.subject)
        shelf = store.shelf_at(finding.subject)
        with (
            store.publication_if_free(spec.owner, spec.id, finding.item_id) as nobody_publishes,
            store.conversion_if_free(shelf, note.safe_name if note else finding.item_id) as nobody_converts,
        ):
            if not (nobody_publishes and nobody_converts):
                raise _LeftError(WORKED_ON)
            self._remove_unlinked(finding.subject, spec)
            if not store.remove_product(finding.subject, only_if=lambda: self._is_needless(finding)):
                raise _LeftError(CHANGED)
        return "it was removed"

    def _remove_unlinked(self, uri: str, spec: CollectionSpec) -> None:
        """Remove what a killed publication or removal left of a product's item, which nobody finds."""
        for item in self.house.catalogue.unlinked(spec):
            if product_of(item) == uri:
                self.house.catalogue.remove(item["id"], spec)

    def _is_needless(self, finding: Finding) -> bool:
        products = self.house.store.products(self.house.store.shelf_at(finding.subject))
        product = next((one for one in products if one.uri == finding.subject), None)
        expecting = self.house.busy().union(record.key for record in self.house.quarantine.records())
        return (
            product is not None
            and self._is_as_found(product, finding)
            and finding.subject not in self.house.orders.products(expecting)
            and finding.subject not in map(product_of, self._family(finding))
        )

    def _is_as_found(self, product: StoredProduct, finding: Finding) -> bool:
        is_complete = finding.kind is Kind.DATA_WITHOUT_ITEM
        return product.changed < self.before and product.is_complete == is_complete

    def _family(self, finding: Finding) -> Iterator[Document]:
        """Give an item and its earlier versions, as they are now."""
        spec = _spec(finding)
        current = self.house.catalogue.find(finding.item_id, spec)
        if current is None:
            yield from (item for item in self.house.catalogue.items(spec) if _is_version_of(item, finding))
            return
        yield current
        for number in range(1, version_number(current)):
            item = self.house.catalogue.find(version_id(finding.item_id, number), spec)
            if item is not None:
                yield item

    def _link(self, finding: Finding) -> str:
        spec, item = _spec(finding), self._item(finding)
        version = earlier_version(item) if item else None
        current = version.current if version else finding.item_id
        with self.house.store.publication_if_free(spec.owner, spec.id, current) as is_ours:
            item = self._item(finding) if is_ours else None
            target = linked_id(item, PREDECESSOR) if item else None
            if item is None or target is None or self.house.catalogue.find(target, spec) is not None:
                stays = f"it goes on {version.expires:%Y-%m-%d}" if version else CHANGED
                raise _LeftError(stays if is_ours else WORKED_ON)
            self.house.catalogue.publish(preceded_by(item, None), spec)
        return "it links to no predecessor any more"

    def _left_behind(self, finding: Finding) -> str:
        kept = finding.kept
        if kept is None:
            raise _LeftError(CHANGED)
        self._in_turn(finding, lambda _: self.house.store.discard(kept))
        return "it was removed"

    def _copy_elsewhere(self, finding: Finding) -> str:
        order = self.house.orders.find(finding.key or "")
        if order is None:
            raise _LeftError(CHANGED)
        self._in_turn(finding, lambda _: self.house.staging.release(order))
        return "it was released"

    def _job_note(self, finding: Finding) -> str:
        def forget(key: str) -> None:
            for notes in self.house.job_notes():
                notes.forget(key)

        self._in_turn(finding, forget)
        return "it was forgotten"

    def _note(self, finding: Finding) -> str:
        shelf = finding.shelf
        notes = self.house.store.notes_without_product(shelf) if shelf else iter(())
        note = next((one for one in notes if one.place == finding.subject), None)
        if shelf is None or note is None or not self.house.store.forget_note(shelf, note):
            raise _LeftError(CHANGED)
        return "it was forgotten"

    def _published_since(self, finding: Finding) -> str:
        def resolve(key: str) -> None:
            self.house.quarantine.resolve(key)
            self.house.orders.tell_published(key)

        self._in_turn(finding, resolve)
        return "it was taken out of quarantine"

    def _evidence(self, finding: Finding) -> str:
        self._in_turn(finding, self.house.quarantine.discard_evidence)
        return "the copy was removed; the record stays"

    def _in_turn(self, finding: Finding, act: Callable[[str], object]) -> None:
        """Do something to what is kept for an order, unless something works on it."""
        key = finding.key or ""
        with self.house.store.turn_if_free(key) as is_ours:
            if not is_ours or key in self.house.busy():
                raise _LeftError(WORKED_ON)
            act(key)

    def _item(self, finding: Finding) -> Document | None:
        return self.house.catalogue.find(finding.item_id, _spec(finding))

    def _was_ours(self, item: Document) -> bool:
        """Tell by a note that its product was here; without one another store may be meant."""
        uri = product_of(item)
        return uri is not None and self.house.store.provenance_of(uri) is not None


def _spec(finding: Finding) -> CollectionSpec:
    if finding.spec is None:
        raise _LeftError(CHANGED)
    return finding.spec


def _is_version_of(item: Document, finding: Finding) -> bool:
    version = earlier_version(item)
    return version is not None and version.current == finding.item_id
