"""Where products live: staging, the workspace of a conversion, and the products that readers see."""

from __future__ import annotations

import fcntl
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote, urlsplit

import dagster as dg
from pydantic import BaseModel, ConfigDict, ValidationError

from conversion_assets.errors import OrderError, PermanentError, PoisonedInputError
from conversion_assets.orders import valid_key
from conversion_assets.provenance import Provenance
from conversion_assets.resources.file_exchange import put_in_place, write_whole

Progress = Callable[[str], None]

WAIT_FOR_ORDER = "another run works on this order; waiting for it"
WAIT_FOR_PRODUCT = "another order works on this product; waiting for it"


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


class ObjectStore(dg.ConfigurableResource, ABC):  # type: ignore[type-arg] # the resource provides itself
    """Stores staged copies and products."""

    @abstractmethod
    def staging_folder(self, key: str) -> Path:
        """Give the local folder of an order's staged input; it may not exist yet."""

    @abstractmethod
    def scratch_folder(self, key: str) -> Path:
        """Give an empty local folder for temporary files of an order."""

    @abstractmethod
    def workspace(self, shelf: Shelf, key: str) -> Path:
        """Give an empty hidden local folder from which a product can be promoted to ``shelf``."""

    @abstractmethod
    def promote(self, product: Path, shelf: Shelf, provenance: Provenance) -> str:
        """Make a verified product visible under its final name and remember its provenance.

        Args:
            product: the complete Zarr folder in the workspace.
            shelf: where it goes.
            provenance: what it was made of.

        Returns:
            URI of the product.

        Raises:
            OrderError: the name is taken by a product made of another SAFE.
        """

    @abstractmethod
    def find(self, shelf: Shelf, safe_name: str) -> tuple[str, Provenance] | None:
        """Find the stored product that was made of a SAFE, with its URI, if it is unchanged since."""

    @abstractmethod
    def local_path(self, uri: str) -> Path:
        """Give a local path through which a stored product can be read."""

    @abstractmethod
    def release(self, key: str) -> None:
        """Remove everything that is kept for an order but its product: staged copies, scratch, workspace."""

    @abstractmethod
    def discard_work(self, shelf: Shelf, key: str) -> None:
        """Remove the scratch folder and the workspace of an order, and keep its staged copy."""

    @abstractmethod
    def sole_conversion(self, shelf: Shelf, safe_name: str, tell: Progress) -> AbstractContextManager[None]:
        """Let one order at a time look for, convert and promote the product of a SAFE on a shelf.

        Args:
            shelf: where the product goes.
            safe_name: name of the SAFE product.
            tell: receives a sentence when another order has to be awaited.
        """

    @contextmanager
    def releasing_refused(self, key: str) -> Iterator[None]:
        """Keep nothing of an input that is refused for good; the original stays where it came from."""
        try:
            yield
        except (OrderError, PoisonedInputError):
            self.release(key)
            raise

    @contextmanager
    def discarding(self, shelf: Shelf, key: str) -> Iterator[None]:
        """Remove scratch folder and workspace in any case when the block is left."""
        try:
            yield
        finally:
            self.discard_work(shelf, key)


