"""Staging: from wherever the input lies to a verified copy that is ours.

The embedded default copies by itself: resumable, each file compared after it was written.
"""

from __future__ import annotations

import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import asdict, dataclass
from hashlib import new as new_hash
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import dagster as dg
from pydantic import Field

from conversion_assets.errors import OrderError, PermanentError, PoisonedInputError, TransientError
from conversion_assets.orders import Order
from conversion_assets.progress import percent
from conversion_assets.resources.object_store import Kept
from conversion_assets.resources.remote_files import RemoteFiles
from conversion_assets.resources.source_credentials import SourceCredentials
from conversion_assets.safe.faults import InputFaultError
from conversion_assets.safe.manifest import MANIFEST_NAMES, read_manifest
from conversion_assets.safe.member_names import member_path
from conversion_assets.stac.checksums import Checksum
from conversion_assets.web.addresses import HrefRules, redacted

Progress = Callable[[str], None]

BLOCK_BYTES = 1 << 20
RENAME = "Rename the product, or order it from elsewhere."
UNZIPPED = "unzipped"
"""Name beside the staged copy that the next step uses."""


@dataclass(frozen=True)
class StagedCopy:
    """A finished copy.

    Attributes:
        path: the archive, or the product folder.
        files: how many files it has.
        total_bytes: their size.
        resumed: whether part of it was there from an earlier attempt.
    """

    path: Path
    files: int
    total_bytes: int
    resumed: bool


class Staging(dg.ConfigurableResource, ABC):  # type: ignore[type-arg] # the resource provides itself
    """Brings the input of an order into a folder of ours."""

    @abstractmethod
    def stage(self, order: Order, folder: Path, tell: Progress) -> StagedCopy:
        """Copy the order's input into ``folder``, continuing what an earlier attempt left there.

        Args:
            order: whose ``href`` is copied.
            folder: private to the order; created when absent.
            tell: receives a sentence now and then.

        Raises:
            OrderError: there is no such input, or its scheme is not allowed.
            TransientError: the source cannot be reached, or changed while it was read.
            PermanentError: no right to read it, or no space for it.
            PoisonedInputError: the checksum announced by the source does not fit.
        """

    def release(self, order: Order) -> None:
        """Remove what is kept for an order elsewhere than in its folder; the product is published.

        Args:
            order: the order; one that was never staged is no fault.

        Raises:
            TransientError: it cannot be removed just now.
            PermanentError: there is no right to remove it.
        """
        del order

    def kept(self) -> Iterator[Kept]:
        """Give the copies that are kept elsewhere, until ``release`` removes them.

        Raises:
            TransientError: they cannot be listed just now.
        """
        return iter(())


class CopyStaging(Staging):
    """Copies by itself, over fsspec and HTTPS.

    Attributes:
        schemes: URL schemes that may be read.
        hosts: see ``HrefRules``.
        private_hosts: see ``HrefRules``.
        credentials: how the sources know us.
    """

    schemes: list[str]
    hosts: list[str] = Field(default=[])
    private_hosts: list[str] = Field(default=[])
    credentials: SourceCredentials | None = None

    def stage(self, order: Order, folder: Path, tell: Progress) -> StagedCopy:
        """See ``Staging.stage``."""
        rules = HrefRules(tuple(self.schemes), tuple(self.hosts), tuple(self.private_hosts))
        remote = (self.credentials or SourceCredentials()).files(order.href, rules)
        name = file_name_of(order.href)
        folder.mkdir(parents=True, exist_ok=True)
        if not name.endswith((".SAFE", ".SEN3")):
            return _copy_archive(remote, order, folder / name, tell)
        return _copy_folder(remote, order.href, folder / name, tell)


def file_name_of(href: str) -> str:
    """Give the name under which a product is copied.

    Raises:
        OrderError: it cannot be the name of a file.
    """
    name = unquote(urlsplit(href).path).rstrip("/").rpartition("/")[2]
    try:
        member_path(name)
    except InputFaultError as fault:
        raise OrderError(redacted(href), f"its file name cannot be used: {fault.rule}", RENAME) from fault
    if name.startswith(".") or name == UNZIPPED:
        raise OrderError(redacted(href), f"its file name cannot be used: {name!r} is taken", RENAME)
    return name


def _copy_archive(remote: RemoteFiles, order: Order, target: Path, tell: Progress) -> StagedCopy:
    resumed = copy_file(remote, order.href, target, _transfer_of(target), tell, order.size)
    size = target.stat().st_size
    if order.size is not None and size != order.size:
        target.unlink()
        raise PoisonedInputError(
            redacted(order.href),
            f"it has {size:,} bytes, its item announces {order.size:,}",
            "Check the source: the item and the archive disagree.",
        )
    if order.checksum:
        _compare_checksum(order, order.checksum, target)
    return StagedCopy(target, files=1, total_bytes=size, resumed=resumed)


def _copy_folder(remote: RemoteFiles, href: str, target: Path, tell: Progress) -> StagedCopy:
    files = remote.list_folder(href)
    if files is None:
        files = _files_of_manifest(remote, href, target, tell)
    if not any(name in files for name in MANIFEST_NAMES):
        raise OrderError(
            redacted(href), f"it has no {' or '.join(MANIFEST_NAMES)}", "Order the product folder itself."
        )
    _refuse_hostile_names(files, href)
    _remove_strangers(target, files)
    _require_space(target.parent, sum(files.values()), href)
    tell(f"copying {len(files)} files of {target.name}")
    work = _transfer_of(target)
    resumed = [copy_file(remote, file_href(href, name), target / name, work / name, None) for name in files]
    sizes = [(target / name).stat().st_size for name in files]
    return StagedCopy(target, files=len(sizes), total_bytes=sum(sizes), resumed=any(resumed))


