"""Checksums as STAC writes them: self-describing multihashes (https://multiformats.io/multihash/)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

# Code of the algorithm as a varint in hex, then its name in hashlib, then the digest's length in bytes.
_ALGORITHMS = (
    ("d501", "md5", 16),
    ("11", "sha1", 20),
    ("12", "sha256", 32),
    ("13", "sha512", 64),
    ("16", "sha3_256", 32),
    ("14", "sha3_512", 64),
)
_LONGEST = 200


class Checksum(BaseModel):
    """A digest and how it was made.

    Attributes:
        algorithm: name in `hashlib`.
        digest: lower-case hexadecimal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    algorithm: str
    digest: str


def decode_multihash(text: str) -> Checksum:
    """Read the value of ``file:checksum``.

    Args:
        text: a multihash in hexadecimal, such as ``d50110`` followed by an MD5 digest.

    Returns:
        The checksum.

    Raises:
        ValueError: it is no hexadecimal multihash, or of an algorithm that is not supported.
    """
    lowered = text.lower()
    if len(text) > _LONGEST or not all(character in "0123456789abcdef" for character in lowered):
        raise ValueError("it is not a multihash in hexadecimal")
    for code, algorithm, length in _ALGORITHMS:
        prefix = f"{code}{length:02x}"
        if lowered.startswith(prefix) and len(lowered) == len(prefix) + 2 * length:
            return Checksum(algorithm=algorithm, digest=lowered.removeprefix(prefix))
    names = ", ".join(algorithm for _, algorithm, _ in _ALGORITHMS)
    raise ValueError(f"it is not a multihash of a supported algorithm ({names})")
