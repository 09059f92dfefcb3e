"""Read access to a finished Zarr product, in a folder of this machine or in an object store."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from hashlib import sha256
from io import UnsupportedOperation
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn
from urllib.parse import urlsplit

from conversion_assets.storage.faults import explained

CONSOLIDATED_METADATA = ".zmetadata"
METADATA_NAMES = frozenset({".zarray", ".zattrs", ".zgroup"})
READERS = 16


class ProductFolder(ABC):
    """One product as it is when it is first looked at, wherever it lies.

    Attributes:
        name: ``<EOPF name>.zarr``.
        uri: where it lies: ``file:///...`` or ``s3://...``.
        path: the folder, None where it is none of this machine.
        storage_options: what a reader must tell xarray besides its own credentials.
    """

    name: str
    uri: str
    path: Path | None = None
    storage_options: Mapping[str, str] = {}

    def __str__(self) -> str:
        return str(self.path or self.uri)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def objects(self) -> Mapping[str, int | None]:
        """Give every object by its path in the product, with its bytes; listed once and kept.

        What is no regular file, such as a link, has None in the place of bytes and is not followed.

        Raises:
            FileNotFoundError: there is no product.
            TransientError: the object store cannot be reached just now.
            PermanentError: the object store refuses.
        """
        return self._objects

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Read one object.

        Args:
            path: its path in the product.

        Raises:
            FileNotFoundError: there is no such object.
            OSError: a file cannot be read.
            TransientError: the object store cannot be reached just now.
            PermanentError: the object store refuses.
        """

    def read_many(self, paths: Iterable[str]) -> dict[str, bytes | None]:
        """Read several objects; None stands for one that is not there, or for an unreadable file.

        Args:
            paths: their paths in the product.

        Raises:
            TransientError: the object store cannot be reached just now.
            PermanentError: the object store refuses.
        """
        return {path: self._read_or_none(path) for path in paths}

    @abstractmethod
    def store(self) -> Any:  # noqa: ANN401 - zarr and xarray have no common type for what both of them open
        """Give what ``zarr.open_array`` and ``xarray.open_datatree`` open: a path, or a read-only mapping."""

    @cached_property
    def _objects(self) -> dict[str, int | None]:
        return dict(self._listed())

    @abstractmethod
    def _listed(self) -> Iterator[tuple[str, int | None]]: ...

    def _read_or_none(self, path: str) -> bytes | None:
        try:
            return self.read(path)
        except OSError:
            return None


def local_product(path: Path) -> ProductFolder:
    """Read a product in a folder.

    Args:
        path: the folder, ``<EOPF name>.zarr``.
    """
    return _LocalProduct(path)


def stored_product(
    filesystem: Any,  # noqa: ANN401 - fsspec ships no types
    root: str,
    uri: str,
) -> ProductFolder:
    """Read a product in an object store.

    Args:
        filesystem: the fsspec file system of the store.
        root: the product in that file system, such as ``bucket/prefix/<EOPF name>.zarr``.
        uri: the same for readers, such as ``s3://bucket/prefix/<EOPF name>.zarr``.
    """
    return _StoredProduct(filesystem, root, uri)


def metadata_digest(product: ProductFolder) -> str:
    """SHA-256 of a product's root ``.zmetadata``, which changes with everything but the chunks.

    Raises:
        FileNotFoundError: the product has none.
        ConversionAssetsError: as ``ProductFolder.read``.
    """
    return sha256(product.read(CONSOLIDATED_METADATA)).hexdigest()


class _LocalProduct(ProductFolder):
    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.uri = path.absolute().as_uri()
        self.path = self._folder = path

    def read(self, path: str) -> bytes:
        return (self._folder / path).read_bytes()

    def store(self) -> str:
        return os.fspath(self._folder)

    def _listed(self) -> Iterator[tuple[str, int | None]]:
        folders = [("", os.fspath(self._folder))]
        while folders:
            prefix, folder = folders.pop()
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append((f"{prefix}{entry.name}/", entry.path))
                    else:
                        yield prefix + entry.name, _size(entry)


def _size(entry: os.DirEntry[str]) -> int | None:
    return entry.stat(follow_symlinks=False).st_size if entry.is_file(follow_symlinks=False) else None


class _StoredProduct(ProductFolder):
    """Metadata documents are small and asked for again and again: they are kept once they were read."""

    def __init__(self, filesystem: Any, root: str, uri: str) -> None:  # noqa: ANN401 - fsspec ships no types
        self._filesystem = filesystem
        self._root = root.rstrip("/")
        self._documents: dict[str, bytes] = {}
        self.name = PurePosixPath(self._root).name
        self.uri = uri.rstrip("/")
        self.storage_options = _public_options(filesystem)

    def read(self, path: str) -> bytes:
        known = self._documents.get(path)
        return self._fetched(path) if known is None else known

    def read_many(self, paths: Iterable[str]) -> dict[str, bytes | None]:
        wanted = list(paths)
        with ThreadPoolExecutor(READERS) as readers:
            return dict(zip(wanted, readers.map(self._read_or_none, wanted), strict=True))

    def store(self) -> MutableMapping[str, bytes]:
        return _ReadOnlyStore(self)

    def _fetched(self, path: str) -> bytes:
        with explained(self.uri):
            try:
                content: bytes = self._filesystem.cat_file(f"{self._root}/{path}")
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    errno.ENOENT, os.strerror(errno.ENOENT), f"{self.uri}/{path}"
                ) from error
        if PurePosixPath(path).name in METADATA_NAMES | {CONSOLIDATED_METADATA}:
            self._documents[path] = content
        return content

    def _listed(self) -> Iterator[tuple[str, int | None]]:
        with explained(self.uri):
            found: dict[str, dict[str, Any]] = self._filesystem.find(self._root, detail=True)
        objects = [
            (name.removeprefix(f"{self._root}/"), info)
            for name, info in found.items()
            # Some tools mark a folder by an empty object that is named like it.
            if name.startswith(f"{self._root}/") and not name.endswith("/")
        ]
        if not objects:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.uri)
        yield from ((path, int(info["size"]) if info["type"] == "file" else None) for path, info in objects)


class _ReadOnlyStore(MutableMapping[str, bytes]):
    """A product as zarr reads it.

    Only what the listing lacks is a missing chunk, which zarr fills up. The stores of zarr and fsspec
    take every refusal and every lost connection for one, and give fill values in the place of data.
    """

    def __init__(self, product: ProductFolder) -> None:
        self._product = product

    def __getitem__(self, key: str) -> bytes:
        if key not in self._product.objects():
            raise KeyError(key)
        return self._product.read(key)

    def __contains__(self, key: object) -> bool:
        return key in self._product.objects()

    def __iter__(self) -> Iterator[str]:
        return iter(self._product.objects())

    def __len__(self) -> int:
        return len(self._product.objects())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._product!r})"

    def __setitem__(self, key: str, value: bytes) -> NoReturn:
        raise UnsupportedOperation("a finished product is not written to")

    def __delitem__(self, key: str) -> NoReturn:
        raise UnsupportedOperation("a finished product is not written to")


def _public_options(filesystem: Any) -> dict[str, str]:  # noqa: ANN401 - fsspec ships no types
    """Give the endpoint of an S3 file system that is not AWS itself, without user name and password."""
    configured = getattr(filesystem, "client_kwargs", {}).get("endpoint_url")
    endpoint = getattr(filesystem, "endpoint_url", None) or configured
    if not endpoint:
        return {}
    parts = urlsplit(endpoint)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")
    return {"endpoint_url": bare.geturl()}
