"""Products on S3: converted aside, shown by their root metadata, which is written last."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import PrivateAttr

from conversion_assets.errors import ConversionAssetsError, PermanentError
from conversion_assets.orders import valid_key
from conversion_assets.provenance import Provenance
from conversion_assets.resources.object_store import ObjectStore, Progress, Shelf, emptied
from conversion_assets.resources.provenance_ledger import ProvenanceLedger
from conversion_assets.resources.s3_storage import S3Storage
from conversion_assets.storage.access import create_bucket
from conversion_assets.storage.faults import explained
from conversion_assets.storage.prefixes import Prefix
from conversion_assets.storage.transfer import FileSystem, copy, delete_prefix, stored_sizes, upload
from conversion_assets.zarr.conversion import Workspace
from conversion_assets.zarr.product_folder import (
    ProductFolder,
    local_product,
    metadata_digest,
    stored_product,
)

LOG = logging.getLogger(__name__)
PRODUCT_DEPTH = 3
"""Owner, collection and name of the product."""


class S3ObjectStore(ObjectStore):
    """Products are ``s3://<bucket>/<prefix>/<owner>/<collection>/<EOPF name>.zarr``.

    A converter of this machine works in a folder below ``root``, one elsewhere in the hidden sibling
    ``.converting-<key>`` of the product. Provenance is kept below ``<prefix>/.provenance``.

    Attributes:
        storage: the S3 service.
        prefix: below which everything lies in a bucket; the whole bucket when empty.
        staging_bucket: where SAFE folders lie for converters elsewhere; the product's bucket when not set.
        staging_prefix: below which they lie there.
        create_buckets: create a bucket that is missing.
    """

    storage: S3Storage
    prefix: str = ""
    staging_bucket: str | None = None
    staging_prefix: str = ".staging"
    create_buckets: bool = False
    _opened: FileSystem = PrivateAttr(default=None)

    def workspace(self, shelf: Shelf, key: str, safe: Path, *, keep: bool = False) -> Workspace:
        """See ``ObjectStore.workspace``."""
        folder, hidden = self._local_workspace(key), self._hidden_workspace(shelf, key)
        staged = self._staged_copies(shelf, key).below(safe.name)
        for bucket in {hidden.bucket, staged.bucket} if self.create_buckets else ():
            create_bucket(self._filesystem, bucket)
        if not keep:
            delete_prefix(self._filesystem, hidden)
        if not (keep and folder.is_dir()):
            emptied(folder)
        return S3Workspace(folder, hidden, safe, staged, self._filesystem)

    def promote(self, product: ProductFolder, shelf: Shelf, provenance: Provenance) -> str:
        """See ``ObjectStore.promote``."""
        target = self._in_bucket(shelf.bucket, shelf.owner, shelf.collection, f"{provenance.name}.zarr")
        ledger = self._ledger(shelf)
        # Objects are exchanged one by one: of two orders that make one name, the second has to wait.
        with self.sole_conversion(shelf, target.name, LOG.info):
            is_there = bool(stored_sizes(self._filesystem, target))
            with ledger.entering(provenance, product_exists=is_there):
                ledger.forget(provenance.name)
                self._transfer(product, target)
        return target.uri

    def find(self, shelf: Shelf, safe_name: str) -> tuple[str, Provenance] | None:
        """See ``ObjectStore.find``."""
        provenance = self._ledger(shelf).of_safe(safe_name)
        if provenance is None:
            return None
        place = self._in_bucket(shelf.bucket, shelf.owner, shelf.collection, f"{provenance.name}.zarr")
        try:
            digest = metadata_digest(_product_at(place, self._filesystem))
        except FileNotFoundError:
            return None
        return (place.uri, provenance) if digest == provenance.metadata_sha256 else None

    def open_product(self, uri: str) -> ProductFolder:
        """See ``ObjectStore.open_product``."""
        place = Prefix.of(uri)
        parts = place.path.removeprefix(self._above).split("/")
        if not place.path.startswith(self._above) or len(parts) != PRODUCT_DEPTH:
            raise PermanentError(
                uri,
                f"it is not below s3://{place.bucket}/{self._above}<owner>/<collection>",
                "Convert the product again with these settings of the object store.",
            )
        return _product_at(place, self._filesystem)

    def discard_workspace(self, shelf: Shelf, key: str) -> None:
        """See ``ObjectStore.discard_workspace``; what S3 does not let go of is told in the log only."""
        shutil.rmtree(self._local_workspace(key), ignore_errors=True)
        for prefix in (self._hidden_workspace(shelf, key), self._staged_copies(shelf, key)):
            try:
                delete_prefix(self._filesystem, prefix)
            except ConversionAssetsError as error:
                # Raised, it would stand for the error that ended the conversion, or undo its success.
                LOG.warning("left on S3: %s", error)

    @property
    def _filesystem(self) -> FileSystem:
        if self._opened is None:
            self._opened = self.storage.access().filesystem()
        return self._opened

    @property
    def _above(self) -> str:
        prefix = self.prefix.strip("/")
        return f"{prefix}/" if prefix else ""

    def _in_bucket(self, bucket: str, *parts: str) -> Prefix:
        return Prefix(bucket, self._above + "/".join(parts))

    def _hidden_workspace(self, shelf: Shelf, key: str) -> Prefix:
        return self._in_bucket(shelf.bucket, shelf.owner, shelf.collection, f".converting-{valid_key(key)}")

    def _staged_copies(self, shelf: Shelf, key: str) -> Prefix:
        bucket = self.staging_bucket or shelf.bucket
        return Prefix(bucket, self.staging_prefix.strip("/")).below(valid_key(key))

    def _local_workspace(self, key: str) -> Path:
        return self._below("workspaces", valid_key(key))

    def _ledger(self, shelf: Shelf) -> ProvenanceLedger:
        notes = self._in_bucket(shelf.bucket, ".provenance", shelf.owner, shelf.collection)
        return ProvenanceLedger(S3Documents(notes, self._filesystem), f"{shelf.owner}/{shelf.collection}")

    def _transfer(self, product: ProductFolder, target: Prefix) -> None:
        sizes = _sizes(product)
        if product.path is not None:
            upload(product.path, self._filesystem, target, sizes)
        else:
            copy(self._filesystem, Prefix.of(product.uri), target, sizes)


@dataclass(frozen=True)
class S3Workspace(Workspace):
    """A folder for a converter of this machine, a hidden prefix and a copy of the SAFE for one elsewhere.

    Attributes:
        folder: where the product is written on this machine.
        hidden: where it is written from elsewhere.
        safe: the SAFE folder on this machine.
        staged: its copy on S3.
        filesystem: of the S3 service.
    """

    folder: Path
    hidden: Prefix
    safe: Path
    staged: Prefix
    filesystem: FileSystem = field(repr=False)

    def local_output(self) -> Path:
        """See ``Workspace.local_output``."""
        return self.folder

    def shared_safe(self, tell: Progress) -> str:
        """See ``Workspace.shared_safe``; what is there already with the right size is not copied again."""
        tell(f"copying {self.safe.name} to {self.staged.uri}")
        upload(self.safe, self.filesystem, self.staged, resume=True)
        return self.staged.uri

    def shared_output(self) -> str:
        """See ``Workspace.shared_output``."""
        return self.hidden.uri

    def open_product(self, uri: str) -> ProductFolder:
        """See ``Workspace.open_product``."""
        parts = urlsplit(uri)
        if parts.scheme == "file":
            return local_product(Path(unquote(parts.path)))
        return _product_at(Prefix.of(uri, below=self.hidden.uri), self.filesystem)


@dataclass(frozen=True)
class S3Documents:
    """Notes as objects; see ``provenance_ledger.Documents``.

    Attributes:
        folder: the folder they lie in.
        filesystem: of the S3 service.
    """

    folder: Prefix
    filesystem: FileSystem = field(repr=False)

    def read(self, name: str) -> bytes | None:
        """See ``Documents.read``."""
        with explained(self.folder.uri):
            try:
                content: bytes = self.filesystem.cat_file(self.folder.below(name).root)
            except FileNotFoundError:
                return None
        return content

    def write(self, name: str, content: bytes) -> None:
        """See ``Documents.write``."""
        with explained(self.folder.uri):
            self.filesystem.pipe_file(self.folder.below(name).root, content)


def _product_at(place: Prefix, filesystem: FileSystem) -> ProductFolder:
    return stored_product(filesystem, place.root, place.uri)


def _sizes(product: ProductFolder) -> dict[str, int]:
    sizes = {}
    for name, size in product.objects().items():
        if size is None:
            raise PermanentError(
                f"{product}/{name}", "it is no regular file, and S3 has nothing else", "Convert it again."
            )
        sizes[name] = size
    return sizes
