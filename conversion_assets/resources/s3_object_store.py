"""Products on S3: converted aside, shown by their root metadata, which is written last."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import PrivateAttr

from conversion_assets.errors import ConversionAssetsError, PermanentError
from conversion_assets.orders import IDENTIFIER, is_key, valid_key
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
from conversion_assets.resources.s3_storage import S3Storage
from conversion_assets.storage.access import create_bucket
from conversion_assets.storage.faults import explained
from conversion_assets.storage.prefixes import SCHEME, Prefix
from conversion_assets.storage.transfer import (
    FileSystem,
    copy,
    delete_objects,
    delete_prefix,
    stored_sizes,
    upload,
)
from conversion_assets.zarr.conversion import Workspace
from conversion_assets.zarr.product_folder import (
    CONSOLIDATED_METADATA,
    ProductFolder,
    local_product,
    stored_product,
)

LOG = logging.getLogger(__name__)
PRODUCT_DEPTH = 3
"""Owner, collection and name of the product."""


class S3ObjectStore(ObjectStore):
    """Products are ``s3://<bucket>/<prefix>/<owner>/<collection>/<EOPF name>.zarr``.

    Later ones of the same SAFE are ``<EOPF name>.v2.zarr`` and so on. A converter of this machine works in a
    folder below ``root``, one elsewhere in the hidden sibling ``.converting-<key>`` of the product.
    Provenance is kept below ``<prefix>/.provenance``.

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

    def open_product(self, uri: str) -> ProductFolder:
        """See ``ObjectStore.open_product``."""
        place = Prefix.of(uri)
        parts = place.path.removeprefix(self._above).split("/")
        if not place.path.startswith(self._above) or len(parts) != PRODUCT_DEPTH:
            raise self._elsewhere(uri, place.bucket)
        return _product_at(place, self._filesystem)

    def shelf_at(self, uri: str) -> Shelf:
        """See ``ObjectStore.shelf_at``."""
        place = Prefix.of(uri)
        parts = place.path.removeprefix(self._above).split("/")
        if not place.path.startswith(self._above) or len(parts) != PRODUCT_DEPTH or place.uri != uri:
            raise self._elsewhere(uri, place.bucket)
        owner, collection, name = parts
        if not (is_product_name(name) and IDENTIFIER.fullmatch(owner) and IDENTIFIER.fullmatch(collection)):
            raise self._elsewhere(uri, place.bucket)
        return Shelf(bucket=place.bucket, owner=owner, collection=collection)

    def shelves(self, buckets: Collection[str] = ()) -> Iterator[Shelf]:
        """See ``ObjectStore.shelves``; a bucket that is missing has none."""
        for bucket in buckets:
            for owner in self._folders(bucket, self._above):
                for collection in self._folders(bucket, f"{self._above}{owner}/"):
                    yield Shelf(bucket=bucket, owner=owner, collection=collection)

    def products(self, shelf: Shelf) -> Iterator[StoredProduct]:
        """See ``ObjectStore.products``."""
        folder = self._in_bucket(shelf.bucket, shelf.owner, shelf.collection)
        for name in filter(is_product_name, self._folders(shelf.bucket, folder.key_of(""))):
            place = folder.below(name)
            changed = self._changed(place, CONSOLIDATED_METADATA)
            is_complete = bool(changed)
            changed = changed or self._changed(place)
            if changed:
                yield StoredProduct(place.uri, name, max(changed), is_complete)

    def discard(self, kept: Kept) -> None:
        """See ``ObjectStore.discard``."""
        if kept.place.startswith(SCHEME):
            delete_prefix(self._filesystem, Prefix.of(kept.place))
        else:
            remove_kept(kept.place)

    def _workspaces(self, shelves: Collection[Shelf]) -> Iterator[Kept]:
        yield from kept_below(self._below("workspaces"), KeptFor.WORKSPACE)
        for shelf in shelves:
            start = self._in_bucket(shelf.bucket, shelf.owner, shelf.collection).key_of(WORKSPACE_START)
            yield from self._kept(shelf.bucket, start)
        for bucket in {self.staging_bucket or shelf.bucket for shelf in shelves}:
            yield from self._kept(bucket, Prefix(bucket, self.staging_prefix.strip("/")).key_of(""))

    def _kept(self, bucket: str, start: str) -> Iterator[Kept]:
        """Give what is kept for orders below keys that begin alike and go on with the order's."""
        for key in filter(is_key, self._folders(bucket, start)):
            place = Prefix(bucket, f"{start}{key}")
            if changed := self._changed(place):
                yield Kept(key, KeptFor.WORKSPACE, place.uri, max(changed))

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
        name = f"{WORKSPACE_START}{valid_key(key)}"
        return self._in_bucket(shelf.bucket, shelf.owner, shelf.collection, name)

    def _staged_copies(self, shelf: Shelf, key: str) -> Prefix:
        bucket = self.staging_bucket or shelf.bucket
        return Prefix(bucket, self.staging_prefix.strip("/")).below(valid_key(key))

    def _local_workspace(self, key: str) -> Path:
        return self._below("workspaces", valid_key(key))

    def _elsewhere(self, uri: str, bucket: str) -> PermanentError:
        return PermanentError(
            uri,
            f"it is not below s3://{bucket}/{self._above}<owner>/<collection>",
            "Convert the product again with these settings of the object store.",
        )

    def _at(self, shelf: Shelf, place: str) -> Prefix:
        return self._in_bucket(shelf.bucket, shelf.owner, shelf.collection, f"{place}{PRODUCT_ENDING}")

    def _uri(self, shelf: Shelf, place: str) -> str:
        return self._at(shelf, place).uri

    def _numbers(self, shelf: Shelf, name: str) -> set[int]:
        start = self._in_bucket(shelf.bucket, shelf.owner, shelf.collection, f"{name}.")
        return numbers_of(name, (f"{name}.{rest}" for rest in self._folders(shelf.bucket, start.path)))

    def _put(self, product: ProductFolder, shelf: Shelf, place: str) -> None:
        sizes, target = _sizes(product), self._at(shelf, place)
        if product.path is not None:
            upload(product.path, self._filesystem, target, sizes)
        else:
            copy(self._filesystem, Prefix.of(product.uri), target, sizes)

    def _veil(self, shelf: Shelf, place: str) -> None:
        delete_objects(self._filesystem, self._at(shelf, place), ROOT_METADATA)

    def _erase(self, shelf: Shelf, place: str) -> None:
        delete_prefix(self._filesystem, self._at(shelf, place))

    def _folders(self, bucket: str, start: str) -> list[str]:
        """Name what follows the start of a key up to the next slash, hidden folders aside."""
        pages = self._pages(bucket, start, Delimiter="/")
        found = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", [])]
        names = [prefix.removeprefix(start).removesuffix("/") for prefix in found]
        return [name for name in names if name and not name.startswith(".")]

    def _changed(self, place: Prefix, start: str = "") -> list[datetime]:
        """Tell when the objects of a product were written whose paths in it begin alike."""
        pages = self._pages(place.bucket, place.key_of(start))
        return [entry["LastModified"] for page in pages for entry in page.get("Contents", [])]

    def _pages(self, bucket: str, start: str, **options: str) -> Iterator[dict[str, Any]]:
        """List keys by what they start with; a missing bucket has none."""
        following: dict[str, str] = {}
        while True:
            with explained(f"s3://{bucket}"):
                try:
                    page: dict[str, Any] = self._filesystem.call_s3(
                        "list_objects_v2", Bucket=bucket, Prefix=start, **options, **following
                    )
                except FileNotFoundError:
                    return
            yield page
            if not page.get("IsTruncated"):
                return
            following = {"ContinuationToken": page["NextContinuationToken"]}

    def _ledger(self, shelf: Shelf) -> ProvenanceLedger:
        notes = self._in_bucket(shelf.bucket, ".provenance", shelf.owner, shelf.collection)
        return ProvenanceLedger(S3Documents(notes, self._filesystem), f"{shelf.owner}/{shelf.collection}")


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

    def names(self, kind: str) -> Iterator[str]:
        """See ``Documents.names``."""
        yield from stored_sizes(self.filesystem, self.folder.below(kind))

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

    def remove(self, name: str) -> None:
        """See ``Documents.remove``."""
        delete_objects(self.filesystem, self.folder, [name])


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
