from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_assets.errors import PermanentError
from conversion_assets.storage.prefixes import Prefix

PIECES = st.sampled_from(["a", "b.zarr", "..", ".", "", "é +%2e", "\0", "\n", "\ud800", "s3://", "#?", " "])
ADDRESSES = st.builds(
    lambda start, parts: f"{start}{'/'.join(parts)}",
    st.sampled_from(["s3://", "s3:/", "S3://", "file://", "", "s3://bucket/", "s3://bucket/mine/"]),
    st.lists(PIECES | st.text(max_size=4), max_size=5),
)


@given(ADDRESSES | st.text())
def test_address_is_a_folder_below_ours_or_refused(uri: str) -> None:
    try:
        prefix = Prefix.of(uri, below="s3://bucket/mine")
    except PermanentError:
        return
    assert prefix.bucket == "bucket"
    assert prefix.path.startswith("mine/")
    assert not {"", ".", ".."} & set(prefix.path.split("/"))
    assert prefix.uri == uri.removesuffix("/")
    assert prefix.root == f"bucket/{prefix.path}"
    assert Prefix.of(prefix.uri) == prefix


@pytest.mark.parametrize(
    "uri",
    [
        *("", "s3://", "s3:///", "s3://bucket", "s3://bucket/", "s3://bucket//", "s3:///a", "s3://b u/a"),
        *("s3://bucket/a//b", "s3://bucket/a/../b", "s3://bucket/./a", "s3://bucket/a\n", "file:///a/b"),
        *("https://bucket/a", "bucket/a", f"s3://bucket/{'x' * 1025}", f"s3://bucket/{'é' * 600}"),
    ],
)
def test_what_is_no_folder_in_a_bucket_is_refused(uri: str) -> None:
    with pytest.raises(PermanentError, match=r"no folder|no name of a bucket|not an s3"):
        Prefix.of(uri)


@pytest.mark.parametrize(
    "uri", ["s3://bucket/minefield/a", "s3://bucket/mine", "s3://bucket/mine/", "s3://bucket2/mine/a"]
)
def test_what_only_begins_alike_is_foreign(uri: str) -> None:
    with pytest.raises(PermanentError, match="not below s3://bucket/mine"):
        Prefix.of(uri, below="s3://bucket/mine")


def test_folders_in_a_folder() -> None:
    prefix = Prefix("bucket", "a").below("b c", "d")
    assert (prefix.uri, prefix.name, prefix.key_of("e/f")) == ("s3://bucket/a/b c/d", "d", "a/b c/d/e/f")
    with pytest.raises(PermanentError, match="no folder"):
        prefix.below("..")
