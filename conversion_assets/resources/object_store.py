"""Where products live: staging, the workspace of a conversion, and the products that readers see."""

from __future__ import annotations

import fcntl
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import dagster as dg
from pydantic import BaseModel, ConfigDict

from conversion_assets.errors import OrderError, PoisonedInputError
from conversion_assets.orders import valid_key
from conversion_assets.provenance import Provenance
from conversion_assets.zarr.conversion import Workspace
from conversion_assets.zarr.product_folder import ProductFolder

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

    @abstractmethod
    def promote(self, product: ProductFolder, shelf: Shelf, provenance: Provenance) -> str:
        """Make a verified product visible under its final name and remember its provenance.

        Args:
            product: the complete product in the workspace.
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
    def open_product(self, uri: str) -> ProductFolder:
        """Give read access to a stored product.

        Raises:
            PermanentError: the URI does not belong to this store.
        """

    @abstractmethod
    def discard_workspace(self, shelf: Shelf, key: str) -> None:
        """Remove the workspace of an order."""

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[Self]:
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

    def _below(self, *parts: str) -> Path:
        return Path(self.root).joinpath(*parts)

    def _scratch_path(self, key: str) -> Path:
        return self._below("scratch", valid_key(key))


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
