"""Jobs of services that speak OGC API - Processes, the standard one and the upstream system's two.

Source: https://docs.ogc.org/is/18-062r2/18-062r2.html (OGC API - Processes - Part 1: Core 1.0).
"""

from __future__ import annotations

import ast
import json
import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Literal, NoReturn
from urllib.parse import quote, unquote, urlsplit

from conversion_assets.errors import ConversionAssetsError, PermanentError, TransientError
from conversion_assets.web.client import Answer, WebClient
from conversion_assets.web.faults import CONTROL, LATER, WORDS_LIMIT, without_secrets, words_of

Progress = Callable[[str], None]
Outputs = dict[str, Any]

LONGEST_SUBMISSION = 120.0
"""Seconds until a submission has to be answered: a service was seen to take a minute."""
LONGEST_DISMISSAL = 10.0
HEAD_OF_WORDS = 120
LONGEST_LITERAL = 20_000
MOST_LIES = 3
"""How many answers without sense, one after the other, end a wait."""
MOST_PAGES = 100
READINESS_TRIES = 5
GROWTH = 1.5
CLOCK_SLACK = 2.0
"""Seconds by which a time written without fractions may lie before the moment it means."""
ANSWERED = (200, 202, 204, 404, 405, 410, 501)
"""Statuses after which there is nothing more to dismiss, or no way to."""


class State(StrEnum):
    """Where a job stands."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCESSFUL = "successful"
    FAILED = "failed"
    DISMISSED = "dismissed"


@dataclass(frozen=True)
class Dialect:
    """How a service speaks.

    Attributes:
        wraps_inputs: whether inputs are sent below ``inputs``.
        result: where the outputs are: in the document ``/results``, in the job's message, or nowhere.
        process_of_jobs: the process that its jobs name; None for the one that was executed.
        headers: of a submission.
        params: of every request.
        told_by_time: whether ``updated`` moves only when there is something new.
    """

    wraps_inputs: bool
    result: Literal["document", "message", "none"]
    process_of_jobs: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    told_by_time: bool = False


STANDARD = Dialect(
    wraps_inputs=True,
    result="document",
    headers={"Prefer": "respond-async"},
    params={"f": "json"},
    told_by_time=True,
)
UPSTREAM_STAGING = Dialect(wraps_inputs=True, result="none", process_of_jobs="staging")
UPSTREAM_DPR = Dialect(wraps_inputs=False, result="message", process_of_jobs="dpr-service")


@dataclass(frozen=True)
class JobStatus:
    """What a service says of a job.

    Attributes:
        job_id: its id.
        state: where it stands.
        message: the service's own words, complete.
        progress: percent, where it is told.
        updated: when something last changed, where it is told.
    """

    job_id: str
    state: State
    message: str = ""
    progress: float | None = None
    updated: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it will not change any more."""
        return self.state in (State.SUCCESSFUL, State.FAILED, State.DISMISSED)


@dataclass(frozen=True)
class WaitLimits:
    """How to wait for a job, in seconds.

    Attributes:
        first: until it is asked for again for the first time; pauses grow from there.
        longest: the longest pause.
        deadline: how long it may take.
        stall: how long it may say nothing new, and how long it may be out of reach.
    """

    first: float = 0.5
    longest: float = 30
    deadline: float = 6 * 3600
    stall: float = 1800


class JobVanishedError(TransientError):
    """The service does not know the job (any more)."""


class JobOutOfReachError(TransientError):
    """The service cannot be asked; the job may go on."""


class SubmissionLostError(TransientError):
    """Nobody knows whether the job was made."""


class NonsenseError(PermanentError):
    """The service's answer is not what it should be."""


