"""Prefixes on S3 that stand for folders: checked once, here, so that nothing else is ever deleted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self
from unicodedata import category

from conversion_assets.errors import PermanentError

SCHEME = "s3://"
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
LONGEST_KEY = 1024
UNUSABLE = frozenset({"Cc", "Cs"})
"""Unicode categories that no part of a key may have: control characters and surrogates."""
WAY_OUT = "Check the bucket rules and the settings of the object store."


@dataclass(frozen=True)
class Prefix:
    """A folder in a bucket, never the bucket itself.

    Attributes:
        bucket: name of the bucket.
        path: the folders below it, without a slash at either end.

    Raises:
        PermanentError: the bucket's name is impossible; the path is empty, has an empty part, ``.``,
            ``..`` or control characters, or is longer than a key may be.
    """

    bucket: str
    path: str

    def __post_init__(self) -> None:
        if not BUCKET.fullmatch(self.bucket):
            raise PermanentError(f"{self.bucket!r}", "this is no name of a bucket", WAY_OUT)
        if not all(map(_is_name, self.path.split("/"))) or len(_encoded(self.path)) > LONGEST_KEY:
            raise PermanentError(f"{self.path[:200]!r}", f"it is no folder in bucket {self.bucket}", WAY_OUT)

    @classmethod
    def of(cls, uri: str, *, below: str | None = None) -> Self:
        """Read ``s3://bucket/folder/…``, percent signs taken as they are.

        Args:
            uri: of the folder; one slash at the end does not matter.
            below: URI of a bucket or folder in which it has to lie.

        Raises:
            PermanentError: it is no such URI, or lies elsewhere.
        """
        if not uri.startswith(SCHEME):
            raise PermanentError(uri[:200], "it is not an s3:// address", WAY_OUT)
        folder = uri.removesuffix("/")
        if below is not None and not folder.startswith(f"{below.rstrip('/')}/"):
            raise PermanentError(uri[:200], f"it is not below {below}", WAY_OUT)
        bucket, _, path = folder.removeprefix(SCHEME).partition("/")
        return cls(bucket, path)

    @property
    def uri(self) -> str:
        """The address, without a slash at the end."""
        return f"{SCHEME}{self.bucket}/{self.path}"

    @property
    def root(self) -> str:
        """Bucket and path, as s3fs takes them."""
        return f"{self.bucket}/{self.path}"

    @property
    def name(self) -> str:
        """The last folder."""
        return self.path.rpartition("/")[2]

    def below(self, *parts: str) -> Self:
        """Give a folder in this one; raises as the constructor."""
        return type(self)(self.bucket, "/".join((self.path, *parts)))

    def key_of(self, name: str) -> str:
        """Give the key of an object by its path in this folder."""
        return f"{self.path}/{name}"


def _is_name(part: str) -> bool:
    return part not in ("", ".", "..") and not any(category(char) in UNUSABLE for char in part)


def _encoded(path: str) -> bytes:
    return path.encode("utf-8", "surrogatepass")
