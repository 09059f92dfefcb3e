"""The members of a zip file, in the order of its bytes, every byte accounted for."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final

from conversion_assets.safe import zip_directory as directory
from conversion_assets.safe.faults import InputFaultError
from conversion_assets.safe.inflation import inflate, inflate64_stream
from conversion_assets.safe.members import Member, Progress, file_pieces, watched
from conversion_assets.safe.zip_directory import ZipEntry

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_LOCAL_SIGNATURE: Final = b"PK\x03\x04"
_DESCRIPTOR_SIGNATURE: Final = b"PK\x07\x08"
_COMPRESSION_LEVEL_BITS: Final = 0b110


class ZipReader:
    """Read a zip file: stored, deflated and Deflate64 members, zip64 included.

    Args:
        file: the open archive.
        size: its size in bytes.
        max_entries: entries above which the archive is refused.
        on_progress: called with bytes of the archive read and its size.

    Raises:
        InputFaultError: where the table of contents breaks a rule.
    """

    def __init__(
        self, file: BinaryIO, size: int, max_entries: int, on_progress: Progress | None = None
    ) -> None:
        self._file = file
        self._size = size
        self._on_progress = on_progress
        self._directory = directory.read_directory(file, size, max_entries)
        self.announced_bytes: int | None = sum(entry.size for entry in self._directory.entries)

    def members(self) -> Iterator[Member]:
        """Yield the members; each must begin where the one before ended.

        Raises:
            InputFaultError: where headers disagree, members overlap or leave gaps, or data are damaged.
        """
        entries = self._directory.entries
        starts = [entry.offset for entry in entries] + [self._directory.data_end]
        if starts[0] != 0:
            raise InputFaultError("bytes stand before the first member")
        self._file.seek(0)
        for entry, end in zip(entries, starts[1:], strict=True):
            self._check_local_header(entry)
            yield Member(entry.name.removesuffix("/"), entry.is_directory, entry.size, self._content(entry))
            self._check_end(entry, end)

    def _check_local_header(self, entry: ZipEntry) -> None:
        header = self._file.read(_LOCAL.size)
        if len(header) < _LOCAL.size or not header.startswith(_LOCAL_SIGNATURE):
            raise InputFaultError("no local header stands where the table of contents says", entry.name)
        _, _, flags, method, _, _, crc, compressed_size, size, name_size, extra_size = _LOCAL.unpack(header)
        raw_name, extra = self._file.read(name_size), self._file.read(extra_size)
        extras = directory.extra_fields(extra, entry.name)
        size, compressed_size, _ = directory.widened(extras, (size, compressed_size, 0), entry.name)
        same_flags = (flags ^ entry.flags) & ~_COMPRESSION_LEVEL_BITS == 0
        if (raw_name, method, same_flags) != (entry.raw_name, entry.method, True):
            raise InputFaultError(
                "local header and table of contents disagree on name, method or flags", entry.name
            )
        told = (crc, compressed_size, size)
        is_told_later = flags & directory.FLAG_DESCRIPTOR and not any(told)
        if not is_told_later and told != (entry.crc, entry.compressed_size, entry.size):
            raise InputFaultError("local header and table of contents disagree on CRC or sizes", entry.name)

    def _content(self, entry: ZipEntry) -> Iterator[bytes]:
        stored = watched(
            file_pieces(self._file, entry.compressed_size), self._file, self._size, self._on_progress
        )
        crc = 0
        for piece in _decompressed(stored, entry):
            crc = zlib.crc32(piece, crc)
            yield piece
        if crc != entry.crc:
            raise InputFaultError("the content does not have the CRC-32 that the archive gives", entry.name)

    def _check_end(self, entry: ZipEntry, end: int) -> None:
        gap = end - self._file.tell()
        expected = _descriptors(entry) if entry.flags & directory.FLAG_DESCRIPTOR else (b"",)
        if gap not in map(len, expected) or self._file.read(gap) not in expected:
            raise InputFaultError("the member overlaps the next one or leaves a gap before it", entry.name)


def _decompressed(pieces: Iterator[bytes], entry: ZipEntry) -> Iterator[bytes]:
    if entry.method == directory.STORED or entry.compressed_size == 0:
        return pieces
    return inflate(pieces) if entry.method == directory.DEFLATED else inflate64_stream(pieces)


def _descriptors(entry: ZipEntry) -> tuple[bytes, ...]:
    """Give the four spellings of a data descriptor: with a signature or not, of 32 or of 64 bits."""
    sizes = (entry.crc, entry.compressed_size, entry.size)
    bodies = [struct.pack("<LQQ", *sizes)]
    if max(sizes) <= directory.UNKNOWN_32:
        bodies.append(struct.pack("<LLL", *sizes))
    return tuple(mark + body for body in bodies for mark in (b"", _DESCRIPTOR_SIGNATURE))
