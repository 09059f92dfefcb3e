"""The notes beside the products: what each was made of, and which SAFE a name belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from pydantic import ValidationError

from conversion_assets.errors import OrderError
from conversion_assets.provenance import Provenance, name_and_number, stored_name


class Documents(Protocol):
    """Small documents by name, each replaced as a whole."""

    def names(self, kind: str) -> Iterator[str]:
        """Give the names of the documents of a kind, without the kind."""

    def read(self, name: str) -> bytes | None:
        """Give a document, None if there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Write a document."""

    def remove(self, name: str) -> None:
        """Remove a document, if there is one."""


class ProvenanceLedger:
    """The notes of one shelf.

    Args:
        documents: where the notes are kept.
        place: how a person calls the shelf.
    """

    def __init__(self, documents: Documents, place: str) -> None:
        self._documents = documents
        self._place = place

    def of_safe(self, safe_name: str) -> Iterator[Provenance]:
        """Give the notes of the products that were made of a SAFE and can be read, the latest first.

        The latest was perhaps never put in its place, or was removed.
        """
        latest = self._documents.read(f"inputs/{safe_name}")
        name, last = name_and_number(latest.decode()) if latest else ("", 0)
        for number in range(last, 0, -1):
            provenance = self.of_product(stored_name(name, number))
            if provenance and provenance.safe_name == safe_name:
                yield provenance

    def of_all(self) -> Iterator[Provenance]:
        """Give all notes that can be read."""
        for name in self._documents.names("products"):
            if note := self.of_product(name.removesuffix(".json")):
                yield note

    def of_product(self, stored_as: str) -> Provenance | None:
        """Give the note of a product by the name it is stored under, if it can be read."""
        note = self._documents.read(f"products/{stored_as}.json")
        try:
            return Provenance.model_validate_json(note) if note else None
        except ValidationError:  # of another version, or damaged: the product is converted again
            return None

    def forget(self, stored_as: str, *, is_last: bool) -> None:
        """Let a product be unknown, before its data go.

        Args:
            stored_as: name it is stored under.
            is_last: whether no other conversion of its name is stored.
        """
        note = self.of_product(stored_as)
        self._documents.remove(f"products/{stored_as}.json")
        if note is not None and is_last:
            self._documents.remove(f"inputs/{note.safe_name}")
            self._documents.remove(f"names/{note.name}")

    def enter(self, provenance: Provenance, *, name_is_taken: bool) -> None:
        """Claim the name of a product and note what it is made of, before it is put in its place.

        The note counts only with the root metadata whose digest it has, which are written last.

        Args:
            provenance: of the product.
            name_is_taken: whether a product of its name is stored, or what is left of one.

        Raises:
            OrderError: the name is taken by a product made of another SAFE.
        """
        claim = self._documents.read(f"names/{provenance.name}") if name_is_taken else None
        claimant = claim.decode() if claim else provenance.safe_name
        if claimant != provenance.safe_name:
            raise OrderError(
                f"{provenance.name}.zarr",
                f"the name is taken in {self._place} by the product made of {claimant}",
                "Order it into another collection with --collection.",
            )
        self._documents.write(f"names/{provenance.name}", provenance.safe_name.encode())
        note = provenance.model_dump_json(indent=1).encode()
        self._documents.write(f"products/{provenance.place}.json", note)
        self._documents.write(f"inputs/{provenance.safe_name}", provenance.place.encode())