class FolderObjectStore(ObjectStore):
    """Folders on one local file system.

    Below ``root``: ``staging/<key>``, ``scratch/<key>`` and
    ``products/<bucket>/<owner>/<collection>/<EOPF name>.zarr``, where a conversion works in the hidden
    sibling ``.converting-<key>`` and provenance is kept in the hidden sibling ``.provenance``.

    Attributes:
        root: folder that holds them all, so that a rename never crosses a file system.
    """

    root: str

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[FolderObjectStore]:
        """Let one run at a time work on an order, whoever started it; others wait here."""
        run = context.run
        key = run.tags.get("dagster/partition") if run else None
        if key is None:
            yield self
            return
        with self.turn(key, context.log.info if context.log else None):
            yield self

    @contextmanager
    def turn(self, key: str, tell: Progress | None = None) -> Iterator[None]:
        """Hold the order's lock; a process that dies gives it back."""
        with _locked(self._below("locks", f"{valid_key(key)}.lock"), tell, WAIT_FOR_ORDER):
            yield

    @contextmanager
    def sole_conversion(self, shelf: Shelf, safe_name: str, tell: Progress) -> Iterator[None]:
        """See ``ObjectStore.sole_conversion``."""
        lock = self._shelf_path(shelf) / ".provenance" / "locks" / f"{safe_name}.lock"
        with _locked(lock, tell, WAIT_FOR_PRODUCT):
            yield

    def staging_folder(self, key: str) -> Path:
        """See ``ObjectStore.staging_folder``."""
        return self._below("staging", valid_key(key))

    def scratch_folder(self, key: str) -> Path:
        """See ``ObjectStore.scratch_folder``."""
        return _emptied(self._scratch_path(key))

    def workspace(self, shelf: Shelf, key: str) -> Path:
        """See ``ObjectStore.workspace``."""
        return _emptied(self._workspace_path(shelf, key))

    def promote(self, product: Path, shelf: Shelf, provenance: Provenance) -> str:
        """See ``ObjectStore.promote``."""
        target = self._shelf_path(shelf) / product.name
        claim = self._claim(shelf, provenance.name)
        claimant = claim.read_text() if claim.exists() and target.exists() else provenance.safe_name
        if claimant != provenance.safe_name:
            raise OrderError(
                product.name,
                f"the name is taken in {shelf.owner}/{shelf.collection} by the product made of {claimant}",
                "Order it into another collection with --collection.",
            )
        write_whole(claim, provenance.safe_name.encode())
        put_in_place(product, target, aside=product.parent / "superseded")
        write_whole(self._note(shelf, provenance.name), provenance.model_dump_json(indent=1).encode())
        write_whole(self._pointer(shelf, provenance.safe_name), provenance.name.encode())
        return target.as_uri()

    def find(self, shelf: Shelf, safe_name: str) -> tuple[str, Provenance] | None:
        """See ``ObjectStore.find``."""
        pointer = self._pointer(shelf, safe_name)
        provenance = self._provenance(shelf, pointer.read_text()) if pointer.exists() else None
        if provenance is None or provenance.safe_name != safe_name:
            return None
        return (self._shelf_path(shelf) / f"{provenance.name}.zarr").as_uri(), provenance

    def _provenance(self, shelf: Shelf, name: str) -> Provenance | None:
        """Read the provenance of a product, if there is one and it is of the product that is there."""
        note, product = self._note(shelf, name), self._shelf_path(shelf) / f"{name}.zarr"
        if not note.exists() or not (product / ".zmetadata").exists():
            return None
        try:
            provenance = Provenance.model_validate_json(note.read_bytes())
        except ValidationError:  # of another version, or damaged: the product is converted again
            return None
        return provenance if metadata_digest(product) == provenance.metadata_sha256 else None

    def local_path(self, uri: str) -> Path:
        """See ``ObjectStore.local_path``."""
        parts = urlsplit(uri)
        path = Path(os.path.normpath(unquote(parts.path)))
        if parts.scheme != "file" or not path.is_relative_to(self._root):
            raise PermanentError(
                uri, f"it is not below {self._root}", "Convert the product again in this data folder."
            )
        return path

    def release(self, key: str) -> None:
        """See ``ObjectStore.release``."""
        for folder in (self.staging_folder(key), self._scratch_path(key)):
            shutil.rmtree(folder, ignore_errors=True)

    def discard_work(self, shelf: Shelf, key: str) -> None:
        """See ``ObjectStore.discard_work``."""
        for folder in (self._scratch_path(key), self._workspace_path(shelf, key)):
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def _root(self) -> Path:
        return Path(self.root)

    def _below(self, *parts: str) -> Path:
        return self._root.joinpath(*parts)

    def _shelf_path(self, shelf: Shelf) -> Path:
        return self._below("products", shelf.bucket, shelf.owner, shelf.collection)

    def _workspace_path(self, shelf: Shelf, key: str) -> Path:
        return self._shelf_path(shelf) / f".converting-{valid_key(key)}"

    def _scratch_path(self, key: str) -> Path:
        return self._below("scratch", valid_key(key))

    def _note(self, shelf: Shelf, name: str) -> Path:
        return self._shelf_path(shelf) / ".provenance" / "products" / f"{name}.json"

    def _claim(self, shelf: Shelf, name: str) -> Path:
        return self._shelf_path(shelf) / ".provenance" / "names" / name

    def _pointer(self, shelf: Shelf, safe_name: str) -> Path:
        return self._shelf_path(shelf) / ".provenance" / "inputs" / safe_name


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


def metadata_digest(product: Path) -> str:
    """SHA-256 of a product's root ``.zmetadata``."""
    return sha256((product / ".zmetadata").read_bytes()).hexdigest()


def _emptied(folder: Path) -> Path:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder
