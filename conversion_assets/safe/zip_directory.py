"""The table of contents of a zip file, read strictly.

Where the format leaves room for two readings (APPNOTE.TXT 6.3.10 of PKWARE), the file is refused: a
reader that starts at the front and one that starts at the back must see the same members.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from conversion_assets.safe.faults import InputFaultError

UNKNOWN_32: Final = 0xFFFFFFFF
_UNKNOWN_16: Final = 0xFFFF

STORED: Final = 0
DEFLATED: Final = 8
DEFLATED_64: Final = 9

_FLAG_ENCRYPTED: Final = 1 << 0
FLAG_DESCRIPTOR: Final = 1 << 3
_FLAG_PATCH: Final = 1 << 5
_FLAG_STRONG_ENCRYPTION: Final = 1 << 6
_FLAG_UTF8: Final = 1 << 11
_FLAG_MASKED_HEADER: Final = 1 << 13

_END: Final = struct.Struct("<4s4H2LH")
_END_SIGNATURE: Final = b"PK\x05\x06"
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_END_64_SIGNATURE: Final = b"PK\x06\x06"
_LOCATOR_64: Final = struct.Struct("<4sLQL")
_LOCATOR_64_SIGNATURE: Final = b"PK\x06\x07"
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_CENTRAL_SIGNATURE: Final = b"PK\x01\x02"
_MAX_COMMENT_BYTES: Final = 0xFFFF

EXTRA_ZIP64: Final = 0x0001
_EXTRA_UNICODE_PATH: Final = 0x7075


@dataclass(frozen=True)
class ZipEntry:
    """One entry of the central directory.

    Attributes:
        name: the decoded name, with the slash that marks a folder.
        raw_name: the name as stored.
        flags: general purpose bits.
        method: compression method.
        crc: CRC-32 of the content.
        compressed_size: bytes in the archive.
        size: bytes of the content.
        offset: where its local header begins.
    """

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    compressed_size: int
    size: int
    offset: int

    @property
    def is_directory(self) -> bool:
        """Whether the entry is a folder."""
        return self.name.endswith("/")


@dataclass(frozen=True)
class ZipDirectory:
    """The entries in the order of their offsets, and where their data end."""

    entries: tuple[ZipEntry, ...]
    data_end: int


@dataclass(frozen=True)
class _Extent:
    count: int
    size: int
    offset: int
    end: int


def read_directory(file: BinaryIO, size: int, max_entries: int) -> ZipDirectory:
    """Read and check the central directory.

    Args:
        file: the open archive.
        size: its size in bytes.
        max_entries: entries above which the archive is refused before they are read.

    Raises:
        InputFaultError: where the archive is not exactly one zip file of one volume.
    """
    extent = _find_directory(file, size)
    if extent.count > max_entries:
        raise InputFaultError(f"the archive announces {extent.count} entries, {max_entries} are allowed")
    if extent.offset + extent.size != extent.end:
        raise InputFaultError(
            "bytes stand before the first member or after the central directory that belong to neither"
        )
    file.seek(extent.offset)
    entries = sorted(_entries(file, extent), key=lambda entry: entry.offset)
    return ZipDirectory(tuple(entries), extent.offset)


def _find_directory(file: BinaryIO, size: int) -> _Extent:
    end_offset, end = _find_end_record(file, size)
    _, disk, first_disk, here, count, directory_size, offset, _ = end
    if end_offset >= _LOCATOR_64.size:
        locator_offset = end_offset - _LOCATOR_64.size
        locator = _read_at(file, locator_offset, _LOCATOR_64.size)
        if locator.startswith(_LOCATOR_64_SIGNATURE):
            return _find_directory_64(file, locator_offset, locator, (count, directory_size, offset))
    if (disk, first_disk, here) != (0, 0, count):
        raise InputFaultError("the archive is one volume of several")
    return _Extent(count, directory_size, offset, end_offset)


def _find_end_record(
    file: BinaryIO, size: int
) -> tuple[int, tuple[bytes, int, int, int, int, int, int, int]]:
    tail_size = min(size, _END.size + _MAX_COMMENT_BYTES)
    tail = _read_at(file, size - tail_size, tail_size)
    ends = tuple(
        position for position in _positions(tail, _END_SIGNATURE) if _reaches_the_end(tail, position)
    )
    if not ends:
        raise InputFaultError("no end record closes the file: it is truncated, or bytes were added to it")
    if len(ends) > 1 or tail.rfind(_END_SIGNATURE) != ends[0]:
        raise InputFaultError("several end records: readers would disagree on the members")
    return size - tail_size + ends[0], _END.unpack_from(tail, ends[0])


def _positions(data: bytes, mark: bytes) -> Iterator[int]:
    position = data.find(mark)
    while position >= 0:
        yield position
        position = data.find(mark, position + 1)


def _reaches_the_end(tail: bytes, position: int) -> bool:
    if position + _END.size > len(tail):
        return False
    (comment_size,) = struct.unpack_from("<H", tail, position + _END.size - 2)
    return bool(position + _END.size + comment_size == len(tail))


def _find_directory_64(
    file: BinaryIO, locator_offset: int, locator: bytes, small: tuple[int, int, int]
) -> _Extent:
    _, disk, end_offset, disks = _LOCATOR_64.unpack(locator)
    if end_offset + _END_64.size > locator_offset:
        raise InputFaultError("the zip64 end record lies outside the file")
    record = _END_64.unpack(_read_at(file, end_offset, _END_64.size))
    signature, record_size, _, _, this_disk, first_disk, here, count, directory_size, offset = record
    if signature != _END_64_SIGNATURE or end_offset + 12 + record_size != locator_offset:
        raise InputFaultError("the zip64 end record is not where its locator says")
    if (disk, this_disk, first_disk, here) != (0, 0, 0, count) or disks > 1:
        raise InputFaultError("the archive is one volume of several")
    unknown = (_UNKNOWN_16, UNKNOWN_32, UNKNOWN_32)
    for told, placeholder, true in zip(small, unknown, (count, directory_size, offset), strict=True):
        if told not in (placeholder, true):
            raise InputFaultError("the two end records disagree on the members")
    return _Extent(count, directory_size, offset, end_offset)


def _entries(file: BinaryIO, extent: _Extent) -> Iterator[ZipEntry]:
    for _ in range(extent.count):
        header = file.read(_CENTRAL.size)
        if len(header) < _CENTRAL.size or not header.startswith(_CENTRAL_SIGNATURE):
            raise InputFaultError("the central directory holds fewer entries than announced")
        yield _entry(file, _CENTRAL.unpack(header))
    if file.tell() != extent.end:
        raise InputFaultError("the central directory holds more than the entries announced")


def _entry(file: BinaryIO, header: tuple[int, ...]) -> ZipEntry:
    flags, method, _, _, crc, compressed_size, size = header[3:10]
    name_size, extra_size, comment_size, disk, _, external, offset = header[10:17]
    raw_name, extra = file.read(name_size), file.read(extra_size)
    file.seek(comment_size, 1)
    name = _decode(raw_name, flags)
    extras = extra_fields(extra, name)
    size, compressed_size, offset = widened(extras, (size, compressed_size, offset), name)
    entry = ZipEntry(name, raw_name, flags, method, crc, compressed_size, size, offset)
    _check_alternative_name(extras, raw_name, name)
    _check_entry(entry, disk, external >> 16)
    return entry


def _decode(raw_name: bytes, flags: int) -> str:
    try:
        return raw_name.decode("utf-8" if flags & _FLAG_UTF8 else "cp437")
    except UnicodeDecodeError as error:
        shown = raw_name.decode("utf-8", "backslashreplace")
        raise InputFaultError("the name is marked as UTF-8 and is not", shown) from error


def extra_fields(extra: bytes, name: str) -> dict[int, bytes]:
    """Split the extra field of a header into its blocks.

    Args:
        extra: the bytes of the field.
        name: the member, for the error.

    Raises:
        InputFaultError: where a block that matters stands twice or is cut.
    """
    fields: dict[int, bytes] = {}
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        position += 4 + length
        if position > len(extra) or (kind in fields and kind in (EXTRA_ZIP64, _EXTRA_UNICODE_PATH)):
            raise InputFaultError("the extra field of the header is damaged", name)
        fields[kind] = extra[position - length : position]
    return fields


def widened(extras: dict[int, bytes], numbers: tuple[int, int, int], name: str) -> tuple[int, int, int]:
    """Replace the numbers that say "see the zip64 block" by those of the block.

    Args:
        extras: the extra field of the header.
        numbers: size, compressed size and offset as the header has them.
        name: the member, for the error.

    Raises:
        InputFaultError: where a number points to a block that does not hold it.
    """
    block = extras.get(EXTRA_ZIP64, b"")
    wide = []
    for number in numbers:
        if number != UNKNOWN_32:
            wide.append(number)
            continue
        if len(block) < 8:  # noqa: PLR2004 - a 64-bit number has eight bytes
            raise InputFaultError("the zip64 block of the header lacks a number", name)
        wide.append(int.from_bytes(block[:8], "little"))
        block = block[8:]
    return wide[0], wide[1], wide[2]


def _check_alternative_name(extras: dict[int, bytes], raw_name: bytes, name: str) -> None:
    alternative = extras.get(_EXTRA_UNICODE_PATH)
    if alternative is not None and alternative[5:] not in (raw_name, name.encode()):
        raise InputFaultError("the member has two names: readers would disagree on it", name)


def _check_entry(entry: ZipEntry, disk: int, unix_mode: int) -> None:
    encrypted = _FLAG_ENCRYPTED | _FLAG_STRONG_ENCRYPTION | _FLAG_MASKED_HEADER
    kind = stat.S_IFMT(unix_mode)
    for rule, is_broken in (
        ("encrypted members are not accepted", entry.flags & encrypted),
        ("members stored as patches are not accepted", entry.flags & _FLAG_PATCH),
        ("the archive is one volume of several", disk),
        ("links, devices and pipes are not accepted", kind not in (0, stat.S_IFREG, stat.S_IFDIR)),
        ("a folder's name must end with a slash", kind == stat.S_IFDIR and not entry.is_directory),
        ("a file's name may not end with a slash", kind == stat.S_IFREG and entry.is_directory),
        ("a folder may not have content", entry.is_directory and entry.size),
        (
            "a stored member must have one size",
            entry.method == STORED and entry.compressed_size != entry.size,
        ),
        (
            f"compression method {entry.method} is not supported (0, 8 and 9 are)",
            entry.method not in (STORED, DEFLATED, DEFLATED_64),
        ),
    ):
        if is_broken:
            raise InputFaultError(rule, entry.name)


def _read_at(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)
