"""A stream of pieces, read by exact lengths."""

from __future__ import annotations

from collections.abc import Iterator

from conversion_assets.safe.faults import InputFaultError
from conversion_assets.safe.members import TRUNCATED


class ByteStream:
    """Cut an iterator of pieces of any size into what a format asks for.

    Args:
        pieces: the bytes of the stream, in order.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")

    def take(self, length: int) -> bytes:
        """Read so many bytes at once; for short pieces of metadata.

        Raises:
            InputFaultError: where the stream ends too soon.
        """
        return b"".join(self.pieces(length))

    def pieces(self, length: int) -> Iterator[bytes]:
        """Read so many bytes piece by piece.

        Raises:
            InputFaultError: where the stream ends too soon.
        """
        remaining = length
        while remaining:
            if not self._piece and not self._advance():
                raise InputFaultError(TRUNCATED)
            part, self._piece = self._piece[:remaining], self._piece[remaining:]
            remaining -= len(part)
            yield bytes(part)

    def rest(self) -> Iterator[bytes]:
        """Read what is left, piece by piece."""
        while self._piece or self._advance():
            part, self._piece = bytes(self._piece), memoryview(b"")
            yield part

    def _advance(self) -> bool:
        for piece in self._pieces:
            if piece:
                self._piece = memoryview(piece)
                return True
        return False
