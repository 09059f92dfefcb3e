"""What the two upstream services that run jobs have in common."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .serving import Document, Peer, Refusal

REFERENCE = "https://developer.mozilla.org/en/docs/Web/HTTP/Reference/Status"
POLL_SECONDS = 0.01
FINAL = frozenset({"successful", "failed", "dismissed"})


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class JobFailed(Exception):  # noqa: N818 - how a job ended, not a fault of the peer
    """Ends a job with a message."""

    def __init__(self, message: str, progress: int = 0) -> None:
        super().__init__(message)
        self.progress = progress


@dataclass
class Job:
    """A row of the table of jobs.

    Attributes:
        process: id of the process.
        id: of the job.
        history: status, progress in percent and message, as they came.
        created: when.
    """

    process: str
    id: str = field(default_factory=lambda: str(uuid4()))
    history: list[tuple[str, int, str]] = field(default_factory=list)
    created: str = field(default_factory=now)

    def tell(self, status: str, progress: int, message: str) -> None:
        self.history.append((status, progress, message))

    @property
    def status(self) -> str:
        return self.history[-1][0]

    def shown(self) -> Document:
        status, progress, message = self.history[-1]
        ids = {"type": "process", "processID": self.process, "jobID": self.id}
        times = {"created": self.created, "started": self.created, "updated": now()}
        finished = {"finished": now()} if status in FINAL else {}
        return {**ids, "status": status, "progress": progress, "message": message, **times, **finished}


class JobsPeer(Peer):
    """A service that runs jobs.

    Attributes:
        jobs: its table by id; rows that were deleted stay in ``deleted``.
        deleted: rows that a client deleted; their work goes on.
        failures: messages with which the next jobs end.
        endless: whether jobs run for ever, until it is set to False.
    """

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, Job] = {}
        self.deleted: dict[str, Job] = {}
        self.failures: list[str] = []
        self.endless = False

    def answer_refusal(self, refusal: Refusal) -> Response:
        """Give type, status and detail (RFC 7807)."""
        body = refusal.body
        if isinstance(body, dict) and isinstance(body.get("detail"), str):
            body = body["detail"]
        detail = body if isinstance(body, str) else json.dumps(body)
        problem = {"type": f"{REFERENCE}/{refusal.status}", "status": refusal.status, "detail": detail}
        return JSONResponse(problem, refusal.status)

    def job_of(self, request: Request) -> Job:
        identifier = request.path_params["job"]
        if identifier not in self.jobs:
            raise Refusal(404, f"Job with ID {identifier} not found")
        return self.jobs[identifier]

    def get_job(self, request: Request) -> Response:
        return JSONResponse(self.job_of(request).shown())

    def list_jobs(self, _: Request) -> Response:
        return JSONResponse({"jobs": [job.shown() for job in self.jobs.values()], "links": []})

    def delete_job(self, request: Request) -> Response:
        """Forget a job; its work goes on."""
        job = self.job_of(request)
        self.deleted[job.id] = self.jobs.pop(job.id)
        return JSONResponse({**job.shown(), "message": f"Job {job.id} deleted successfully"})

    def run(self, job: Job, work: Callable[..., None], *arguments: Any) -> Response:  # noqa: ANN401 - passed on
        """Start a job's work and answer the submission."""
        self.start(self._run, job, work, *arguments)
        return JSONResponse(job.shown(), 201)

    def keep(self, job: Job) -> Job:
        self.jobs[job.id] = job
        return job

    def ended(self, job: Job, status: str, progress: int, message: str) -> Response:
        """Answer the submission of a job that has ended already: 201 all the same."""
        job.tell(status, progress, message)
        return JSONResponse(job.shown(), 201)

    def _run(self, job: Job, work: Callable[..., None], *arguments: object) -> None:
        while self.endless:
            if self.stopping.wait(POLL_SECONDS):
                return
        try:
            if self.failures:
                job.tell("failed", 0, self.failures.pop(0))
            else:
                work(job, *arguments)
        except JobFailed as failure:
            job.tell("failed", failure.progress, str(failure))
        except Exception:  # noqa: BLE001 - as upstream: whatever happens becomes the message of the job
            job.tell("failed", 0, traceback.format_exc())


def download_folder(s3: Any, bucket: str, keys: list[str], prefix: str, folder: Path) -> None:  # noqa: ANN401 - boto3 ships no types
    """Copy the objects below a prefix into a folder."""
    for key in keys:
        path = folder / key.removeprefix(prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())


def upload_folder(s3: Any, folder: Path, bucket: str, prefix: str) -> None:  # noqa: ANN401 - boto3 ships no types
    """Copy the files of a folder below a prefix."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            key = f"{prefix}{path.relative_to(folder).as_posix()}"
            s3.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