class ProcessesClient:
    """Submits, watches and dismisses jobs.

    Args:
        web: the service; its base URL is that of ``/processes`` and ``/jobs``.
        dialect: how it speaks.
        secrets: what its words must not carry into errors.
        submission_timeout: seconds until a submission has to be answered.
        sleep: waits some seconds.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        web: WebClient,
        dialect: Dialect,
        *,
        secrets: Collection[str] = (),
        submission_timeout: float = LONGEST_SUBMISSION,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._web = web
        self._dialect = dialect
        self._secrets = frozenset(secrets)
        self._submission_timeout = submission_timeout
        self._sleep = sleep
        self._clock = clock

    def submit(self, process_id: str, inputs: Mapping[str, Any], known: Collection[str] = ()) -> str:
        """Start a job.

        Where the answer is lost, the job that was made is looked for; it is not submitted again.

        Args:
            process_id: what to execute.
            inputs: for what.
            known: ids of jobs that are others'.

        Returns:
            Id of the job, which may have failed already.

        Raises:
            SubmissionLostError: the answer was lost, and no job or more than one may be the one.
            TransientError: the service cannot be reached, or is busy.
            PermanentError: it refused, or its answer makes no sense.
        """
        began = self._clock()
        body = {"inputs": dict(inputs)} if self._dialect.wraps_inputs else dict(inputs)
        try:
            answer = self._web.post(
                f"/processes/{quote(process_id, safe='')}/execution",
                json=body,
                headers=self._dialect.headers,
                timeout=self._submission_timeout,
                expect=(HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED),
            )
        except TransientError as lost:
            return self._lost_job(process_id, inputs, began, known, lost)
        return self._submitted_id(answer)

    def find(
        self, process_id: str, inputs: Mapping[str, Any], seconds: float, known: Collection[str] = ()
    ) -> list[str]:
        """Look for jobs that may be those of a submission whose answer was lost.

        Args:
            process_id: what was executed.
            inputs: for what; compared where the service shows the inputs of a job.
            seconds: how long ago it was submitted.
            known: ids of jobs that are others'.

        Raises:
            ConversionAssetsError: the service does not list its jobs.
        """
        process = self._dialect.process_of_jobs or process_id
        return [
            job_id
            for job, earliest in self._listed(seconds)
            if (job_id := _id_in(job)) and job_id not in known
            if job.get("processID") == process
            and _not_before(job.get("created"), earliest)
            and _shown_inputs(job) in (None, dict(inputs))
        ]

    def status(self, job_id: str) -> JobStatus:
        """Ask for a job.

        Raises:
            JobVanishedError: there is no such job.
            TransientError: the service cannot be reached, or is busy.
            PermanentError: it refused, or its answer makes no sense.
        """
        path = _path_of(job_id)
        answer = self._web.get(
            path, params=self._dialect.params, expect=(HTTPStatus.OK, HTTPStatus.NOT_FOUND)
        )
        if answer.status == HTTPStatus.NOT_FOUND:
            raise JobVanishedError(
                self._subject(job_id),
                f"the service does not know this job: {self._said(words_of(answer.text))}",
                "It is submitted again.",
            )
        return self._read(answer, job_id)

    def wait(self, job_id: str, tell: Progress, limits: WaitLimits) -> JobStatus:
        """Wait until a job has ended, well or badly.

        Args:
            job_id: the job.
            tell: receives what the service says, when it says something new.
            limits: how long.

        Raises:
            JobVanishedError: there is no such job any more.
            JobOutOfReachError: the service could not be asked for ``limits.stall`` seconds.
            TransientError: it said nothing new for ``limits.stall`` seconds.
            PermanentError: it took longer than ``limits.deadline``, the service refuses to tell, or what it
                tells makes no sense.
        """
        watch = _Watch(self, job_id, tell, limits)
        while not (status := watch.look()).has_ended:
            self._sleep(watch.pause())
        return status

    def results(self, job_id: str) -> Outputs:
        """Get the outputs of a job that was successful.

        Raises:
            TransientError: the service cannot be reached, or the outputs are not ready.
            PermanentError: they cannot be read.
        """
        if self._dialect.result == "none":
            return {}
        if self._dialect.result == "message":
            message = self.status(job_id).message
            return _outputs_of_message(message) or self._nonsense(job_id, "its result is no object", message)
        answer = self._ready_results(job_id)
        return _outputs_of_document(answer.json) or self._nonsense(
            job_id, "its results are no JSON object", words_of(answer.text)
        )

    def dismiss(self, job_id: str) -> None:
        """End a job, or at least forget it.

        Raises:
            ConversionAssetsError: the service cannot be reached or refuses, and the job is still there.
        """
        try:
            self._web.delete(
                _path_of(job_id),
                params=self._dialect.params,
                timeout=LONGEST_DISMISSAL,
                expect=ANSWERED,
                repeat=False,
            )
        except TransientError:
            # Some services do it and answer 500.
            with suppress(JobVanishedError):
                if not self.status(job_id).has_ended:
                    raise

    def failure(self, status: JobStatus, kind: type[ConversionAssetsError], way_out: str) -> Exception:
        """Make the error for a job that did not succeed.

        Args:
            status: how it ended.
            kind: class of the error.
            way_out: for the reader.
        """
        said = self._said(status.message) or "without a word"
        return kind(self._subject(status.job_id), f"the job {_ENDINGS[status.state]}: {said}", way_out)

    def summary(self, status: JobStatus) -> str:
        """Say in one line where a job stands."""
        percent = "" if status.progress is None else f" ({status.progress:.0f} %)"
        return f"{self._web.service}: {self._said(status.message) or status.state}{percent}"

    def news(self, status: JobStatus) -> tuple[object, ...]:
        """Give what shows that a job goes on."""
        time_of_change = status.updated if self._dialect.told_by_time else None
        return status.state, status.message, status.progress, time_of_change

    def now(self) -> float:
        """Tell the clock."""
        return self._clock()

    def _subject(self, job_id: str) -> str:
        return f"{self._web.service} (job {job_id})"

    def _said(self, words: str) -> str:
        """Shorten a service's words; what they are about stands at the beginning, the reason at the end."""
        line = CONTROL.sub(" ", without_secrets(words, self._secrets)).strip().rstrip(".")
        if len(line) <= WORDS_LIMIT:
            return line
        return f"{line[:HEAD_OF_WORDS]} … {line[HEAD_OF_WORDS - WORDS_LIMIT :]}"

    def _nonsense(self, job_id: str, rule: str, words: str) -> NoReturn:
        said = self._said(words)
        raise NonsenseError(
            self._subject(job_id),
            f"{rule}: {said[:WORDS_LIMIT]}" if said else rule,
            "Check address, dialect and version of this service.",
        )

    def _submitted_id(self, answer: Answer) -> str:
        job_id = _id_in_location(answer.headers.get("location")) or _id_in(answer.json)
        return job_id or self._nonsense(
            "?", f"it answered {answer.status} and names no job", words_of(answer.text)
        )

    def _lost_job(
        self,
        process_id: str,
        inputs: Mapping[str, Any],
        began: float,
        known: Collection[str],
        lost: TransientError,
    ) -> str:
        try:
            found = self.find(process_id, inputs, self._clock() - began, known)
        except ConversionAssetsError:
            found = []
        if len(found) == 1:
            return found[0]
        candidates = f"; it may be one of the jobs {', '.join(found)}" if found else ""
        raise SubmissionLostError(
            lost.subject, f"it is not known whether the job was made: {lost.rule}{candidates}", LATER
        ) from lost

    def _listed(self, seconds: float) -> Iterator[tuple[Mapping[str, Any], float]]:
        """Give the listed jobs, each with the earliest time it may be of, by the service's own clock."""
        path, params, pages = "/jobs", {**self._dialect.params, "limit": "1000"}, 0
        while path and pages < MOST_PAGES:
            answer = self._web.get(path, params=params)
            document = answer.json if isinstance(answer.json, dict) else {}
            earliest = _time_of(answer.headers.get("date")) - seconds - CLOCK_SLACK
            jobs = document.get("jobs", answer.json)
            for job in jobs if isinstance(jobs, list) else ():
                if isinstance(job, dict):
                    yield job, earliest
            path, params, pages = _next_page(document), {}, pages + 1

    def _read(self, answer: Answer, job_id: str) -> JobStatus:
        document = answer.json
        if not isinstance(document, dict):
            self._nonsense(job_id, "its status is no JSON object", words_of(answer.text))
        if (named := _id_in(document)) not in (None, job_id):
            self._nonsense(job_id, f"the answer is about another job, {named}", words_of(answer.text))
        try:
            state = State(str(document.get("status")))
        except ValueError:
            self._nonsense(job_id, f"it has no known status, {document.get('status')!r}", str(document))
        message, progress = document.get("message"), document.get("progress")
        return JobStatus(
            job_id=job_id,
            state=state,
            message=message if isinstance(message, str) else json.dumps(message) if message else "",
            progress=progress if isinstance(progress, int | float) else None,
            updated=str(document["updated"]) if document.get("updated") else None,
        )

    def _ready_results(self, job_id: str) -> Answer:
        path = f"{_path_of(job_id)}/results"
        expect = (HTTPStatus.OK, HTTPStatus.NOT_FOUND)
        for attempt in range(READINESS_TRIES):
            answer = self._web.get(path, params=self._dialect.params, expect=expect)
            if answer.status == HTTPStatus.OK:
                return answer
            self._sleep(GROWTH**attempt)
        raise TransientError(
            self._subject(job_id),
            f"it was successful and has no results: {self._said(words_of(answer.text))}",
            LATER,
        )


