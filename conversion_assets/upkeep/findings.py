"""What is found that should not be there, or is missing: plain facts, for people and for mending."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from conversion_assets.resources.catalogue import CollectionSpec
from conversion_assets.resources.object_store import Kept, Shelf


class Kind(StrEnum):
    """What is wrong."""

    ITEM_WITHOUT_DATA = "item without data"
    DAMAGED_PRODUCT = "damaged product"
    DATA_WITHOUT_ITEM = "data without item"
    INCOMPLETE_PRODUCT = "incomplete product"
    DANGLING_LINK = "dangling link"
    SUPERSEDED = "superseded version"
    LEFT_BEHIND = "left behind"
    COPY_ELSEWHERE = "copy elsewhere"
    JOB_NOTE = "job note"
    NOTE_WITHOUT_PRODUCT = "note without product"
    PUBLISHED_SINCE = "in quarantine though published"
    OLD_EVIDENCE = "old evidence"


@dataclass(frozen=True)
class Finding:
    """One thing.

    Attributes:
        kind: what is wrong.
        subject: URI, path or id of what it is about.
        why: what makes it so.
        key: of the order, where one is known.
        spec: collection of one owner, of items and products.
        item_id: of the item, or of the one that a product would have.
        shelf: of a product.
        kept: what was left behind.
    """

    kind: Kind
    subject: str
    why: str
    key: str | None = None
    spec: CollectionSpec | None = None
    item_id: str = ""
    shelf: Shelf | None = None
    kept: Kept | None = None

    def told(self) -> dict[str, Any]:
        """Give it as JSON."""
        facts = {"kind": self.kind.value, "subject": self.subject, "why": self.why}
        return facts | ({"order": self.key} if self.key else {})


@dataclass(frozen=True)
class Findings:
    """Everything that was found.

    Attributes:
        found: one by one.
        foreign: how many items, products and copies are not ours, and were left alone.
        locks: how many files of locks have not been needed for long; they do no harm.
        specs: the collections of the catalogue.
    """

    found: tuple[Finding, ...]
    foreign: int = 0
    locks: int = 0
    specs: tuple[CollectionSpec, ...] = field(default=(), repr=False)

    def counts(self) -> dict[str, int]:
        """Tell how many there are of each kind."""
        kinds = [finding.kind for finding in self.found]
        return {kind.value: kinds.count(kind) for kind in Kind if kind in kinds}


@dataclass(frozen=True)
class Outcome:
    """What became of a finding.

    Attributes:
        finding: what was found.
        is_mended: whether it is no more, or is on its way.
        said: what was done, or why nothing was.
    """

    finding: Finding
    is_mended: bool
    said: str

    def told(self) -> dict[str, Any]:
        """Give it as JSON."""
        return self.finding.told() | {"mended": self.is_mended, "what became of it": self.said}
