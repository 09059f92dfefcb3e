"""The conversion as a task on a Dask worker: the same process as elsewhere, its files fetched and brought.

Dask lets a task run on when nobody wants it any more. This one asks its worker several times a second, and
ends itself and its process when the task was cancelled, when the client that asked is gone, or when the
worker closes. What it has to say meanwhile goes through the scheduler as events.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, Self
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from distributed import Status, get_worker
from distributed.worker import Worker
from fsspec.callbacks import Callback
from pydantic import BaseModel, ConfigDict

from conversion_assets.errors import ConversionAssetsError, PermanentError, TransientError
from conversion_assets.storage.access import S3Access, filesystem_of
from conversion_assets.storage.prefixes import Prefix
from conversion_assets.storage.transfer import FileSystem, delete_prefix, download, upload
from conversion_assets.tracing import continuing
from conversion_assets.zarr.conversion import ConversionReport, ConversionRequest
from conversion_assets.zarr.process import ProcessLimits, run_conversion

PACKAGE = "conversion-assets"
TOPIC = "conversion_assets"
WORKING = frozenset({"executing", "long-running"})
CLOSING = frozenset({Status.closing, Status.closed, Status.failed})


class Kind(StrEnum):
    """What an event of a task tells: that it began, a sentence, that nothing of it is left running."""

    BEGAN = "began"
    PROGRESS = "progress"
    ENDED = "ended"


class WorkerOrder(BaseModel):
    """What a task is to do; it holds no credential.

    Attributes:
        safe: URI of the SAFE folder: ``file:`` on a file system that the worker shares, or ``s3:``.
        output: URI of the folder in which the product's folder is made, in a new folder of its own.
        threads: threads of the conversion.
        memory_limit_bytes: resident bytes the converting process may use.
        time_limit_seconds: wall seconds it may take.
        package_version: version of this package where the order was written.
        traceparent: W3C trace context of whoever ordered.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    safe: str
    output: str
    threads: int
    memory_limit_bytes: int
    time_limit_seconds: float
    package_version: str
    traceparent: str | None = None


class WorkerReport(BaseModel):
    """What a task has done.

    Attributes:
        uri: of the product.
        report: of the converting process; its paths are those of the worker.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    report: ConversionReport


class Task(Protocol):
    """What a conversion needs of the task that it runs in."""

    def tell(self, text: str) -> None:
        """Tell the client a sentence."""

    def require_wanted(self) -> None:
        """Raise when the result is not wanted any more."""


class DaskTask:
    """The task that this thread runs, as its worker knows it.

    Args:
        worker: the worker.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._key = worker.get_current_task()
        self.folder = worker.local_directory

    @classmethod
    def current(cls) -> Self:
        """Give the task of this thread."""
        return cls(get_worker())

    def tell(self, text: str) -> None:
        """See ``Task.tell``."""
        self.send(Kind.PROGRESS, text)

    def send(self, kind: Kind, text: str = "") -> None:
        """Send an event to the client."""
        message = {"key": self._key, "worker": self._worker.address, "kind": kind.value, "text": text}
        self._worker.log_event(TOPIC, message)

    def require_wanted(self) -> None:
        """See ``Task.require_wanted``.

        Raises:
            TransientError: the task was cancelled, whoever asked is gone, or the worker closes.
        """
        known = self._worker.state.tasks.get(self._key)
        if known is None or known.state not in WORKING or self._worker.status in CLOSING:
            raise TransientError(
                f"Dask task {self._key}",
                f"it was cancelled, or worker {self._worker.address} closes",
                "Order it again.",
            )


def convert_on_worker(order: str, access: S3Access) -> str:
    """Convert one product on the worker that runs this task.

    Args:
        order: a ``WorkerOrder`` as JSON.
        access: S3 service of the ``s3:`` addresses in it.

    Returns:
        A ``WorkerReport`` as JSON.

    Raises:
        PoisonedInputError: eopf refused the product.
        PermanentError: a limit was exceeded, the disk is full, the worker does not see the files or has
            another version of this package.
        TransientError: the process was killed, S3 cannot be reached, or the result is not wanted any more.
    """
    task = DaskTask.current()
    wanted = WorkerOrder.model_validate_json(order)
    task.send(Kind.BEGAN)
    try:
        require_version(wanted.package_version)
        with TemporaryDirectory(prefix="conversion-", dir=task.folder, ignore_cleanup_errors=True) as folder:
            return convert_in(Path(folder), wanted, access, task).model_dump_json()
    finally:
        task.send(Kind.ENDED)


