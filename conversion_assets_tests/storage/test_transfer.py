from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from conversion_assets.errors import PermanentError, TransientError
from conversion_assets.storage.access import S3Access
from conversion_assets.storage.prefixes import Prefix
from conversion_assets.storage.transfer import (
    MOST_DELETED,
    PART_BYTES,
    copy,
    delete_prefix,
    download,
    folder_sizes,
    in_waves,
    stored_sizes,
    upload,
)
from conversion_assets_tests.resources.tcp_proxy import Proxy, relaying

FILES = {
    "a b+c%20é#?": b"odd",
    "deep/er/one.bin": b"1" * 1000,
    "empty": b"",
    "whole.part": b"2" * PART_BYTES,
    "parts": b"3" * (PART_BYTES + 1),
}


@pytest.fixture
def access(s3_endpoint: str) -> S3Access:
    return S3Access(s3_endpoint, "us-east-1", "someone", "anything", attempts=1)


@pytest.fixture
def files(access: S3Access) -> Any:  # noqa: ANN401 - s3fs ships no types
    return access.filesystem()


@pytest.fixture
def place(files: Any) -> Prefix:  # noqa: ANN401 - s3fs ships no types
    bucket = f"bucket-{uuid4()}"
    files.call_s3("create_bucket", Bucket=bucket)
    return Prefix(bucket, "a/folder")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_bytes(data)
    return tmp_path / "source"


@pytest.fixture
def proxy(s3_endpoint: str) -> Iterator[Proxy]:
    with relaying(s3_endpoint) as proxy:
        yield proxy


def through(proxy: Proxy) -> Any:  # noqa: ANN401 - s3fs ships no types
    return S3Access(proxy.url, "us-east-1", "someone", "anything", attempts=1).filesystem()


def test_folder_goes_there_and_back(files: Any, place: Prefix, source: Path, tmp_path: Path) -> None:  # noqa: ANN401
    upload(source, files, place)
    elsewhere = Prefix(place.bucket, "elsewhere")
    copy(files, place, elsewhere, stored_sizes(files, place))
    expected = {name: len(data) for name, data in FILES.items()}
    assert download(files, elsewhere, tmp_path / "back") == expected == folder_sizes(tmp_path / "back")
    assert {name: (tmp_path / "back" / name).read_bytes() for name in FILES} == FILES


def test_many_objects_are_listed_and_deleted_and_no_others(files: Any, place: Prefix) -> None:  # noqa: ANN401
    many = {f"{number:04}": 0 for number in range(MOST_DELETED + 1)}
    beside = f"{place.root}er/x"
    files.pipe(beside, b"x")
    within = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]  # of the server in this process, which takes long to ask
    for name in ("", *many):
        within.put_object(place.bucket, place.key_of(name), b"")
    assert stored_sizes(files, place) == {**many, "": 0}
    delete_prefix(files, place)
    delete_prefix(files, place)
    assert stored_sizes(files, place) == {}
    assert files.find(place.bucket) == [beside]


def test_download_of_nothing_is_told(files: Any, place: Prefix, tmp_path: Path) -> None:  # noqa: ANN401
    with pytest.raises(PermanentError, match="there is nothing"):
        download(files, place, tmp_path / "back")


@pytest.mark.parametrize("name", ["../x", "a/../../x", "a//x"])
def test_download_stays_in_its_folder(files: Any, place: Prefix, tmp_path: Path, name: str) -> None:  # noqa: ANN401
    files.call_s3("put_object", Bucket=place.bucket, Key=place.key_of(name), Body=b"x")
    with pytest.raises(PermanentError, match="no folder"):
        download(files, place, tmp_path / "back")
    assert not list(tmp_path.rglob("x"))


def test_upload_in_parts_that_fails_leaves_no_parts(place: Prefix, source: Path, proxy: Proxy) -> None:
    proxy.cut(lambda line: line.startswith("PUT") and "partNumber=2" in line, times=100)
    files = through(proxy)
    with pytest.raises(TransientError, match="cannot be reached"):
        upload(source, files, place)
    assert any("partNumber=2" in line for line in proxy.requests)
    assert not files.call_s3("list_multipart_uploads", Bucket=place.bucket).get("Uploads")


def test_file_that_changes_under_way_is_noticed(files: Any, place: Prefix, source: Path) -> None:  # noqa: ANN401
    with pytest.raises(TransientError, match=r"objects of .* bytes after the transfer"):
        upload(source, files, place, {**folder_sizes(source), "empty": 1})


def test_file_that_vanishes_under_way_is_noticed(files: Any, place: Prefix, source: Path) -> None:  # noqa: ANN401
    with pytest.raises(TransientError, match="vanished"):
        upload(source, files, place, {"no more": 1})
    with pytest.raises(TransientError, match="vanished"):
        copy(files, place, Prefix(place.bucket, "elsewhere"), {"no more": 1})
    with pytest.raises(PermanentError, match="no bucket another"):
        upload(source, files, Prefix("another", "folder"))


def test_links_and_the_like_are_refused(files: Any, place: Prefix, source: Path) -> None:  # noqa: ANN401
    (source / "link").symlink_to(source / "empty")
    with pytest.raises(PermanentError, match="neither a file nor a folder"):
        upload(source, files, place)
    assert stored_sizes(files, place) == {}


@pytest.fixture
def interrupted() -> Iterator[threading.Event]:
    """Let a signal interrupt the main thread; the event tells that it did."""
    event = threading.Event()

    def interrupt(*_: object) -> None:
        event.set()
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGUSR1, interrupt)
    yield event
    signal.signal(signal.SIGUSR1, former)


def test_interrupted_upload_ends_before_it_is_told(
    place: Prefix, tmp_path: Path, proxy: Proxy, interrupted: threading.Event
) -> None:
    for number in range(200):
        (tmp_path / str(number)).write_bytes(b"x")

    def interrupt(line: str) -> bool:
        if line.startswith("PUT") and len(proxy.requests) == 20:
            os.kill(os.getpid(), signal.SIGUSR1)
            interrupted.wait(60)
        return False

    proxy.cut(interrupt, times=1000)
    with pytest.raises(KeyboardInterrupt):
        upload(tmp_path, through(proxy), place)
    after = len(proxy.requests)
    assert 20 <= after < 200
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("transfer")]
    assert len(proxy.requests) == after


def test_root_metadata_come_last() -> None:
    names = [".zmetadata", "a/.zmetadata", "a/.zarray", ".zgroup", "a/0.0", "z.z/0", ".hidden"]
    assert in_waves(names) == [
        ["a/0.0", "z.z/0", ".hidden"],
        ["a/.zmetadata", "a/.zarray", ".zgroup"],
        [".zmetadata"],
    ]
