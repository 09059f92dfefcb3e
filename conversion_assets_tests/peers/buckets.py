"""The rule by which the upstream services choose a bucket, and what they ask of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

ANY = "*"
MOST_AT_ONCE = 1000
ROWS = [[ANY, ANY, ANY, "100", "catalogue-bucket"]]


def row_for(rows: Sequence[Sequence[str]], owner: str, collection: str, product_type: str) -> Sequence[str]:
    """Choose a row by exact match, the most specific first; of equal rows the last, of defaults the first."""
    wanted = [
        [owner, collection, product_type],
        [owner, collection, ANY],
        [owner, ANY, product_type],
        [owner, ANY, ANY],
    ]
    for names in wanted:
        if fitting := [row for row in rows if list(row[:3]) == names]:
            return fitting[-1]
    return next(row for row in rows if list(row[:3]) == [ANY, ANY, ANY])


def split(href: str) -> tuple[str, str]:
    """Take what the upstream services take for bucket and key: third part of any address, and the rest."""
    _, _, bucket, *key = href.split("/")
    return bucket, "/".join(key)


def keys_of(s3: Any, bucket: str, prefix: str) -> list[str]:  # noqa: ANN401 - boto3 ships no types
    """List the keys below a prefix."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [found["Key"] for page in pages for found in page.get("Contents", ())]


def delete_all(s3: Any, bucket: str, keys: list[str]) -> None:  # noqa: ANN401 - boto3 ships no types
    """Delete objects, as many at once as S3 takes."""
    for start in range(0, len(keys), MOST_AT_ONCE):
        objects = [{"Key": key} for key in keys[start : start + MOST_AT_ONCE]]
        s3.delete_objects(Bucket=bucket, Delete={"Objects": objects})


def targets_of(s3: Any, href: str) -> tuple[str, list[str]]:  # noqa: ANN401 - boto3 ships no types
    """Give bucket and keys that an asset stands for: the object, otherwise everything below it."""
    bucket, key = split(href)
    if not key.endswith((".zarr", "/")) and (exact := [k for k in keys_of(s3, bucket, key) if k == key]):
        return bucket, exact
    return bucket, keys_of(s3, bucket, f"{key.rstrip('/')}/")
