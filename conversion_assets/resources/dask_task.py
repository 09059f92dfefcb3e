"""One conversion as a task of a Dask cluster, followed to its end, and ended when nobody waits for it.

Dask runs a task again elsewhere when its worker is lost. A product that costs workers their lives must not
do that unseen: the loss is found in the scheduler's events, the task is cancelled, and the error is ours.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from distributed import CancelledError, Client, Future, KilledWorker

from conversion_assets.errors import TransientError
from conversion_assets.resources.dask_clusters import workers_of
from conversion_assets.storage.access import S3Access
from conversion_assets.zarr.worker_task import TOPIC, Kind, WorkerOrder, WorkerReport, convert_on_worker

Tell = Callable[[str], None]

SLOT = "conversion"
"""Resource of which each conversion takes one, on workers that declare it."""
EVENTS_OF_ALL = "all"
POLL_SECONDS = 0.25
SECONDS_TO_GATHER = 60
SECONDS_TO_STOP = 20.0
SECONDS_TO_BE_HEARD = 2.0
LATER = "It is tried a few times; order again when the cluster is well."


@dataclass
class TaskFollowed:
    """What the cluster tells of one task, in the order in which it came.

    Attributes:
        key: of the task.
        tell: receives its sentences, in the thread that follows.
        running: workers on which something of it runs.
        lost: the worker that was lost while it ran there.
    """

    key: str
    tell: Tell
    running: set[str] = field(default_factory=set)
    lost: str | None = None
    _events: queue.Queue[dict[str, Any]] = field(default_factory=queue.Queue)

    def hear(self, event: tuple[float, Any]) -> None:
        """Take an event from the thread that talks to the scheduler."""
        _, message = event
        if isinstance(message, dict):
            self._events.put(message)

    def take(self, seconds: float = 0) -> bool:
        """Take in one event, waiting for it for some seconds; False when there was none."""
        try:
            message = self._events.get(timeout=seconds) if seconds else self._events.get_nowait()
        except queue.Empty:
            return False
        if message.get("key") == self.key:
            self._take_ours(message)
        elif message.get("action") == "remove-worker" and message.get("worker") in self.running:
            self.lost = message["worker"]
            self.running.discard(self.lost)
        return True

    def _take_ours(self, message: dict[str, Any]) -> None:
        worker = message["worker"]
        if message["kind"] == Kind.BEGAN:
            self.running.add(worker)
            self.tell(f"converting on Dask worker {worker}")
        elif message["kind"] == Kind.ENDED:
            self.running.discard(worker)
        else:
            self.tell(message["text"])


def run_task(
    client: Client, name: str, order: WorkerOrder, access: S3Access, patience: float, tell: Tell
) -> WorkerReport:
    """Let a worker convert one product.

    Whatever ends this call early, an exception of a cancelled run included, ends the task first, with its
    process and its files.

    Args:
        client: of the cluster.
        name: tells people whose task it is.
        order: what to do.
        access: S3 service of the addresses in the order; it travels with the task.
        patience: seconds to wait for a worker to take the task.
        tell: receives a sentence now and then.

    Raises:
        PoisonedInputError: eopf refused the product.
        PermanentError: a limit was exceeded, the disk is full, or the worker does not see the files.
        TransientError: process, worker or scheduler were lost, or no worker took the task.
    """
    key = f"{SLOT}-{uuid4().hex}-{name}"
    followed = TaskFollowed(key, tell)
    with _subscribed(client, followed):
        future = client.submit(
            convert_on_worker,
            order.model_dump_json(),
            access,
            key=key,
            pure=False,
            retries=0,
            resources=_slot(client),
        )
        try:
            _await_end(future, followed, patience)
            return _report(future, followed)
        except BaseException:
            _stop(future, followed)
            raise
        finally:
            future.release()


@contextmanager
def _subscribed(client: Client, followed: TaskFollowed) -> Iterator[None]:
    for topic in (TOPIC, EVENTS_OF_ALL):
        client.subscribe_topic(topic, followed.hear)
    try:
        yield
    finally:
        with suppress(Exception):  # a scheduler that is lost knows of no subscription
            for topic in (TOPIC, EVENTS_OF_ALL):
                client.unsubscribe_topic(topic)


def _slot(client: Client) -> dict[str, float] | None:
    declared = any(SLOT in worker.get("resources", {}) for worker in workers_of(client).values())
    return {SLOT: 1} if declared else None


def _await_end(future: Future[str], followed: TaskFollowed, patience: float) -> None:
    deadline = time.monotonic() + patience
    has_begun = False
    while not future.done():
        followed.take(POLL_SECONDS)
        has_begun = has_begun or bool(followed.running)
        if followed.lost:
            raise _loss(followed.key, f"worker {followed.lost} was lost while it ran there")
        if not has_begun and time.monotonic() > deadline:
            raise _loss(followed.key, f"no worker took it within {patience:,.0f} s")
    while followed.take():
        pass


def _report(future: Future[str], followed: TaskFollowed) -> WorkerReport:
    if future.status == "finished":
        try:
            return WorkerReport.model_validate_json(future.result(timeout=SECONDS_TO_GATHER))
        except (OSError, TimeoutError, CancelledError, KilledWorker) as error:
            raise _loss(followed.key, f"its result was lost ({type(error).__name__})") from error
    if future.status != "error":
        raise _loss(followed.key, "the scheduler was lost, or somebody else cancelled it")
    failure: BaseException = future.exception()
    if isinstance(failure, KilledWorker):
        raise _loss(followed.key, "the workers that took it were lost")
    raise failure


def _loss(key: str, rule: str) -> TransientError:
    return TransientError(f"Dask task {key}", rule, LATER)


def _stop(future: Future[str], followed: TaskFollowed) -> None:
    """Cancel a task, and wait until nothing of it runs any more, but not for ever."""
    if future.done():
        return
    with suppress(Exception):  # a scheduler that is lost has lost the task, too
        future.cancel()
    start = time.monotonic()
    seconds = SECONDS_TO_STOP if followed.running else SECONDS_TO_BE_HEARD
    followed.tell = _nothing
    while time.monotonic() < start + seconds:
        followed.take(POLL_SECONDS)
        if followed.running:
            seconds = SECONDS_TO_STOP
        elif seconds == SECONDS_TO_STOP:
            break


def _nothing(_: str) -> None:
    """Tell nobody."""
