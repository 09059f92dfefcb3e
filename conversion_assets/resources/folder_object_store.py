"""Products in folders of a local or shared file system: the embedded default."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from conversion_assets.errors import PermanentError
from conversion_assets.orders import valid_key
from conversion_assets.provenance import Provenance
from conversion_assets.resources.file_exchange import put_in_place, write_whole
from conversion_assets.resources.object_store import ObjectStore, Progress, Shelf, emptied
from conversion_assets.resources.provenance_ledger import ProvenanceLedger
from conversion_assets.zarr.conversion import Workspace
from conversion_assets.zarr.product_folder import (
    CONSOLIDATED_METADATA,
    ProductFolder,
    local_product,
    metadata_digest,
)


class FolderObjectStore(ObjectStore):
    """Folders on one file system, so that a rename never crosses one.

    Products are ``products/<bucket>/<owner>/<collection>/<EOPF name>.zarr`` below ``root``. A conversion
    works in the hidden sibling ``.converting-<key>``; provenance is kept in the hidden sibling
    ``.provenance``.
    """

    def workspace(self, shelf: Shelf, key: str, safe: Path, *, keep: bool = False) -> Workspace:
        """See ``ObjectStore.workspace``."""
        folder = self._workspace_path(shelf, key)
        if not (keep and folder.is_dir()):
            emptied(folder)
        return FolderWorkspace(folder, safe)

    def promote(self, product: ProductFolder, shelf: Shelf, provenance: Provenance) -> str:
        """See ``ObjectStore.promote``."""
        written = _path_of(product.uri)
        target = self._shelf_path(shelf) / f"{provenance.name}.zarr"
        with self._ledger(shelf).entering(provenance, product_exists=target.exists()):
            put_in_place(written, target, aside=written.parent / "superseded")
        return target.as_uri()

    def find(self, shelf: Shelf, safe_name: str) -> tuple[str, Provenance] | None:
        """See ``ObjectStore.find``."""
        provenance = self._ledger(shelf).of_safe(safe_name)
        if provenance is None:
            return None
        product = self._shelf_path(shelf) / f"{provenance.name}.zarr"
        if not (product / CONSOLIDATED_METADATA).exists():
            return None
        if metadata_digest(local_product(product)) != provenance.metadata_sha256:
            return None
        return product.as_uri(), provenance

    def open_product(self, uri: str) -> ProductFolder:
        """See ``ObjectStore.open_product``."""
        path = _path_of(uri)
        if urlsplit(uri).scheme != "file" or not path.is_relative_to(self.root):
            raise PermanentError(
                uri, f"it is not below {self.root}", "Convert the product again in this data folder."
            )
        return local_product(path)

    def discard_workspace(self, shelf: Shelf, key: str) -> None:
        """See ``ObjectStore.discard_workspace``."""
        shutil.rmtree(self._workspace_path(shelf, key), ignore_errors=True)

    def _ledger(self, shelf: Shelf) -> ProvenanceLedger:
        notes = FolderDocuments(self._shelf_path(shelf) / ".provenance")
        return ProvenanceLedger(notes, f"{shelf.owner}/{shelf.collection}")

    def _shelf_path(self, shelf: Shelf) -> Path:
        return self._below("products", shelf.bucket, shelf.owner, shelf.collection)

    def _workspace_path(self, shelf: Shelf, key: str) -> Path:
        return self._shelf_path(shelf) / f".converting-{valid_key(key)}"


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

    def read(self, name: str) -> bytes | None:
        """See ``Documents.read``."""
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """See ``Documents.write``."""
        write_whole(self.folder / name, content)


def _path_of(uri: str) -> Path:
    return Path(os.path.normpath(unquote(urlsplit(uri).path)))
