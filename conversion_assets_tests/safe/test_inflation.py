from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from conversion_assets.safe.faults import InputFaultError
from conversion_assets.safe.inflation import gunzip, inflate, inflate64_stream, unzstd
from conversion_assets_tests.safe.building import deflated, gzip_bytes, zstd_bytes

Decompressor = Callable[[Iterator[bytes]], Iterator[bytes]]
CODECS: dict[str, tuple[Callable[[bytes], bytes], Decompressor]] = {
    "deflate": (lambda data: deflated(data, 8), inflate),
    "deflate64": (lambda data: deflated(data, 9), inflate64_stream),
    "gzip": (gzip_bytes, gunzip),
    "zstd": (zstd_bytes, unzstd),
}


def pieces(data: bytes, length: int) -> Iterator[bytes]:
    return (data[start : start + length] for start in range(0, len(data), length))


@given(st.sampled_from(sorted(CODECS)), st.binary(max_size=5000), st.integers(1, 3000), st.integers(1, 50))
def test_round_trip_whatever_the_pieces(codec: str, data: bytes, length: int, repeats: int) -> None:
    compress, decompress = CODECS[codec]
    assert b"".join(decompress(pieces(compress(data * repeats), length))) == data * repeats


@pytest.mark.parametrize("codec", CODECS)
def test_incomplete_data_are_noticed_at_every_length(codec: str) -> None:
    compress, decompress = CODECS[codec]
    stream = compress(bytes(range(256)) * 4)
    for length in range(len(stream)):
        with pytest.raises(InputFaultError):
            list(decompress(pieces(stream[:length], 64)))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("length", [1, 7, 1 << 20])
def test_surplus_bytes_are_noticed(codec: str, length: int) -> None:
    compress, decompress = CODECS[codec]
    with pytest.raises(InputFaultError):
        list(decompress(pieces(compress(b"content" * 100) + b"\1", length)))


@pytest.mark.parametrize("codec", CODECS)
def test_what_comes_out_at_once_is_bounded(codec: str) -> None:
    compress, decompress = CODECS[codec]
    sizes = [len(piece) for piece in decompress(pieces(compress(bytes(100 << 20)), 1 << 20))]
    assert sum(sizes) == 100 << 20
    assert max(sizes) <= 64 << 20


def test_frames_in_a_row_are_one_stream() -> None:
    assert b"".join(unzstd(iter([zstd_bytes(b"one") + zstd_bytes(b"two")]))) == b"onetwo"


def test_a_zstd_window_that_asks_for_too_much_memory_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    stream = compressor.compress(b"content") + compressor.flush()
    with pytest.raises(InputFaultError, match="damaged"):
        list(unzstd(iter([stream])))