def require_version(asked_by: str) -> None:
    """Refuse work for another version of this package.

    Raises:
        PermanentError: with both versions.
    """
    if (ours := version(PACKAGE)) != asked_by:
        raise PermanentError(
            f"Dask worker on {socket.gethostname()}",
            f"it has {PACKAGE} {ours}, and {asked_by} asks",
            "Install the same version on the workers.",
        )


def convert_in(folder: Path, order: WorkerOrder, access: S3Access, task: Task) -> WorkerReport:
    """Convert with all temporary files in a folder that the caller removes; see ``convert_on_worker``."""
    with continuing(order.traceparent):
        return _convert_in(folder, order, access, task)


def _convert_in(folder: Path, order: WorkerOrder, access: S3Access, task: Task) -> WorkerReport:
    scratch = folder / "scratch"
    scratch.mkdir()
    safe = _local_safe(order.safe, access, folder / "input", task)
    with _place_at(order.output, access, folder / "output", task) as place:
        request = ConversionRequest(safe=safe, output=place.folder, scratch=scratch, threads=order.threads)
        limits = ProcessLimits(order.memory_limit_bytes, order.time_limit_seconds)
        report = run_conversion(request, limits, task.tell, task.require_wanted)
        return WorkerReport(uri=place.bring(report.product), report=report)


def _local_safe(uri: str, access: S3Access, folder: Path, task: Task) -> Path:
    if urlsplit(uri).scheme == "file":
        return _shared_folder(uri)
    source = Prefix.of(uri)
    target = folder / source.name
    task.tell(f"downloading {source.name}")
    download(_Attentive(_s3(uri, access), task), source, target)
    return target


def _shared_folder(uri: str) -> Path:
    path = Path(unquote(urlsplit(uri).path))
    if not path.is_dir():
        raise PermanentError(
            path,
            f"the Dask worker on {socket.gethostname()} does not see this folder",
            "Let the workers mount the data folder at the same place, or keep products on S3.",
        )
    return path


class _Place(Protocol):
    folder: Path

    def bring(self, product: Path) -> str:
        """Bring a product that was written to the folder to where it was asked for, and give its URI."""


@contextmanager
def _place_at(output: str, access: S3Access, spare: Path, task: Task) -> Iterator[_Place]:
    """Give a place of its own to each run of a task: Dask may run one twice, even at the same time."""
    run = f"run-{uuid4().hex[:8]}"
    if urlsplit(output).scheme == "file":
        with _shared_place(_shared_folder(output) / run) as shared:
            yield shared
    else:
        with _bucket_place(Prefix.of(output).below(run), _s3(output, access), spare, task) as bucket:
            yield bucket


@contextmanager
def _shared_place(folder: Path) -> Iterator[_Place]:
    folder.mkdir()
    try:
        yield _SharedPlace(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def _bucket_place(target: Prefix, filesystem: FileSystem, spare: Path, task: Task) -> Iterator[_Place]:
    spare.mkdir()
    try:
        yield _BucketPlace(spare, target, _Attentive(filesystem, task), task)
    except BaseException:
        with suppress(ConversionAssetsError, OSError):  # the former error is the one to tell
            delete_prefix(filesystem, target)
        raise


class _SharedPlace:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def bring(self, product: Path) -> str:
        return product.as_uri()


class _BucketPlace:
    def __init__(self, folder: Path, target: Prefix, filesystem: FileSystem, task: Task) -> None:
        self.folder = folder
        self._target = target
        self._filesystem = filesystem
        self._task = task

    def bring(self, product: Path) -> str:
        target = self._target.below(product.name)
        self._task.tell(f"uploading {product.name}")
        upload(product, self._filesystem, target)
        return target.uri


def _s3(uri: str, access: S3Access) -> FileSystem:
    return filesystem_of(uri, access)[0]


class _Attentive:
    """A file system of S3 that does nothing more once its work is not wanted any more.

    Args:
        filesystem: of ``S3Access.filesystem``.
        task: knows whether it is wanted.
    """

    def __init__(self, filesystem: FileSystem, task: Task) -> None:
        self._filesystem = filesystem
        self._task = task

    def call_s3(self, method: str, **arguments: object) -> Any:  # noqa: ANN401 - s3fs ships no types
        self._task.require_wanted()
        return self._filesystem.call_s3(method, **arguments)

    def get_file(self, source: str, target: str | os.PathLike[str]) -> None:
        self._task.require_wanted()
        self._filesystem.get_file(source, target, callback=_Attention(self._task))


class _Attention(Callback):  # type: ignore[misc] # fsspec ships no types
    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task = task

    def relative_update(self, inc: int = 1) -> None:
        del inc
        self._task.require_wanted()