_ENDINGS = {State.FAILED: "failed", State.DISMISSED: "was dismissed", State.SUCCESSFUL: "was successful"}


class _Watch:
    """One wait: what was last heard, and when."""

    def __init__(self, client: ProcessesClient, job_id: str, tell: Progress, limits: WaitLimits) -> None:
        self._client = client
        self._job_id = job_id
        self._tell = tell
        self._limits = limits
        self._began = self._reached = self._changed = client.now()
        self._heard = JobStatus(job_id, State.ACCEPTED)
        self._told = ""
        self._lies = 0
        self._looks = 0

    def look(self) -> JobStatus:
        """Ask once; an answer that fails in passing is as good as the one before."""
        self._looks += 1
        try:
            status = self._client.status(self._job_id)
        except JobVanishedError:
            raise
        except TransientError as error:
            self._require_reach(error)
        except NonsenseError:
            self._lies += 1
            if self._lies == MOST_LIES:
                raise
        else:
            self._hear(status)
        if not self._heard.has_ended:
            self._require_time()
        return self._heard

    def pause(self) -> float:
        """Give the seconds until it is asked for again; others do not ask at the same moments."""
        limits = self._limits
        grown = min(limits.first * GROWTH ** min(self._looks - 1, 50), limits.longest)
        left = self._began + limits.deadline - self._client.now()
        return max(min(grown * random.uniform(0.8, 1), left), 0)  # noqa: S311 - spreads clients, guards nothing

    def _hear(self, status: JobStatus) -> None:
        self._lies = 0
        self._reached = self._client.now()
        if self._client.news(status) != self._client.news(self._heard):
            self._changed = self._reached
        self._heard = status
        summary = self._client.summary(status)
        if summary != self._told and not status.has_ended:
            self._tell(summary)
            self._told = summary

    def _require_reach(self, error: TransientError) -> None:
        if (silent := self._client.now() - self._reached) > self._limits.stall:
            raise JobOutOfReachError(
                error.subject,
                f"for {silent:,.0f} s its job {self._job_id} could not be asked for: {error.rule}",
                "The job may go on: order the product again, and it is waited for.",
            ) from error

    def _require_time(self) -> None:
        now, last = self._client.now(), self._client.summary(self._heard)
        if now - self._began >= self._limits.deadline:
            raise PermanentError(
                f"job {self._job_id}",
                f"it has not ended after {self._limits.deadline:,.0f} s; the last that was heard: {last}",
                "Raise CONVERSION_ASSETS_JOB_TIME_LIMIT_SECONDS, or ask those who run the service.",
            )
        if self._reached - self._changed > self._limits.stall:
            raise TransientError(
                f"job {self._job_id}",
                f"nothing new was heard for {self._limits.stall:,.0f} s; the last that was heard: {last}",
                "It is dismissed and submitted again; ask those who run the service if that happens again"
                " (CONVERSION_ASSETS_JOB_STALL_LIMIT_SECONDS).",
            )


