"""Products in folders of a local or shared file system: the embedded default."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from conversion_assets.errors import PermanentError
from conversion_assets.orders import IDENTIFIER, valid_key
from conversion_assets.resources.file_exchange import write_whole
from conversion_assets.resources.object_store import (
    PRODUCT_ENDING,
    ROOT_METADATA,
    WORKSPACE_START,
    Kept,
    KeptFor,
    ObjectStore,
    Progress,
    Shelf,
    StoredProduct,
    emptied,
    is_product_name,
    kept_below,
    numbers_of,
    remove_kept,
)
from conversion_assets.resources.provenance_ledger import ProvenanceLedger
from conversion_assets.zarr.conversion import Workspace
from conversion_assets.zarr.product_folder import CONSOLIDATED_METADATA, ProductFolder, local_product

PRODUCT_DEPTH = 4
"""Bucket, owner, collection and name of the product."""


class FolderObjectStore(ObjectStore):
    """Folders on one file system, so that a rename never crosses one.

    Products are ``products/<bucket>/<owner>/<collection>/<EOPF name>.zarr`` below ``root``, later ones of the
    same SAFE ``<EOPF name>.v2.zarr`` and so on. A conversion
    works in the hidden sibling ``.converting-<key>``; provenance is kept in the hidden sibling
    ``.provenance``.
    """

    def workspace(self, shelf: Shelf, key: str, safe: Path, *, keep: bool = False) -> Workspace:
        """See ``ObjectStore.workspace``."""
        folder = self._workspace_path(shelf, key)
        if not (keep and folder.is_dir()):
            emptied(folder)
        return FolderWorkspace(folder, safe)

    def open_product(self, uri: str) -> ProductFolder:
        """See ``ObjectStore.open_product``."""
        path = _path_of(uri)
        if urlsplit(uri).scheme != "file" or not path.is_relative_to(self.root):
            raise PermanentError(
                uri, f"it is not below {self.root}", "Convert the product again in this data folder."
            )
        return local_product(path)

    def shelf_at(self, uri: str) -> Shelf:
        """See ``ObjectStore.shelf_at``."""
        path = _path_of(uri)
        parts = path.relative_to(self._products).parts if path.is_relative_to(self._products) else ()
        named = len(parts) == PRODUCT_DEPTH and all(map(IDENTIFIER.fullmatch, parts[:-1]))
        if not named or path.as_uri() != uri or not is_product_name(parts[-1]):
            raise PermanentError(
                uri,
                f"it is not the address of a product below {self._products}",
                "Look for it with the settings of the object store that it was converted with.",
            )
        bucket, owner, collection, _ = parts
        return Shelf(bucket=bucket, owner=owner, collection=collection)

    def shelves(self, buckets: Collection[str] = ()) -> Iterator[Shelf]:
        """See ``ObjectStore.shelves``."""
        for bucket in buckets or _visible(self._products):
            for owner in _visible(self._products / bucket):
                for collection in _visible(self._products / bucket / owner):
                    yield Shelf(bucket=bucket, owner=owner, collection=collection)

    def products(self, shelf: Shelf) -> Iterator[StoredProduct]:
        """See ``ObjectStore.products``."""
        folder = self._shelf_path(shelf)
        for name in filter(is_product_name, _visible(folder)):
            root = folder / name / CONSOLIDATED_METADATA
            with suppress(FileNotFoundError):  # removed meanwhile
                is_complete = root.is_file()
                seconds = (root if is_complete else folder / name).stat().st_mtime
                changed = datetime.fromtimestamp(seconds, UTC)
                yield StoredProduct((folder / name).as_uri(), name, changed, is_complete)

    def discard_workspace(self, shelf: Shelf, key: str) -> None:
        """See ``ObjectStore.discard_workspace``."""
        shutil.rmtree(self._workspace_path(shelf, key), ignore_errors=True)

    def discard(self, kept: Kept) -> None:
        """See ``ObjectStore.discard``."""
        remove_kept(kept.place)

    def _workspaces(self, shelves: Collection[Shelf]) -> Iterator[Kept]:
        for shelf in shelves:
            yield from kept_below(self._shelf_path(shelf), KeptFor.WORKSPACE, WORKSPACE_START)

    def _uri(self, shelf: Shelf, place: str) -> str:
        return self._path(shelf, place).as_uri()

    def _ledger(self, shelf: Shelf) -> ProvenanceLedger:
        notes = FolderDocuments(self._shelf_path(shelf) / ".provenance")
        return ProvenanceLedger(notes, f"{shelf.owner}/{shelf.collection}")

    def _numbers(self, shelf: Shelf, name: str) -> set[int]:
        return numbers_of(name, _visible(self._shelf_path(shelf)))

    def _put(self, product: ProductFolder, shelf: Shelf, place: str) -> None:
        self._erase(shelf, place)
        _path_of(product.uri).rename(self._path(shelf, place))

    def _veil(self, shelf: Shelf, place: str) -> None:
        for name in ROOT_METADATA:
            (self._path(shelf, place) / name).unlink(missing_ok=True)

    def _erase(self, shelf: Shelf, place: str) -> None:
        with suppress(FileNotFoundError):
            shutil.rmtree(self._path(shelf, place))

    @property
    def _products(self) -> Path:
        return self._below("products")

    def _shelf_path(self, shelf: Shelf) -> Path:
        return self._products.joinpath(shelf.bucket, shelf.owner, shelf.collection)

    def _path(self, shelf: Shelf, place: str) -> Path:
        return self._shelf_path(shelf) / f"{place}{PRODUCT_ENDING}"

    def _workspace_path(self, shelf: Shelf, key: str) -> Path:
        return self._shelf_path(shelf) / f"{WORKSPACE_START}{valid_key(key)}"


@dataclass(frozen=True)
class FolderWorkspace(Workspace):
    """A folder that every machine sees which mounts the store's file system.

    Attributes:
        folder: where the product is written.
        safe: the SAFE folder.
    """

    folder: Path
    safe: Path

    def local_output(self) -> Path:
        """See ``Workspace.local_output``."""
        return self.folder

    def shared_safe(self, tell: Progress) -> str:
        """See ``Workspace.shared_safe``."""
        del tell
        return self.safe.as_uri()

    def shared_output(self) -> str:
        """See ``Workspace.shared_output``."""
        return self.folder.as_uri()

    def open_product(self, uri: str) -> ProductFolder:
        """See ``Workspace.open_product``."""
        return local_product(_path_of(uri))


@dataclass(frozen=True)
class FolderDocuments:
    """Notes as files; see ``provenance_ledger.Documents``.

    Attributes:
        folder: the folder they lie in.
    """

    folder: Path

    def names(self, kind: str) -> Iterator[str]:
        """See ``Documents.names``."""
        for path in (self.folder / kind).glob("[!.]*"):
            yield path.name

    def read(self, name: str) -> bytes | None:
        """See ``Documents.read``."""
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """See ``Documents.write``."""
        write_whole(self.folder / name, content)

    def remove(self, name: str) -> None:
        """See ``Documents.remove``."""
        (self.folder / name).unlink(missing_ok=True)


def _visible(folder: Path) -> list[str]:
    """Name the folders in a folder that are not hidden; none where it is not there."""
    try:
        entries = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    return [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]


def _path_of(uri: str) -> Path:
    return Path(os.path.normpath(unquote(urlsplit(uri).path)))
