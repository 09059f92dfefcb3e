"""From an archive to a product folder: all of it, or nothing.

The format is told by content, not by name. One pass over the bytes checks names, sizes and checksums
while they are written to a hidden folder beside the destination; the product gets its name last.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, NoReturn

from conversion_assets.errors import OrderError, PermanentError
from conversion_assets.safe.faults import InputFaultError, refusal
from conversion_assets.safe.inflation import gunzip, unzstd
from conversion_assets.safe.member_names import ClaimedNames, member_path
from conversion_assets.safe.members import (
    ArchiveReader,
    ExtractionLimits,
    Member,
    Progress,
    file_pieces,
    watched,
)
from conversion_assets.safe.naming import PRODUCT_SUFFIXES, without_archive_suffix
from conversion_assets.safe.tar_archive import TarReader
from conversion_assets.safe.tar_header import BLOCK_BYTES, is_tar_header
from conversion_assets.safe.zip_archive import ZipReader

__all__ = [
    "ArchiveFormat",
    "ExtractedProduct",
    "ExtractionLimits",
    "archive_format",
    "extract_product",
    "is_archive",
]

STAGING_PREFIX: Final = ".extracting-"
_DEFAULT_LIMITS: Final = ExtractionLimits()
_SUFFIX_OF_MANIFEST: Final = {"manifest.safe": ".SAFE", "xfdumanifest.xml": ".SEN3"}
_FOLDER_MODE: Final = 0o755
_FILE_MODE: Final = 0o644


class ArchiveFormat(StrEnum):
    """The formats that can be unpacked."""

    ZIP = "zip"
    TAR = "tar"
    TAR_GZIP = "tar.gz"
    TAR_ZSTANDARD = "tar.zst"


_MAGIC: Final = {
    b"PK\x03\x04": ArchiveFormat.ZIP,
    b"PK\x05\x06": ArchiveFormat.ZIP,
    b"\x1f\x8b": ArchiveFormat.TAR_GZIP,
    b"\x28\xb5\x2f\xfd": ArchiveFormat.TAR_ZSTANDARD,
}


@dataclass(frozen=True)
class ExtractedProduct:
    """A product that was unpacked whole.

    Attributes:
        root: the product's folder, ``<NAME>.SAFE`` or ``<NAME>.SEN3``.
        files: number of files in it.
        total_bytes: bytes of these files.
    """

    root: Path
    files: int
    total_bytes: int


def archive_format(path: Path) -> ArchiveFormat | None:
    """Tell the format of a file by its first bytes.

    Args:
        path: any path.

    Returns:
        The format, or None where the path is not a file that begins like an archive.
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(BLOCK_BYTES)
    for magic, found in _MAGIC.items():
        if start.startswith(magic):
            return found
    return ArchiveFormat.TAR if is_tar_header(start) else None


def is_archive(path: Path) -> bool:
    """Tell whether a file begins like an archive that `extract_product` can read."""
    return archive_format(path) is not None


def extract_product(
    archive: Path,
    destination: Path,
    limits: ExtractionLimits = _DEFAULT_LIMITS,
    on_progress: Progress | None = None,
) -> ExtractedProduct:
    """Unpack the one product of an archive.

    Args:
        archive: a zip (stored, deflated, Deflate64), tar, tar.gz or tar.zst file.
        destination: the folder to put the product in, made where it is missing.
        limits: how much the archive may unpack to.
        on_progress: called with bytes of the archive read so far and its size in bytes.

    Returns:
        The product's folder, files and bytes.

    Raises:
        OrderError: where there is no such file.
        PoisonedInputError: where the archive is damaged, hostile, over the limits, or does not hold
            exactly one product; names the archive, the member and the rule.
        PermanentError: where the product is there already, or the disk is full.
    """
    found = archive_format(archive)
    if found is None:
        _refuse_other_files(archive)
    destination.mkdir(parents=True, exist_ok=True)
    with _staging_folder(destination) as staging, archive.open("rb") as file:
        extraction = _Extraction(archive, destination, staging, limits)
        with _disk_errors(destination, extraction):
            extraction.run(file, found, on_progress)
            root = _promote(extraction.product_folder(), destination)
    return ExtractedProduct(root, extraction.files, extraction.total_bytes)


def _refuse_other_files(archive: Path) -> NoReturn:
    if not archive.is_file():
        raise OrderError(archive, "there is no such file", "Give the path of an archive that exists")
    raise refusal(archive, "the file is not a zip, tar, tar.gz or tar.zst archive, whatever its name says")


@contextmanager
def _staging_folder(destination: Path) -> Iterator[Path]:
    staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=destination))
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


