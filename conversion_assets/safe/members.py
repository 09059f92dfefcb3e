"""What a reader of archives hands out, and what it may ask for: members, pieces of bytes, limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, Protocol

from pydantic import BaseModel, ConfigDict, PositiveInt

from conversion_assets.safe.faults import InputFaultError

PIECE_BYTES: Final = 1 << 20
TRUNCATED: Final = "the archive is truncated: it ends in the middle of its content"

Progress = Callable[[int, int], None]


class ExtractionLimits(BaseModel):
    """How much an archive may unpack to.

    The ratio guards against bombs. Constant pixels legitimately shrink a thousandfold, so it is looked
    at only once more than `ratio_floor_bytes` have come out: less than that does no harm, however
    small the archive.

    Attributes:
        max_entries: files and folders, folders that are only implied included.
        max_total_bytes: bytes of all files together.
        max_ratio: bytes of all files, divided by the bytes of the archive.
        ratio_floor_bytes: unpacked bytes up to which the ratio does not matter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_entries: PositiveInt = 100_000
    max_total_bytes: PositiveInt = 64 << 30
    max_ratio: float = 200.0
    ratio_floor_bytes: int = 1 << 30


@dataclass(frozen=True)
class Member:
    """One file or folder of an archive.

    Attributes:
        name: its name as the archive spells it, not yet checked; without a trailing slash.
        is_directory: whether it is a folder.
        size: the bytes announced for it.
        pieces: its content; to be read to the end before the next member is asked for.
    """

    name: str
    is_directory: bool
    size: int
    pieces: Iterator[bytes]


class ArchiveReader(Protocol):
    """One format of archives: its members in the order of its bytes.

    Attributes:
        announced_bytes: bytes of all files as far as announced before reading them; else None.
    """

    announced_bytes: int | None

    def members(self) -> Iterator[Member]:
        """Yield the members, once.

        Raises:
            InputFaultError: where the archive breaks a rule of its format or of ours.
        """


def file_pieces(file: BinaryIO, length: int) -> Iterator[bytes]:
    """Read exactly so many bytes, in pieces of bounded size.

    Args:
        file: an open file, at the place to read from.
        length: bytes to read.

    Raises:
        InputFaultError: where the file ends too soon.
    """
    remaining = length
    while remaining:
        piece = file.read(min(PIECE_BYTES, remaining))
        if not piece:
            raise InputFaultError(TRUNCATED)
        remaining -= len(piece)
        yield piece


def watched(
    pieces: Iterator[bytes], file: BinaryIO, size: int, on_progress: Progress | None
) -> Iterator[bytes]:
    """Pass pieces on, telling after each how far the archive has been read.

    Args:
        pieces: pieces that are being read from the file.
        file: the open archive.
        size: its size in bytes.
        on_progress: called with bytes read and bytes there are; None for silence.
    """
    for piece in pieces:
        yield piece
        if on_progress is not None:
            on_progress(file.tell(), size)
