"""Archives of a product in the forms that providers deliver, the same bytes for the same product."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

import zstandard

from conversion_assets.errors import OrderError

SUFFIXES: Final = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.zst")
MEMBER_DATE: Final = (2024, 6, 16, 0, 0, 0)
MEMBER_SECONDS: Final = 1718496000
"""`MEMBER_DATE` in seconds since 1970."""
FILE_MODE: Final = 0o644
FOLDER_MODE: Final = 0o755

BinaryStream: TypeAlias = BinaryIO | gzip.GzipFile | zstandard.ZstdCompressionWriter


def make_archive(product: Path, *, suffix: str = ".zip", with_root: bool = True) -> Path:
    """Pack a product beside its folder.

    Args:
        product: folder of the product.
        suffix: form of the archive, one of `SUFFIXES`; it is added to the name of the folder.
        with_root: whether the product's own folder is the root of the members.

    Returns:
        The archive.

    Raises:
        OrderError: the suffix is none of `SUFFIXES`.
    """
    if suffix not in SUFFIXES:
        raise OrderError(suffix, "unknown suffix of an archive", f"Choose one of {', '.join(SUFFIXES)}.")
    archive = product.with_name(product.name + suffix)
    members = _members(product, with_root=with_root)
    if suffix == ".zip":
        _write_zip(archive, members)
    else:
        with _compressed(archive) as stream:
            _write_tar(stream, members)
    return archive


def _members(product: Path, *, with_root: bool) -> list[tuple[str, Path]]:
    """Name and path of each member, folders before what they hold."""
    base = product.parent if with_root else product
    paths = [product, *sorted(product.rglob("*"))] if with_root else sorted(product.rglob("*"))
    return [(path.relative_to(base).as_posix(), path) for path in paths]


def _write_zip(archive: Path, members: list[tuple[str, Path]]) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for name, path in members:
            folder = path.is_dir()
            info = zipfile.ZipInfo(f"{name}/" if folder else name, MEMBER_DATE)
            info.compress_type = zipfile.ZIP_STORED if folder else zipfile.ZIP_DEFLATED
            info.external_attr = (0o040000 | FOLDER_MODE if folder else 0o100000 | FILE_MODE) << 16
            target.writestr(info, b"" if folder else path.read_bytes())


def _write_tar(stream: BinaryStream, members: list[tuple[str, Path]]) -> None:
    with tarfile.open(fileobj=stream, mode="w|") as target:
        for name, path in members:
            info = tarfile.TarInfo(name)
            info.mtime = MEMBER_SECONDS
            if path.is_dir():
                info.type, info.mode = tarfile.DIRTYPE, FOLDER_MODE
                target.addfile(info)
            else:
                info.size, info.mode = path.stat().st_size, FILE_MODE
                with path.open("rb") as content:
                    target.addfile(info, content)


@contextmanager
def _compressed(archive: Path) -> Iterator[BinaryStream]:
    """A stream whose bytes end up in the archive, compressed as its name says."""
    with archive.open("wb") as file:
        if archive.name.endswith((".tgz", ".gz")):
            with gzip.GzipFile("", "wb", fileobj=file, mtime=MEMBER_SECONDS) as packed:
                yield packed
        elif archive.name.endswith(".zst"):
            with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as packed:
                yield packed
        else:
            yield file