def _path_of(job_id: str) -> str:
    return f"/jobs/{quote(job_id, safe='')}"


def _id_in(document: object) -> str | None:
    if not isinstance(document, dict):
        return None
    found = document.get("jobID") or document.get("identifier")
    return found if isinstance(found, str) else None


def _id_in_location(location: str | None) -> str | None:
    above, _, job_id = urlsplit(location or "").path.rstrip("/").rpartition("/")
    return unquote(job_id) if above.endswith("/jobs") and job_id else None


def _shown_inputs(job: Mapping[str, Any]) -> object:
    """Give the inputs of a job where the service shows them."""
    shown = job.get("inputs") or job.get("parameters")
    if isinstance(shown, str):
        with suppress(ValueError):
            return json.loads(shown)
    return shown if isinstance(shown, dict) else None


def _time_of(header: str | None) -> float:
    with suppress(TypeError, ValueError, OverflowError):
        if header:
            return parsedate_to_datetime(header).timestamp()
    return time.time()


def _not_before(created: object, earliest: float) -> bool:
    """Tell whether a job may be that young; one that does not say so is not."""
    try:
        moment = datetime.fromisoformat(str(created))
    except ValueError:
        return False
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() >= earliest


def _next_page(document: Mapping[str, Any]) -> str:
    links = document.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "next":
            return str(link.get("href", ""))
    return ""