class _Extraction:
    """One archive on its way into a folder: what was written, and what may still be."""

    def __init__(self, archive: Path, destination: Path, staging: Path, limits: ExtractionLimits) -> None:
        self.files = 0
        self.total_bytes = 0
        self.announced_bytes = archive.stat().st_size
        self._archive = archive
        self._archive_bytes = self.announced_bytes
        self._destination = destination
        self._limits = limits
        self._names = ClaimedNames()
        self._content = staging / "content"
        self._content.mkdir()
        self._content.chmod(_FOLDER_MODE)

    def run(self, file: BinaryIO, found: ArchiveFormat, on_progress: Progress | None) -> None:
        """Write every member of the archive; refuse the whole at the first fault."""
        current: str | None = None
        try:
            reader = self._reader(file, found, on_progress)
            self._check_space(reader)
            for member in reader.members():
                current = member.name
                self._add(member)
                current = None
            if on_progress is not None:
                on_progress(self._archive_bytes, self._archive_bytes)
        except InputFaultError as fault:
            member_name = current if fault.member is None else fault.member
            raise refusal(self._archive, fault.rule, member_name) from fault

    def _reader(self, file: BinaryIO, found: ArchiveFormat, on_progress: Progress | None) -> ArchiveReader:
        if found is ArchiveFormat.ZIP:
            return ZipReader(file, self._archive_bytes, self._limits.max_entries, on_progress)
        pieces = watched(file_pieces(file, self._archive_bytes), file, self._archive_bytes, on_progress)
        if found is ArchiveFormat.TAR_GZIP:
            return TarReader(gunzip(pieces))
        return TarReader(unzstd(pieces) if found is ArchiveFormat.TAR_ZSTANDARD else pieces)

    def _check_space(self, reader: ArchiveReader) -> None:
        if reader.announced_bytes is not None:
            self._check_totals(reader.announced_bytes)
            self.announced_bytes = reader.announced_bytes
        if shutil.disk_usage(self._content).free < self.announced_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _add(self, member: Member) -> None:
        path = member_path(member.name)
        self._names.claim(path, is_directory=member.is_directory)
        if len(self._names) > self._limits.max_entries:
            raise InputFaultError(f"the archive holds more than {self._limits.max_entries} entries")
        self._check_totals(self.total_bytes + member.size)
        target = self._content / path
        if path.parts[0].endswith(PRODUCT_SUFFIXES):
            _check_is_new(self._destination / path.parts[0])
        self._make_folders(path if member.is_directory else path.parent)
        pieces = self._measured(member)
        if member.is_directory:
            for _ in pieces:
                pass
        else:
            _write(target, pieces)
            self.files += 1

    def _make_folders(self, path: PurePosixPath) -> None:
        for folder in (*reversed(path.parents), path):
            target = self._content / folder
            if not target.is_dir():
                target.mkdir()
                target.chmod(_FOLDER_MODE)

    def _measured(self, member: Member) -> Iterator[bytes]:
        size = 0
        for piece in member.pieces:
            size += len(piece)
            if size > member.size:
                raise InputFaultError(f"the member holds more than the {member.size} bytes announced")
            self.total_bytes += len(piece)
            self._check_totals(self.total_bytes)
            yield piece
        if size != member.size:
            raise InputFaultError(f"the member holds {size} bytes, {member.size} were announced")

    def _check_totals(self, total_bytes: int) -> None:
        limits = self._limits
        if total_bytes > limits.max_total_bytes:
            raise InputFaultError(f"the archive unpacks to more than {limits.max_total_bytes} bytes")
        is_bomb = total_bytes > limits.max_ratio * self._archive_bytes
        if is_bomb and total_bytes > limits.ratio_floor_bytes:
            raise InputFaultError(f"the archive unpacks to more than {limits.max_ratio:g} times its size")

    def product_folder(self) -> Path:
        """Find the product in what was written.

        Returns:
            Its folder, under its final name or as the folder of content that has to be named.
        """
        top = sorted(path.name for path in self._content.iterdir())
        manifests = [name for name in top if name in _SUFFIX_OF_MANIFEST]
        products = [name for name in top if name.endswith(PRODUCT_SUFFIXES)]
        if len(manifests) == 1 and not products:
            return self._content.rename(self._content.with_name(self._name_from_archive(manifests[0])))
        if len(products) != 1 or len(top) != 1 or not (self._content / top[0]).is_dir():
            shown = ", ".join(ascii(name) for name in top[:10]) or "nothing"
            rule = f"the archive must hold one .SAFE or .SEN3 folder and nothing beside it, not {shown}"
            raise refusal(self._archive, rule)
        return self._content / products[0]

    def _name_from_archive(self, manifest: str) -> str:
        name = without_archive_suffix(self._archive.name)
        suffix = _SUFFIX_OF_MANIFEST[manifest]
        if not name.endswith(PRODUCT_SUFFIXES):
            name += suffix
        try:
            usable = name == member_path(name).name and name != suffix and name.endswith(suffix)
        except InputFaultError:
            usable = False
        if not usable:
            rule = f"the archive's name must give a product with {manifest} a name that ends in {suffix}"
            raise refusal(self._archive, rule)
        return name


def _write(target: Path, pieces: Iterator[bytes]) -> None:
    with target.open("xb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fchmod(file.fileno(), _FILE_MODE)
        os.fsync(file.fileno())


def _promote(folder: Path, destination: Path) -> Path:
    root = destination / folder.name
    _check_is_new(root)
    for parent, _, _ in os.walk(folder):
        _sync_folder(Path(parent))
    folder.rename(root)
    _sync_folder(destination)
    return root


def _check_is_new(root: Path) -> None:
    if os.path.lexists(root):
        raise PermanentError(root, "the product is there already", "Remove it, or extract to another folder")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk_errors(destination: Path, extraction: _Extraction) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        available = shutil.disk_usage(destination).free + extraction.total_bytes
        needed = max(extraction.announced_bytes, extraction.total_bytes)
        rule = f"the disk is full: at least {needed} bytes are needed, {available} are available"
        raise PermanentError(destination, rule, "Free space there, or extract to another disk") from error
