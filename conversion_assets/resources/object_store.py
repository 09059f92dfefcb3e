"""Where products live: staging, the workspace of a conversion, and the products that readers see."""

from __future__ import annotations

import fcntl
import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

import dagster as dg
from pydantic import BaseModel, ConfigDict

from conversion_assets.errors import OrderError, PoisonedInputError
from conversion_assets.orders import valid_identifier, valid_key
from conversion_assets.provenance import Provenance, name_and_number, stored_name
from conversion_assets.resources.provenance_ledger import ProvenanceLedger
from conversion_assets.run_marks import mark_run
from conversion_assets.zarr.conversion import Workspace
from conversion_assets.zarr.product_folder import CONSOLIDATED_METADATA, ProductFolder, metadata_digest

LOG = logging.getLogger(__name__)
Progress = Callable[[str], None]

PRODUCT_ENDING = ".zarr"
ROOT_METADATA = (CONSOLIDATED_METADATA, ".zgroup", ".zattrs")
"""What somebody needs to open a product, in the order in which it is looked for."""
WAIT_FOR_ORDER = "another run works on this order; waiting for it"
WAIT_FOR_PRODUCT = "another order works on this product; waiting for it"
WAIT_FOR_ITEM = "another process publishes or releases versions of this item; waiting for it"