def _outputs_of_document(document: object) -> Outputs | None:
    """Read results in the forms that are in use: an object of outputs, a list of them, or one of them."""
    if isinstance(document, dict) and isinstance(listed := document.get("outputs"), list):
        return {str(one["id"]): one.get("value") for one in listed if isinstance(one, dict) and "id" in one}
    if not isinstance(document, dict):
        return None
    if document.keys() == {"id", "value"} and isinstance(document["value"], dict):
        document = document["value"]
    return {name: _value_of(output) for name, output in document.items()}


def _value_of(output: object) -> object:
    return output["value"] if isinstance(output, dict) and "value" in output else output


def _outputs_of_message(message: str) -> Outputs | None:
    """Read a result that is written in a message, alone or as the last of its lines."""
    lines = message.strip().splitlines()
    for text in (message, lines[-1] if lines else ""):
        for read in (json.loads, _read_literal):
            with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
                if isinstance(found := read(text), dict):
                    return found
    return None


def _read_literal(text: str) -> Outputs:
    """Read a flat dictionary as Python writes it; nothing is evaluated.

    Raises:
        ValueError: it is something else.
        SyntaxError: it is not even that.
    """
    if len(text) > LONGEST_LITERAL:
        raise ValueError("too long")
    tree = ast.parse(text.strip(), mode="eval").body
    if not isinstance(tree, ast.Dict):
        raise ValueError("no dictionary")  # noqa: TRY004 - of the text, not of an argument
    pairs = zip(tree.keys, tree.values, strict=True)
    return {str(_constant(key)): _constant(value) for key, value in pairs}


def _constant(node: ast.expr | None) -> object:
    if not isinstance(node, ast.Constant):
        raise ValueError("not flat")  # noqa: TRY004 - of the text, not of an argument
    return node.value
