"""Whole folders to, from and within S3: many objects at once, the root metadata of a Zarr last.

The order is what readers rely on: data, then the metadata of groups and arrays, then the consolidated
metadata of the root, without which nobody finds the product. What stood there before and is no part of the
new folder is removed after that.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Any

from conversion_assets.errors import PermanentError, TransientError
from conversion_assets.storage.faults import explained
from conversion_assets.storage.prefixes import Prefix

AT_ONCE = 16
PART_BYTES = 8 * 2**20
LARGEST_COPY = 5 * 2**30
MOST_DELETED = 1000
ROOT_METADATA = ".zmetadata"

FileSystem = Any  # s3fs ships no types
Sizes = Mapping[str, int]
"""Bytes of each file by its path in the folder."""
Transfer = Callable[[str, Event], None]
"""Transfers the file of a path, and gives up when the event is set."""


def folder_sizes(folder: Path) -> dict[str, int]:
    """Give the files of a local folder.

    Raises:
        PermanentError: something in it is neither a file nor a folder.
    """
    sizes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise PermanentError(path, "it is neither a file nor a folder", "Remove it, then try again.")
        if path.is_file():
            sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
    return sizes


def stored_sizes(filesystem: FileSystem, prefix: Prefix) -> dict[str, int]:
    """Give the objects below a prefix; none where there is no such folder."""
    sizes: dict[str, int] = {}
    page: dict[str, Any] = {"IsTruncated": True}
    while page.get("IsTruncated"):
        start = {"ContinuationToken": page["NextContinuationToken"]} if sizes else {}
        with explained(prefix.uri):
            page = filesystem.call_s3(
                "list_objects_v2", Bucket=prefix.bucket, Prefix=prefix.key_of(""), **start
            )
        for entry in page.get("Contents", []):
            sizes[entry["Key"].removeprefix(prefix.key_of(""))] = entry["Size"]
    return sizes


def upload(
    source: Path, filesystem: FileSystem, target: Prefix, sizes: Sizes | None = None, *, resume: bool = False
) -> None:
    """Put a local folder in the place of whatever lies at the target.

    Args:
        source: the folder.
        filesystem: of ``S3Access.filesystem``.
        target: where its files go.
        sizes: its files, when they are known already.
        resume: leave alone what is there with the right size.

    Raises:
        TransientError: the service is busy or out of reach, or does not list what it took.
        PermanentError: no such bucket, no right, wrong credentials.
    """

    def put(name: str, stopped: Event) -> None:
        _put_file(source / name, _Object(filesystem, target, name), stopped)

    _replace(filesystem, target, folder_sizes(source) if sizes is None else sizes, put, resume=resume)


def copy(filesystem: FileSystem, source: Prefix, target: Prefix, sizes: Sizes) -> None:
    """Let the service copy a folder to the place of whatever lies at the target.

    Args:
        filesystem: of ``S3Access.filesystem``.
        source: the folder.
        target: where its objects go.
        sizes: the objects of the source.

    Raises:
        TransientError: as ``upload``.
        PermanentError: as ``upload``.
    """

    def put(name: str, stopped: Event) -> None:
        del stopped  # one request
        if sizes[name] > LARGEST_COPY:
            filesystem.copy(f"{source.root}/{name}", f"{target.root}/{name}")
        else:
            origin = {"Bucket": source.bucket, "Key": source.key_of(name)}
            _Object(filesystem, target, name).call("copy_object", CopySource=origin)

    _replace(filesystem, target, sizes, put)


def download(filesystem: FileSystem, source: Prefix, target: Path) -> dict[str, int]:
    """Copy a folder on S3 to an absent or empty local one.

    Returns:
        What was copied.

    Raises:
        TransientError: as ``upload``; or an object has not the listed size.
        PermanentError: as ``upload``; or there is nothing, or a name that leads out of the folder.
    """
    found = stored_sizes(filesystem, source)
    sizes = {name: size for name, size in found.items() if name and not name.endswith("/")}  # no markers
    if not sizes:
        raise PermanentError(source.uri, "there is nothing", "Check where it was written to.")
    _require_keys(source, sizes)

    def get(name: str, stopped: Event) -> None:
        del stopped
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        filesystem.get_file(f"{source.root}/{name}", str(target / name))

    _all(get, source, sizes)
    _compare(source, sizes, folder_sizes(target))
    return sizes


def delete_prefix(filesystem: FileSystem, prefix: Prefix) -> None:
    """Remove every object below a prefix.

    Raises:
        TransientError: as ``upload``.
        PermanentError: as ``upload``.
    """
    delete_objects(filesystem, prefix, stored_sizes(filesystem, prefix))


def delete_objects(filesystem: FileSystem, prefix: Prefix, names: Iterable[str]) -> None:
    """Remove objects below a prefix by their paths in it, many with one request."""
    for batch in _batches(sorted(names), MOST_DELETED):
        keys = [{"Key": prefix.key_of(name)} for name in batch]
        with explained(prefix.uri):
            answer = filesystem.call_s3(
                "delete_objects", Bucket=prefix.bucket, Delete={"Objects": keys, "Quiet": True}
            )
        for refused in answer.get("Errors", []):
            raise PermanentError(
                prefix.uri,
                f"S3 did not delete {refused.get('Key')} ({refused.get('Code')})",
                "Ask for the right to delete there.",
            )


def in_waves(names: Iterable[str]) -> list[list[str]]:
    """Part the files of a folder: data, metadata of groups and arrays, consolidated metadata of the root."""
    waves: list[list[str]] = [[], [], []]
    for name in names:
        is_metadata = PurePosixPath(name).name.startswith(".z")
        waves[2 if name == ROOT_METADATA else int(is_metadata)].append(name)
    return waves


class _Object:
    """One object of a folder on S3.

    Args:
        filesystem: of ``S3Access.filesystem``.
        folder: where it lies.
        name: its path there.
    """

    def __init__(self, filesystem: FileSystem, folder: Prefix, name: str) -> None:
        self._filesystem = filesystem
        self._address = {"Bucket": folder.bucket, "Key": folder.key_of(name)}

    def call(self, method: str, **arguments: object) -> dict[str, Any]:
        """Call a method of the S3 API."""
        answer: dict[str, Any] = self._filesystem.call_s3(method, **self._address, **arguments)
        return answer

    def send(self, method: str, content: bytes, **arguments: object) -> dict[str, Any]:
        """Call one that stores bytes, which the service compares with their MD5 sum."""
        digest = hashlib.md5(content, usedforsecurity=False).digest()
        return self.call(method, Body=content, ContentMD5=base64.b64encode(digest).decode(), **arguments)


def _replace(
    filesystem: FileSystem, target: Prefix, sizes: Sizes, put: Transfer, *, resume: bool = False
) -> None:
    _require_keys(target, sizes)
    before = stored_sizes(filesystem, target) if resume else {}
    *first, root = in_waves(name for name in sizes if before.get(name) != sizes[name])
    for wave in first:
        _all(put, target, wave)
    there = stored_sizes(filesystem, target)
    _compare(
        target, _without(sizes, root), _without({name: there[name] for name in sizes & there.keys()}, root)
    )
    _all(put, target, root)
    delete_objects(filesystem, target, there.keys() - sizes.keys())
    _compare(target, sizes, stored_sizes(filesystem, target))


def _without(sizes: Sizes, names: Collection[str]) -> Sizes:
    return {name: size for name, size in sizes.items() if name not in names}


def _require_keys(folder: Prefix, names: Iterable[str]) -> None:
    for name in names:
        Prefix(folder.bucket, folder.key_of(name))


def _compare(folder: Prefix, expected: Sizes, found: Sizes) -> None:
    if found == expected:
        return
    raise TransientError(
        folder.uri,
        f"it has {len(found):,} objects of {sum(found.values()):,} bytes after the transfer,"
        f" {len(expected):,} of {sum(expected.values()):,} were to be there",
        "It is tried again.",
    )


def _all(transfer: Transfer, folder: Prefix, names: Collection[str]) -> None:
    """Transfer many files at once; when one fails, or we are interrupted, the others end first."""
    stopped = Event()
    with ThreadPoolExecutor(AT_ONCE, "transfer") as pool:
        try:
            futures = [pool.submit(transfer, name, stopped) for name in names]
            with explained(folder.uri):
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
        except FileNotFoundError as error:
            rule = "a file vanished while it was transferred"
            raise TransientError(folder.uri, rule, "It is tried again.") from error
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)


def _put_file(path: Path, target: _Object, stopped: Event) -> None:
    with path.open("rb") as file:
        content = file.read(PART_BYTES)
        if len(content) < PART_BYTES:
            target.send("put_object", content)
        else:
            _put_parts(_parts(content, file.read, stopped), target)


def _parts(first: bytes, read: Callable[[int], bytes], stopped: Event) -> Iterator[bytes]:
    part = first
    while part:
        if stopped.is_set():
            raise InterruptedError("another transfer failed")
        yield part
        part = read(PART_BYTES)


def _put_parts(parts: Iterable[bytes], target: _Object) -> None:
    upload = {"UploadId": target.call("create_multipart_upload")["UploadId"]}
    stored = []
    try:
        for number, part in enumerate(parts, 1):
            answer = target.send("upload_part", part, PartNumber=number, **upload)
            stored.append({"PartNumber": number, "ETag": answer["ETag"]})
        target.call("complete_multipart_upload", MultipartUpload={"Parts": stored}, **upload)
    except Exception:
        with suppress(Exception):  # the former error is the one to tell
            target.call("abort_multipart_upload", **upload)
        raise


def _batches(names: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(names), size):
        yield names[start : start + size]
