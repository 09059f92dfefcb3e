from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_assets.stac.checksums import Checksum, decode_multihash

CODES = {
    "md5": "d50110",
    "sha1": "1114",
    "sha256": "1220",
    "sha512": "1340",
    "sha3_256": "1620",
    "sha3_512": "1440",
}


@given(st.sampled_from(sorted(CODES)), st.binary(max_size=30))
def test_multihash_gives_algorithm_and_digest(algorithm: str, content: bytes) -> None:
    digest = hashlib.new(algorithm, content).hexdigest()
    expected = Checksum(algorithm=algorithm, digest=digest)
    assert decode_multihash(CODES[algorithm] + digest) == expected
    assert decode_multihash((CODES[algorithm] + digest).upper()) == expected


@pytest.mark.parametrize(
    "text", ["", "zz", "1220ab", "d50110" + "ab" * 17, "1e20" + "ab" * 32, "ab" * 16, "a" * 999]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="it is not a multihash"):
        decode_multihash(text)
