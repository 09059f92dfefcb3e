"""The notes beside the products: what each was made of, and which SAFE a name belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from pydantic import ValidationError

from conversion_assets.errors import OrderError
from conversion_assets.provenance import Provenance


class Documents(Protocol):
    """Small documents by name, each replaced as a whole."""

    def read(self, name: str) -> bytes | None:
        """Give a document, None if there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Write a document."""


class ProvenanceLedger:
    """The notes of one shelf.

    Args:
        documents: where the notes are kept.
        place: how a person calls the shelf.
    """

    def __init__(self, documents: Documents, place: str) -> None:
        self._documents = documents
        self._place = place

    def of_safe(self, safe_name: str) -> Provenance | None:
        """Give the note of the product that was made of a SAFE, if it can be read."""
        name = self._documents.read(f"inputs/{safe_name}")
        provenance = self.of_product(name.decode()) if name else None
        return provenance if provenance and provenance.safe_name == safe_name else None

    def of_product(self, name: str) -> Provenance | None:
        """Give the note of a product by its EOPF name, if it can be read."""
        note = self._documents.read(f"products/{name}.json")
        try:
            return Provenance.model_validate_json(note) if note else None
        except ValidationError:  # of another version, or damaged: the product is converted again
            return None

    def forget(self, name: str) -> None:
        """Let a product be unknown while it is replaced object by object, until it is noted anew."""
        self._documents.write(f"products/{name}.json", b"")

    @contextmanager
    def entering(self, provenance: Provenance, *, product_exists: bool) -> Iterator[None]:
        """Claim the name of a product, let the caller put it in its place, then note what it was made of.

        Args:
            provenance: of the product.
            product_exists: whether a product stands under this name now.

        Raises:
            OrderError: the name is taken by a product made of another SAFE.
        """
        claim = self._documents.read(f"names/{provenance.name}") if product_exists else None
        claimant = claim.decode() if claim else provenance.safe_name
        if claimant != provenance.safe_name:
            raise OrderError(
                f"{provenance.name}.zarr",
                f"the name is taken in {self._place} by the product made of {claimant}",
                "Order it into another collection with --collection.",
            )
        self._documents.write(f"names/{provenance.name}", provenance.safe_name.encode())
        yield
        self._documents.write(
            f"products/{provenance.name}.json", provenance.model_dump_json(indent=1).encode()
        )
        self._documents.write(f"inputs/{provenance.safe_name}", provenance.name.encode())