def _refuse_hostile_names(names: Iterable[str], href: str) -> None:
    for name in names:
        try:
            member_path(name)
        except InputFaultError as fault:
            raise PoisonedInputError(
                redacted(href), f"{name!r}: {fault.rule}", "Check the source: no product has such a file."
            ) from fault


def _remove_strangers(target: Path, names: Container[str]) -> None:
    """Remove what an earlier copy left and the source does not have any more."""
    for path in target.rglob("*"):
        if path.is_file() and path.relative_to(target).as_posix() not in names:
            path.unlink()


def file_href(folder: str, name: str) -> str:
    """Give the URL of a file below a folder; a query, such as a signature, holds for both."""
    parts = urlsplit(folder)
    below = name if parts.scheme == "s3" else quote(name)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{below}").geturl()


def _files_of_manifest(remote: RemoteFiles, href: str, target: Path, tell: Progress) -> dict[str, int]:
    """Where a folder cannot be listed, its manifest tells what it holds."""
    for name in MANIFEST_NAMES:
        try:
            copy_file(remote, file_href(href, name), target / name, _transfer_of(target) / name, tell)
        except OrderError:
            continue
        manifest = read_manifest(target)
        return {name: 0} | {file.href: file.size or 0 for file in manifest.files}
    return {}


@dataclass(frozen=True)
class _Source:
    href: str
    size: int | None
    version: str | None


def _transfer_of(target: Path) -> Path:
    return target.parent / ".transfer" / target.name


def copy_file(
    remote: RemoteFiles, href: str, target: Path, work: Path, tell: Progress | None, limit: int | None = None
) -> bool:
    """Copy one file, or continue a copy that was interrupted.

    The copy grows as ``<work>.partial`` beside a note of what it is a copy of, is compared with what was
    read, and gets its name last. A finished copy of the same version is left as it is.

    Args:
        remote: where to read.
        href: what to read.
        target: where the finished copy goes.
        work: path, apart from ``target``, under which the unfinished copy and the note are kept.
        tell: receives a sentence when the copy begins.
        limit: bytes that it may have.

    Returns:
        Whether bytes of an earlier attempt were kept.
    """
    stat = remote.stat(href)
    source = _Source(redacted(href), stat.size, stat.version)
    note = work.with_name(f"{work.name}.source.json")
    partial = work.with_name(f"{work.name}.partial")
    for folder in (target.parent, work.parent):
        folder.mkdir(parents=True, exist_ok=True)
    known = source.version is not None and _noted(note) == asdict(source)
    if known and target.exists() and (stat.size is None or target.stat().st_size == stat.size):
        return True
    if not (known and stat.resumable):
        partial.unlink(missing_ok=True)
    _require_space(target.parent, stat.size or 0, href)
    target.unlink(missing_ok=True)
    note.write_text(json.dumps(asdict(source)))
    start = partial.stat().st_size if partial.exists() else 0
    if tell:
        tell(f"copying {target.name}" + (f", continued at byte {start:,}" if start else ""))
    told = percent(tell, f"copying {target.name}") if tell else None
    try:
        blocks = remote.read(href, start, limit)
        _append(blocks, href, partial, start, lambda done: told(done, stat.size or 0) if told else None)
    except PoisonedInputError:
        partial.unlink()
        raise
    _compare_size(source, remote.stat(href).version, partial)
    partial.rename(target)
    return start > 0


def _noted(note: Path) -> object:
    """Read a note; None where there is none, or whoever wrote it was killed."""
    try:
        return json.loads(note.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _append(
    blocks: Iterable[bytes], href: str, partial: Path, start: int, on_bytes: Callable[[int], None]
) -> None:
    digest = sha256()
    with partial.open("ab") as file:
        for block in blocks:
            digest.update(block)
            file.write(block)
            on_bytes(file.tell())
        file.flush()
        os.fsync(file.fileno())
    if _digest(partial, "sha256", start) != digest.hexdigest():
        partial.unlink()
        raise TransientError(redacted(href), "the copy differs from what was read", "It is copied again.")


def _compare_size(source: _Source, version_now: str | None, partial: Path) -> None:
    size = partial.stat().st_size
    if version_now != source.version:
        partial.unlink()
        raise TransientError(source.href, "it changed while it was read", "It is copied again.")
    if source.size is not None and size != source.size:
        if size > source.size:
            partial.unlink()
        raise TransientError(
            source.href, f"the transfer ended at byte {size:,} of {source.size:,}", "It is continued."
        )


def _compare_checksum(order: Order, checksum: Checksum, target: Path) -> None:
    if (found := _digest(target, checksum.algorithm)) != checksum.digest:
        target.unlink()
        raise PoisonedInputError(
            redacted(order.href),
            f"its {checksum.algorithm} is {found}, its item announces {checksum.digest}",
            "Check the source: the item and the archive disagree.",
        )


def _digest(path: Path, algorithm: str, start: int = 0) -> str:
    digest = new_hash(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        file.seek(start)
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _require_space(folder: Path, size: int, href: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise PermanentError(
            redacted(href),
            f"the copy needs {size:,} bytes and {folder} has {free:,} free",
            "Free some space or move the data folder to a larger disk, then order again.",
        )