class Shelf(BaseModel):
    """The place of one owner's collection: all its products lie side by side.

    Attributes:
        bucket: bucket, or the folder that stands for one.
        owner: whose products.
        collection: STAC collection id.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bucket: str
    owner: str
    collection: str


@dataclass(frozen=True)
class StoredProduct:
    """A product on a shelf, as a listing shows it.

    Attributes:
        uri: where it is.
        name: name of its folder, with ``.zarr``.
        changed: when its root metadata were written, or what is left of it; in UTC.
        is_complete: whether it has its root metadata, without which nobody opens it.
    """

    uri: str
    name: str
    changed: datetime
    is_complete: bool


class ObjectStore(dg.ConfigurableResource, ABC):  # type: ignore[type-arg] # the resource provides itself
    """Stores products; staged copies and scratch lie in local folders, whatever it is.

    Below ``root``: ``staging/<key>``, ``scratch/<key>`` and ``locks``.

    Attributes:
        root: local folder, the same for all runs.
    """

    root: str

    @abstractmethod
    def workspace(self, shelf: Shelf, key: str, safe: Path, *, keep: bool = False) -> Workspace:
        """Give the hidden place from which a product can be promoted to ``shelf``.

        Args:
            shelf: where the product goes.
            key: of the order.
            safe: the verified SAFE folder that is converted.
            keep: leave what an interrupted conversion wrote there, for one that is still going on.
        """

    def promote(self, product: ProductFolder, shelf: Shelf, provenance: Provenance) -> str:
        """Make a verified product visible and remember its provenance.

        Earlier conversions of the same SAFE stay as they are: this one is put beside them, under the name
        that ``stored_name`` gives. What an interrupted promotion left is taken over.

        Args:
            product: the complete product in the workspace.
            shelf: where it goes.
            provenance: what it was made of.

        Returns:
            URI of the product.

        Raises:
            OrderError: the name is taken by a product made of another SAFE.
        """
        with self._sole_name(shelf, provenance.name):
            numbers = self._numbers(shelf, provenance.name)
            latest = max(numbers, default=0)
            is_complete = latest > 0 and self._is_complete(shelf, stored_name(provenance.name, latest))
            place = stored_name(provenance.name, latest + 1 if is_complete or not latest else latest)
            kept = provenance.model_copy(update={"stored_as": None if place == provenance.name else place})
            self._ledger(shelf).enter(kept, name_is_taken=latest > 0)
            self._put(product, shelf, place)
        return self._uri(shelf, place)

    def find(self, shelf: Shelf, safe_name: str) -> tuple[str, Provenance] | None:
        """Find the latest stored product that was made of a SAFE and is unchanged since, with its URI."""
        for provenance in self._ledger(shelf).of_safe(safe_name):
            uri = self._uri(shelf, provenance.place)
            with suppress(FileNotFoundError):
                if metadata_digest(self.open_product(uri)) == provenance.metadata_sha256:
                    return uri, provenance
        return None

    @abstractmethod
    def open_product(self, uri: str) -> ProductFolder:
        """Give read access to a stored product.

        Raises:
            PermanentError: the URI does not belong to this store.
        """

    @abstractmethod
    def shelf_at(self, uri: str) -> Shelf:
        """Give the shelf of a product, which need not be there.

        Raises:
            PermanentError: the URI is not exactly that of a product of this store.
        """

    @abstractmethod
    def shelves(self, buckets: Collection[str] = ()) -> Iterator[Shelf]:
        """Give the shelves that are there.

        Args:
            buckets: where to look; a store of folders looks into all it has where none is named.

        Raises:
            TransientError: the service cannot be reached just now.
        """

    @abstractmethod
    def products(self, shelf: Shelf) -> Iterator[StoredProduct]:
        """Give the products on a shelf, also what is left of such, and nothing that is hidden.

        Raises:
            TransientError: the service cannot be reached just now.
        """

    def remove_product(self, uri: str) -> None:
        """Remove a product and what is known of it; nothing happens when it is not there.

        Its root metadata go first, so that nobody opens what is half removed, and its provenance goes
        before the data, so that ``find`` gives the version before it, or none.

        Raises:
            PermanentError: the URI is not exactly that of a product of this store; or no right to it.
            TransientError: the service cannot be reached just now.
        """
        shelf = self.shelf_at(uri)
        place = self.open_product(uri).name.removesuffix(PRODUCT_ENDING)
        name, number = name_and_number(place)
        with self._sole_name(shelf, name):
            self._veil(shelf, place)
            is_last = not self._numbers(shelf, name) - {number}
            self._ledger(shelf).forget(place, is_last=is_last)
            self._erase(shelf, place)

    @abstractmethod
    def discard_workspace(self, shelf: Shelf, key: str) -> None:
        """Remove the workspace of an order."""

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[Self]:
        """Let one run at a time work on an order, whoever started it; others wait here."""
        run = context.run
        key = run.tags.get("dagster/partition") if run else None
        if run is None or key is None:
            yield self
            return
        if context.instance is not None:  # before the wait, in which the process may be killed, too
            mark_run(context.instance, run)
        with self.turn(key, context.log.info if context.log else None):
            yield self

    @contextmanager
    def turn(self, key: str, tell: Progress | None = None) -> Iterator[None]:
        """Hold the order's lock; a process that dies gives it back."""
        with _locked(self._below("locks", f"{valid_key(key)}.lock"), tell, WAIT_FOR_ORDER):
            yield

    @contextmanager
    def sole_conversion(self, shelf: Shelf, safe_name: str, tell: Progress) -> Iterator[None]:
        """Let one order at a time look for, convert and promote the product of a SAFE on a shelf.

        Args:
            shelf: where the product goes.
            safe_name: name of the SAFE product.
            tell: receives a sentence when another order has to be awaited.
        """
        lock = self._below(
            "locks", "products", shelf.bucket, shelf.owner, shelf.collection, f"{safe_name}.lock"
        )
        with _locked(lock, tell, WAIT_FOR_PRODUCT):
            yield

    @contextmanager
    def sole_publication(self, owner: str, collection: str, item_id: str) -> Iterator[None]:
        """Let one process at a time change an item and its earlier versions.

        Args:
            owner: whose item.
            collection: STAC collection id.
            item_id: of the current version.
        """
        names = (valid_identifier("owner", owner), valid_identifier("collection", collection))
        lock = self._below("locks", "items", *names, f"{valid_key(item_id)}.lock")
        with _locked(lock, LOG.info, WAIT_FOR_ITEM):
            yield

    def staging_folder(self, key: str) -> Path:
        """Give the local folder of an order's staged input; it may not exist yet."""
        return self._below("staging", valid_key(key))

    def scratch_folder(self, key: str) -> Path:
        """Give an empty local folder for temporary files of an order."""
        return emptied(self._scratch_path(key))

    def release(self, key: str) -> None:
        """Remove everything that is kept for an order but its product: staged copies and scratch."""
        for folder in (self.staging_folder(key), self._scratch_path(key)):
            shutil.rmtree(folder, ignore_errors=True)

    def discard_work(self, shelf: Shelf, key: str) -> None:
        """Remove the scratch folder and the workspace of an order, and keep its staged copy."""
        shutil.rmtree(self._scratch_path(key), ignore_errors=True)
        self.discard_workspace(shelf, key)

    @contextmanager
    def releasing_refused(self, key: str) -> Iterator[None]:
        """Keep nothing of an order that cannot be served; of a poisoned input the copy stays, as evidence."""
        try:
            yield
        except OrderError:
            self.release(key)
            raise
        except PoisonedInputError:
            shutil.rmtree(self._scratch_path(key), ignore_errors=True)
            raise

    @contextmanager
    def discarding(self, shelf: Shelf, key: str) -> Iterator[None]:
        """Remove scratch folder and workspace in any case when the block is left."""
        try:
            yield
        finally:
            self.discard_work(shelf, key)

    # Where and how a product is kept: places are names without ending, see ``stored_name``.

    @abstractmethod
    def _uri(self, shelf: Shelf, place: str) -> str: ...

    @abstractmethod
    def _ledger(self, shelf: Shelf) -> ProvenanceLedger: ...

    @abstractmethod
    def _numbers(self, shelf: Shelf, name: str) -> set[int]:
        """Give the numbers of the stored conversions of an EOPF name, and of what is left of such."""

    @abstractmethod
    def _put(self, product: ProductFolder, shelf: Shelf, place: str) -> None:
        """Put a product where nothing is, or what an interrupted promotion or removal left."""

    @abstractmethod
    def _veil(self, shelf: Shelf, place: str) -> None:
        """Remove the root metadata of a product, if there are any."""

    @abstractmethod
    def _erase(self, shelf: Shelf, place: str) -> None:
        """Remove everything that is left of a product."""

    def _is_complete(self, shelf: Shelf, place: str) -> bool:
        try:
            self.open_product(self._uri(shelf, place)).read(CONSOLIDATED_METADATA)
        except FileNotFoundError:
            return False
        return True

    def _sole_name(self, shelf: Shelf, name: str) -> AbstractContextManager[None]:
        """Let one order at a time add or remove a product of an EOPF name."""
        return self.sole_conversion(shelf, f"{name}{PRODUCT_ENDING}", LOG.info)

    def _below(self, *parts: str) -> Path:
        return Path(self.root).joinpath(*parts)

    def _scratch_path(self, key: str) -> Path:
        return self._below("scratch", valid_key(key))


def is_product_name(name: str) -> bool:
    """Say whether a folder on a shelf has the name of a product."""
    return name.endswith(PRODUCT_ENDING) and not name.startswith(".")


def numbers_of(name: str, folders: Iterable[str]) -> set[int]:
    """Give the numbers of the conversions of an EOPF name among the folders of a shelf."""
    places = [folder.removesuffix(PRODUCT_ENDING) for folder in folders if is_product_name(folder)]
    return {number for stored, number in map(name_and_number, places) if stored == name}


@contextmanager
def _locked(path: Path, tell: Progress | None, waiting: str) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if tell is not None:
                tell(waiting)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def emptied(folder: Path) -> Path:
    """Give a folder with nothing in it."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder
