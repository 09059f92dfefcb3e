"""Decompression as streams of bounded memory that notice every missing, damaged or surplus byte."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, Protocol, cast

import inflate64
import zstandard

from conversion_assets.safe.faults import InputFaultError
from conversion_assets.safe.members import PIECE_BYTES

# Neither library can be told how much to put out at once, so what goes in is kept small: the
# formats expand at most about 30 000 and 33 000 times.
_DEFLATE64_INPUT_BYTES: Final = 512
_ZSTD_INPUT_BYTES: Final = 2048
_ZSTD_MAX_WINDOW_BYTES: Final = 128 << 20  # what the zstd command itself accepts by default

_RAW_DEFLATE_WBITS: Final = -zlib.MAX_WBITS
_GZIP_WBITS: Final = 16 + zlib.MAX_WBITS

_INCOMPLETE: Final = "the compressed data end before they are complete"
_SURPLUS: Final = "bytes follow the end of the compressed data"


class _ZlibDecoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...
    def flush(self) -> bytes: ...


def inflate(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress one raw Deflate stream (RFC 1951) that must end with the last piece.

    Raises:
        InputFaultError: where the data are damaged, incomplete, or followed by other bytes.
    """
    decoder = zlib.decompressobj(_RAW_DEFLATE_WBITS)
    for piece in pieces:
        pending = piece
        while pending:
            if decoder.eof:
                raise InputFaultError(_SURPLUS)
            yield _zlib_step(decoder, pending)
            pending = decoder.unconsumed_tail or decoder.unused_data
    yield _zlib_end(decoder)


def gunzip(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress gzip members (RFC 1952 allows several in a row) and nothing after them.

    Raises:
        InputFaultError: where the data are damaged, incomplete, or followed by anything but a member.
    """
    decoder = zlib.decompressobj(_GZIP_WBITS)
    for piece in pieces:
        pending = piece
        while pending:
            if decoder.eof:
                decoder = zlib.decompressobj(_GZIP_WBITS)
            yield _zlib_step(decoder, pending)
            pending = decoder.unconsumed_tail or decoder.unused_data
    yield _zlib_end(decoder)


def _zlib_step(decoder: _ZlibDecoder, data: bytes) -> bytes:
    try:
        return decoder.decompress(data, PIECE_BYTES)
    except zlib.error as error:
        raise InputFaultError(f"the compressed data are damaged ({error})") from error


def _zlib_end(decoder: _ZlibDecoder) -> bytes:
    rest = decoder.flush()
    if not decoder.eof:
        raise InputFaultError(_INCOMPLETE)
    return rest


def inflate64_stream(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress one Deflate64 stream (zip method 9) that must end with the last piece.

    Raises:
        InputFaultError: where the data are damaged, incomplete, or followed by other bytes.
    """
    decoder = inflate64.Inflater()
    held = b""
    for chunk in _slices(pieces, _DEFLATE64_INPUT_BYTES):
        if held:
            yield _inflate64_step(decoder, held)
        held = chunk
    # The decoder does not say what it left unread, so the last bytes go in one by one.
    for index in range(len(held)):
        yield _inflate64_step(decoder, held[index : index + 1])
    if not decoder.eof:
        raise InputFaultError(_INCOMPLETE)


def _inflate64_step(decoder: inflate64.Inflater, data: bytes) -> bytes:
    if decoder.eof:
        raise InputFaultError(_SURPLUS)
    try:
        return cast("bytes", decoder.inflate(data))
    except ValueError as error:
        raise InputFaultError(f"the compressed data are damaged ({error})") from error


def unzstd(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress Zstandard frames (RFC 8878 allows several in a row) and nothing after them.

    Raises:
        InputFaultError: where the data are damaged, incomplete, or followed by anything but a frame.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_MAX_WINDOW_BYTES)
    decoder = decompressor.decompressobj()
    for chunk in _slices(pieces, _ZSTD_INPUT_BYTES):
        pending = chunk
        while pending:
            if decoder.eof:
                decoder = decompressor.decompressobj()
            yield _zstd_step(decoder, pending)
            pending = decoder.unused_data
    if not decoder.eof:
        raise InputFaultError(_INCOMPLETE)


def _zstd_step(decoder: zstandard.ZstdDecompressionObj, data: bytes) -> bytes:
    try:
        return decoder.decompress(data)
    except zstandard.ZstdError as error:
        raise InputFaultError(f"the compressed data are damaged ({error})") from error


def _slices(pieces: Iterator[bytes], length: int) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), length):
            yield piece[start : start + length]
