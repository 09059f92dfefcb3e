"""A service that works on jobs for us: submitted once, found after a restart, dismissed with the run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import dagster as dg
from pydantic import PrivateAttr

from conversion_assets.errors import ConversionAssetsError, PermanentError, TransientError
from conversion_assets.resources.authentication import Authentication
from conversion_assets.resources.job_notes import JobNote, JobNotes
from conversion_assets.web.client import WebClient
from conversion_assets.web.processes import (
    STANDARD,
    UPSTREAM_DPR,
    UPSTREAM_STAGING,
    Dialect,
    JobOutOfReachError,
    JobStatus,
    JobVanishedError,
    NonsenseError,
    ProcessesClient,
    State,
    WaitLimits,
)

LOG = logging.getLogger(__name__)
DialectName = Literal["standard", "upstream-staging", "upstream-dpr"]
DIALECTS: dict[DialectName, Dialect] = {
    "standard": STANDARD,
    "upstream-staging": UPSTREAM_STAGING,
    "upstream-dpr": UPSTREAM_DPR,
}

Progress = Callable[[str], None]
Failure = tuple[type[ConversionAssetsError], str]
"""Class of an error, and the way out."""


@dataclass(frozen=True)
class JobTask:
    """What is to be done.

    Attributes:
        key: of the order.
        identity: changes with what is to be done: a job with another one is not continued.
        inputs: makes the inputs of the process from the place of its result.
        new_place: makes a place for the result that no other job knows; most need none.
        has_place: tells whether a place is still as it was made.
        judge: classes the message of a job that failed.
        secrets: what no error may carry.
    """

    key: str
    identity: str
    inputs: Callable[[str], Mapping[str, Any]]
    judge: Callable[[str], Failure]
    new_place: Callable[[], str] = str
    has_place: Callable[[str], bool] = lambda _: True
    secrets: frozenset[str] = frozenset()


@dataclass(frozen=True)
class JobOutcome:
    """A job that was successful.

    Attributes:
        status: how it ended.
        outputs: of the process.
        place: where it put its result.
    """

    status: JobStatus
    outputs: Mapping[str, Any]
    place: str


class JobService(dg.ConfigurableResource):  # type: ignore[type-arg] # the resource provides itself
    """One process of a service that speaks OGC API - Processes.

    A note of each job lies below ``notes`` until the job has ended, written before it is submitted. When a
    process of ours dies, the next one waits for the same job; where the answer of the submission was lost,
    it looks for the job in the service's list before it submits again.

    A service may go on with a job that was dismissed: the next job of an order gets another place.

    Attributes:
        name: what the service is to us, for errors.
        url: below it are ``/processes`` and ``/jobs``.
        process: id of the process.
        dialect: how the service speaks.
        authentication: credentials for it.
        notes: folder for the notes of this service, the same for all runs.
        time_limit_seconds: how long a job may take.
        stall_limit_seconds: how long it may say nothing new.
        first_pause: seconds until a job is asked for again; pauses grow from there.
        longest_pause: the longest pause in seconds.
        submission_seconds: how long the answer to a submission may take.
        timeout: seconds to wait for each part of any other answer.
        retries: how many times a request that failed in passing is sent again.
    """

    name: str
    url: str
    process: str
    dialect: DialectName = "standard"
    authentication: Authentication
    notes: str
    time_limit_seconds: float = 6 * 3600
    stall_limit_seconds: float = 1800
    first_pause: float = 0.5
    longest_pause: float = 30
    submission_seconds: float = 120
    timeout: float = 30
    retries: int = 3

    _sleep: Callable[[float], None] = PrivateAttr(default=time.sleep)

    def run(self, task: JobTask, tell: Progress) -> JobOutcome:
        """Let the service do something, and wait for it.

        What ends this call early, an exception of a cancelled run included, dismisses the job.

        Args:
            task: what.
            tell: receives a sentence now and then.

        Raises:
            TransientError: the service cannot be reached, has lost the job, or did not get on with it.
            PermanentError: it refused, took too long, or answered nonsense.
            ConversionAssetsError: the job failed; of the class that ``task.judge`` says.
        """
        with self._client(task.secrets) as client:
            note = self._continued(client, task, tell) or self._started(client, task)
            job_id = note.job_id or ""
            status = self._awaited(client, task, job_id, tell)
            try:
                outputs = client.results(job_id)
            except NonsenseError:
                self.notebook().forget(task.key)
                raise
        self.notebook().forget(task.key)
        return JobOutcome(status, outputs, note.place)

    def is_working_on(self, key: str) -> bool:
        """Tell whether a job of this order may be going on."""
        return self.notebook().read(key) is not None

    def notebook(self) -> JobNotes:
        """Give the notes of this service."""
        return JobNotes(Path(self.notes))

    @contextmanager
    def _client(self, secrets: frozenset[str]) -> Iterator[ProcessesClient]:
        hidden = secrets | set(self.authentication.secrets())
        web = WebClient(
            self.url,
            auth=self.authentication.auth(self.url),
            timeout=self.timeout,
            retries=self.retries,
            service=self.name,
            secrets=hidden,
            sleep=self._sleep,
        )
        with web:
            yield ProcessesClient(
                web,
                DIALECTS[self.dialect],
                secrets=hidden,
                submission_timeout=self.submission_seconds,
                sleep=self._sleep,
            )

    def _continued(self, client: ProcessesClient, task: JobTask, tell: Progress) -> JobNote | None:
        """Find the job that was submitted before, if it does what is to be done now."""
        note = self.notebook().read(task.key)
        if note is None:
            return None
        if note.identity != task.identity or not task.has_place(note.place):
            self._forget_job(client, task.key, note.job_id)
            return None
        if note.job_id is None:
            note = self._found_again(client, task, note)
        if note is None or note.job_id is None or _has_vanished(client, note.job_id):
            return None
        tell(f"{self.name}: waiting for job {note.job_id}, which was submitted before")
        return note

    def _found_again(self, client: ProcessesClient, task: JobTask, note: JobNote) -> JobNote | None:
        seconds = (datetime.now(UTC) - note.submitted).total_seconds()
        try:
            found = client.find(self.process, task.inputs(note.place), seconds, self.notebook().job_ids())
        except ConversionAssetsError as error:
            LOG.warning("a former submission cannot be looked for: %s", error)
            return None
        if len(found) != 1:
            return None
        note = note.model_copy(update={"job_id": found[0]})
        self.notebook().write(task.key, note)
        return note

    def _started(self, client: ProcessesClient, task: JobTask) -> JobNote:
        notebook = self.notebook()
        note = JobNote(
            job_id=None, submitted=datetime.now(UTC), identity=task.identity, place=task.new_place()
        )
        notebook.write(task.key, note)
        try:
            job_id = client.submit(self.process, task.inputs(note.place), notebook.job_ids())
        except PermanentError:
            notebook.forget(task.key)
            raise
        note = note.model_copy(update={"job_id": job_id})
        notebook.write(task.key, note)
        return note

    def _awaited(self, client: ProcessesClient, task: JobTask, job_id: str, tell: Progress) -> JobStatus:
        limits = WaitLimits(
            first=self.first_pause,
            longest=self.longest_pause,
            deadline=self.time_limit_seconds,
            stall=self.stall_limit_seconds,
        )
        try:
            status = client.wait(job_id, tell, limits)
        except JobOutOfReachError:
            raise
        except JobVanishedError:
            self.notebook().forget(task.key)
            raise
        except BaseException:
            self._forget_job(client, task.key, job_id)
            raise
        if status.state is not State.SUCCESSFUL:
            self.notebook().forget(task.key)
            raise client.failure(status, *_judged(status, task))
        return status

    def _forget_job(self, client: ProcessesClient, key: str, job_id: str | None) -> None:
        """Dismiss a job; its note stays when the service does not let go of it."""
        try:
            if job_id is not None:
                client.dismiss(job_id)
        except ConversionAssetsError as error:
            LOG.warning("job %s of %s is not dismissed: %s", job_id, key, error)
        else:
            self.notebook().forget(key)


def _has_vanished(client: ProcessesClient, job_id: str) -> bool:
    try:
        client.status(job_id)
    except JobVanishedError:
        return True
    except (TransientError, NonsenseError):
        return False  # the wait has more patience
    return False


def _judged(status: JobStatus, task: JobTask) -> Failure:
    if status.state is State.DISMISSED:
        return PermanentError, "Somebody dismissed it: order the product again if it is still wanted."
    return task.judge(status.message)
