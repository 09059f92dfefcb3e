"""The members of a tar stream, plain or decompressed, up to its end marker and no further.

A plain tar carries no checksum of its contents: damage there is found by the product's manifest. The
compressed families are checked by their own CRC or checksum on the way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from conversion_assets.safe.byte_stream import ByteStream
from conversion_assets.safe.faults import InputFaultError
from conversion_assets.safe.members import Member
from conversion_assets.safe.tar_header import (
    BLOCK_BYTES,
    DIRECTORY_KIND,
    FILE_KINDS,
    LONG_NAME_KIND,
    PAX_GLOBAL_KIND,
    TarHeader,
    decode_name,
    read_header,
    read_pax_records,
)

_MAX_EXTENSION_BYTES: Final = 1 << 20
_MAX_PADDING_BYTES: Final = 16 << 20
_ZERO_BLOCK: Final = bytes(BLOCK_BYTES)


class TarReader:
    """Read a tar stream: v7, ustar, pax and GNU long names.

    Args:
        pieces: the bytes of the stream, in order.
    """

    announced_bytes: int | None = None

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._stream = ByteStream(pieces)

    def members(self) -> Iterator[Member]:
        """Yield the members.

        Raises:
            InputFaultError: where the stream is damaged, truncated, or goes on behind its end.
        """
        while (member := self._next_member()) is not None:
            if member.name or not member.is_directory:
                yield member
        self._check_end()

    def _next_member(self) -> Member | None:
        records: dict[str, str] = {}
        extensions: set[bytes] = set()
        while (block := self._stream.take(BLOCK_BYTES)) != _ZERO_BLOCK:
            header = read_header(block)
            if header.kind in (*FILE_KINDS, DIRECTORY_KIND):
                return self._member(header, records)
            if header.kind in extensions:
                raise InputFaultError(
                    "two extended headers of one kind stand before one member", header.shown_name
                )
            extensions.add(header.kind)
            found = self._extension(header)
            if not records.keys().isdisjoint(found):
                raise InputFaultError("two extended headers name the same member", header.shown_name)
            records |= found
        if extensions:
            raise InputFaultError("an extended header is followed by no member")
        return None

    def _extension(self, header: TarHeader) -> dict[str, str]:
        if header.size > _MAX_EXTENSION_BYTES:
            raise InputFaultError(
                f"an extended header is longer than {_MAX_EXTENSION_BYTES} bytes", header.shown_name
            )
        data = b"".join(self._content(header.size))
        if header.kind == LONG_NAME_KIND:
            return {"path": decode_name(data.rstrip(b"\0"))}
        return read_pax_records(data, is_global=header.kind == PAX_GLOBAL_KIND)

    def _member(self, header: TarHeader, records: dict[str, str]) -> Member:
        is_directory = header.kind == DIRECTORY_KIND
        path = records["path"] if "path" in records else decode_name(header.raw_name)
        name = _plain_name(path, is_directory=is_directory)
        size = _size(records["size"], name) if "size" in records else header.size
        if is_directory and size:
            raise InputFaultError("a folder may not have content", name)
        return Member(name, is_directory, size, self._content(size))

    def _content(self, size: int) -> Iterator[bytes]:
        yield from self._stream.pieces(size)
        self._stream.take(-size % BLOCK_BYTES)

    def _check_end(self) -> None:
        if self._stream.take(BLOCK_BYTES) != _ZERO_BLOCK:
            raise InputFaultError("the end marker of the archive is damaged")
        padding = 0
        for piece in self._stream.rest():
            padding += len(piece)
            if padding > _MAX_PADDING_BYTES or piece.strip(b"\0"):
                raise InputFaultError("bytes follow the end marker of the archive")


def _plain_name(name: str, *, is_directory: bool) -> str:
    """Drop the "./" that tar writes before names, and the slash behind folders; "" is the top itself."""
    if is_directory:
        name = "./" if name == "." else name.removesuffix("/") + "/"
        return name.removeprefix("./").removesuffix("/")
    return name.removeprefix("./")


def _size(digits: str, name: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", digits):
        raise InputFaultError("the size in the extended header is not a number", name)
    return int(digits)
