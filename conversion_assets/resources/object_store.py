"""Where products live: staging, the workspace of a conversion, and the products that readers see."""

from __future__ import annotations

import fcntl
import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Self

import dagster as dg
from pydantic import BaseModel, ConfigDict

from conversion_assets.connections import keep_connections
from conversion_assets.errors import OrderError, PermanentError, PoisonedInputError
from conversion_assets.orders import is_key, valid_identifier, valid_key
from conversion_assets.provenance import Provenance, name_and_number, stored_name
from conversion_assets.resources.file_exchange import is_at
from conversion_assets.resources.provenance_ledger import ProvenanceLedger
from conversion_assets.run_marks import mark_run
from conversion_assets.zarr.conversion import Workspace
from conversion_assets.zarr.product_folder import CONSOLIDATED_METADATA, ProductFolder, metadata_digest

LOG = logging.getLogger(__name__)
Progress = Callable[[str], None]

PRODUCT_ENDING = ".zarr"
WORKSPACE_START = ".converting-"
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


class KeptFor(StrEnum):
    """What something is that is kept for an order beside its product."""

    STAGING = "staged copy"
    SCRATCH = "scratch"
    WORKSPACE = "workspace"


@dataclass(frozen=True)
class Kept:
    """Something that is kept for an order beside its product, as long as somebody works on it.

    Attributes:
        key: of the order.
        kind: what it is.
        place: path or URI.
        changed: when anything in it changed last; in UTC.
    """

    key: str
    kind: KeptFor
    place: str
    changed: datetime


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

    def remove_product(self, uri: str, *, only_if: Callable[[], bool] | None = None) -> bool:
        """Remove a product and what is known of it; nothing happens when it is not there.

        Its root metadata go first, so that nobody opens what is half removed, and its provenance goes
        before the data, so that ``find`` gives the version before it, or none.

        Args:
            uri: of the product.
            only_if: asked when no product of its name can be added any more; no ends it.

        Returns:
            Whether it was removed.

        Raises:
            PermanentError: the URI is not exactly that of a product of this store; or no right to it.
            TransientError: the service cannot be reached just now.
        """
        shelf = self.shelf_at(uri)
        place = self.open_product(uri).name.removesuffix(PRODUCT_ENDING)
        name, number = name_and_number(place)
        with self._sole_name(shelf, name):
            if only_if is not None and not only_if():
                return False
            self._veil(shelf, place)
            is_last = not self._numbers(shelf, name) - {number}
            self._ledger(shelf).forget(place, is_last=is_last)
            self._erase(shelf, place)
        return True

    def provenance_of(self, uri: str) -> Provenance | None:
        """Tell what a product was made of that is or was here; None where no note says it."""
        shelf = self.shelf_at(uri)
        return self._ledger(shelf).of_product(self.open_product(uri).name.removesuffix(PRODUCT_ENDING))

    def notes_without_product(self, shelf: Shelf) -> Iterator[Provenance]:
        """Give the notes on products that are not there, of which nothing is left."""
        names = {product.name for product in self.products(shelf)}
        for provenance in self._ledger(shelf).of_all():
            if f"{provenance.place}{PRODUCT_ENDING}" not in names:
                yield provenance

    def forget_note(self, shelf: Shelf, provenance: Provenance) -> bool:
        """Forget the note on a product that is not there; no where it is there, or is worked on."""
        name, number = name_and_number(provenance.place)
        with self._free_lock(self._product_lock(shelf, f"{name}{PRODUCT_ENDING}")) as is_ours:
            if not is_ours or number in (numbers := self._numbers(shelf, name)):
                return False
            self._ledger(shelf).forget(provenance.place, is_last=not numbers)
        return True

    def kept(self, shelves: Collection[Shelf] = ()) -> Iterator[Kept]:
        """Give what is kept for orders beside their products: copies, scratch and workspaces.

        Args:
            shelves: where to look for workspaces beside products; on this machine all are given.
        """
        yield from kept_below(self._below("staging"), KeptFor.STAGING)
        yield from kept_below(self._below("scratch"), KeptFor.SCRATCH)
        yield from self._workspaces(shelves)

    @abstractmethod
    def discard(self, kept: Kept) -> None:
        """Remove something that ``kept`` gave.

        Raises:
            TransientError: the service cannot be reached just now.
            PermanentError: there is no right to remove it.
        """

    def unused_locks(self, before: datetime) -> Iterator[Path]:
        """Give the files of locks that were made before a time, whether or not somebody holds them."""
        for path in self._below("locks").rglob("*.lock"):
            with suppress(FileNotFoundError):
                if datetime.fromtimestamp(path.stat().st_mtime, UTC) < before:
                    yield path

    def discard_lock(self, path: Path) -> bool:
        """Remove the file of a lock that nobody holds; who waits for it makes it anew."""
        with suppress(FileNotFoundError), path.open("rb") as file:
            if _flocked(file):
                path.unlink()
                return True
        return False

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
            keep_connections(context.instance)
            mark_run(context.instance, run)
        with self.turn(key, context.log.info if context.log else None):
            yield self

    @contextmanager
    def turn(self, key: str, tell: Progress | None = None) -> Iterator[None]:
        """Hold the order's lock; a process that dies gives it back."""
        with _locked(self._below("locks", f"{valid_key(key)}.lock"), tell, WAIT_FOR_ORDER):
            yield

    @contextmanager
    def turn_if_free(self, key: str) -> Iterator[bool]:
        """Hold the order's lock unless somebody else does, and tell whether it is held."""
        with self._free_lock(self._below("locks", f"{valid_key(key)}.lock")) as is_ours:
            yield is_ours

    @contextmanager
    def sole_upkeep(self) -> Iterator[bool]:
        """Let one process at a time look after this home, and tell whether it is this one."""
        with self._free_lock(self._below("locks", "upkeep")) as is_ours:
            yield is_ours

    @contextmanager
    def conversion_if_free(self, shelf: Shelf, safe_name: str) -> Iterator[bool]:
        """Be the ``sole_conversion`` unless somebody else is, and tell whether it is so."""
        with self._free_lock(self._product_lock(shelf, safe_name)) as is_ours:
            yield is_ours

    @contextmanager
    def publication_if_free(self, owner: str, collection: str, item_id: str) -> Iterator[bool]:
        """Be the ``sole_publication`` unless somebody else is, and tell whether it is so."""
        with self._free_lock(self._item_lock(owner, collection, item_id)) as is_ours:
            yield is_ours

    @contextmanager
    def sole_conversion(self, shelf: Shelf, safe_name: str, tell: Progress) -> Iterator[None]:
        """Let one order at a time look for, convert and promote the product of a SAFE on a shelf.

        Args:
            shelf: where the product goes.
            safe_name: name of the SAFE product.
            tell: receives a sentence when another order has to be awaited.
        """
        with _locked(self._product_lock(shelf, safe_name), tell, WAIT_FOR_PRODUCT):
            yield

    @contextmanager
    def sole_publication(self, owner: str, collection: str, item_id: str) -> Iterator[None]:
        """Let one process at a time change an item and its earlier versions.

        Args:
            owner: whose item.
            collection: STAC collection id.
            item_id: of the current version.
        """
        with _locked(self._item_lock(owner, collection, item_id), LOG.info, WAIT_FOR_ITEM):
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
    def _workspaces(self, shelves: Collection[Shelf]) -> Iterator[Kept]:
        """Give the workspaces, and copies for converters elsewhere."""

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

    def _product_lock(self, shelf: Shelf, safe_name: str) -> Path:
        where = (shelf.bucket, shelf.owner, shelf.collection)
        return self._below("locks", "products", *where, f"{safe_name}.lock")

    def _item_lock(self, owner: str, collection: str, item_id: str) -> Path:
        names = (valid_identifier("owner", owner), valid_identifier("collection", collection))
        return self._below("locks", "items", *names, f"{valid_key(item_id)}.lock")

    @staticmethod
    @contextmanager
    def _free_lock(path: Path) -> Iterator[bool]:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            yield _flocked(file) and is_at(path, file)

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
    while True:
        with path.open("a") as file:
            if not _flocked(file):
                if tell is not None:
                    tell(waiting)
                fcntl.flock(file, fcntl.LOCK_EX)
            if is_at(path, file):  # a lock that nobody holds may be removed
                yield
                return


def _flocked(file: IO[Any]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def kept_below(folder: Path, kind: KeptFor, before_key: str = "") -> Iterator[Kept]:
    """Give what is kept in folders whose names are the keys of orders, or end with them."""
    for path in sorted(folder.glob(f"{before_key}*")):
        key = path.name.removeprefix(before_key)
        if is_key(key):
            with suppress(FileNotFoundError):
                yield Kept(key, kind, str(path), last_change(path))


def remove_kept(folder: str) -> None:
    """Remove a folder that ``kept`` gave, if it is still there.

    Raises:
        PermanentError: it cannot be removed.
    """
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        rule = f"it cannot be removed ({error.strerror})"
        raise PermanentError(folder, rule, "See to its owner and its rights.") from error


def last_change(folder: Path) -> datetime:
    """Tell when anything in a folder changed last; what goes meanwhile does not count.

    Raises:
        FileNotFoundError: the folder itself is not there.
    """
    latest = folder.lstat().st_mtime
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            latest = max(latest, path.lstat().st_mtime)
    return datetime.fromtimestamp(latest, UTC)


def emptied(folder: Path) -> Path:
    """Give a folder with nothing in it."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder
