from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from conversion_assets.errors import PermanentError, PoisonedInputError, TransientError
from conversion_assets.resources.authentication import Authentication
from conversion_assets.resources.job_notes import JobNote
from conversion_assets.resources.job_service import Failure, JobOutcome, JobService, JobTask
from conversion_assets.web.processes import JobOutOfReachError, JobVanishedError, NonsenseError
from conversion_assets_tests.peers.serving import Trouble, serving
from conversion_assets_tests.peers.upstream_dpr import UpstreamDpr

KEY = "order-1"
API_KEY = "canary-key"
TELLS_ITS_JOB = """
import json, sys
from conversion_assets_tests.resources.test_job_service import desk, task
url, notes, inputs = sys.argv[1:]
def tell(text):
    print(text, flush=True)
desk(url, notes).run(task(json.loads(inputs)), tell)
"""


class RunCanceledError(BaseException):
    """What Dagster raises in a run that is cancelled is no ``Exception`` either."""


def judge(message: str) -> Failure:
    return (TransientError, "Wait.") if "busy" in message else (PoisonedInputError, "Mend it.")


def task(inputs: dict[str, str], identity: str = "one", **facts: Any) -> JobTask:  # noqa: ANN401 - passed on
    return JobTask(key=KEY, identity=identity, inputs=lambda _: inputs, judge=judge, **facts)


def desk(url: str, notes: str, **facts: Any) -> JobService:  # noqa: ANN401 - passed on
    known = {"first_pause": 0.01, "longest_pause": 0.05, "retries": 0}
    service = JobService(
        name="desk",
        url=f"{url}/dpr",
        process="conv_safe_zarr",
        dialect="upstream-dpr",
        authentication=Authentication(api_key=API_KEY),
        notes=notes,
        **(known | facts),
    )
    service._sleep = lambda _: None
    return service


def nothing_to_convert(*_: object) -> None:
    """Write no product."""


@pytest.fixture
def peer(s3: Any, upstream_bucket: str) -> Iterator[UpstreamDpr]:  # noqa: ANN401 - boto3 ships no types
    """Serve until its jobs have ended, and only then let go of the bucket."""
    for key in ("in/X.SAFE/manifest.safe", "out/.keep"):
        s3.put_object(Bucket=upstream_bucket, Key=key, Body=b"x")
    with serving(UpstreamDpr(s3, nothing_to_convert)) as served:
        yield served


@pytest.fixture
def inputs(upstream_bucket: str) -> dict[str, str]:
    return {
        "input_safe_path": f"s3://{upstream_bucket}/in/X.SAFE",
        "output_zarr_dir_path": f"s3://{upstream_bucket}/out",
        "jupyter_token": "",
        "dask_gateway_address": "",
        "cluster_label": "dask",
    }


@pytest.fixture
def service(peer: UpstreamDpr, tmp_path: Path) -> JobService:
    return desk(peer.url, str(tmp_path / "jobs"))


Run = Callable[..., JobOutcome]


@pytest.fixture
def run(service: JobService, inputs: dict[str, str]) -> Run:
    def once(tell: Callable[[str], None] = lambda _: None, **facts: Any) -> JobOutcome:  # noqa: ANN401 - passed on
        return service.run(task(inputs, **facts), tell)

    return once


def note(service: JobService) -> JobNote | None:
    return service.notebook().read(KEY)


def kept(service: JobService) -> JobNote:
    found = note(service)
    assert found is not None
    return found


def leave_note(service: JobService, job_id: str | None, identity: str = "one", place: str = "") -> None:
    """Leave what a process that was killed would have left."""
    left = JobNote(
        job_id=job_id, submitted=datetime.now(UTC) - timedelta(seconds=1), identity=identity, place=place
    )
    service.notebook().write(KEY, left)


def test_job_is_noted_while_it_goes_on_and_forgotten_after(run: Run, service: JobService) -> None:
    seen: list[JobNote | None] = []
    outcome = run(lambda _: seen.append(note(service)))
    assert outcome.outputs["message"] == "Conversion finished"
    assert note(service) is None
    assert not service.is_working_on(KEY)
    assert all(found and found.job_id == outcome.status.job_id for found in seen)


def test_killed_process_is_followed_by_one_that_waits_for_its_job(
    peer: UpstreamDpr, service: JobService, inputs: dict[str, str], run: Run
) -> None:
    peer.endless = True
    program = [sys.executable, "-c", TELLS_ITS_JOB, peer.url, service.notes, json.dumps(inputs)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "Processor execution started" in process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    assert service.is_working_on(KEY)
    (job,) = peer.jobs
    assert kept(service).job_id == job
    peer.endless = False
    told: list[str] = []
    assert run(told.append).status.job_id == job
    assert told[0] == f"desk: waiting for job {job}, which was submitted before"
    assert len(peer.received("POST")) == 1
    assert note(service) is None


def test_process_killed_before_the_answer_is_followed_by_one_that_finds_the_job(
    peer: UpstreamDpr, service: JobService, run: Run
) -> None:
    peer.add(Trouble(reset=True, after_work=True, method="POST"))
    peer.add(Trouble(status=500, method="GET", path="/jobs"))
    with pytest.raises(TransientError, match="the connection broke"):
        run()
    (job,) = peer.jobs
    assert kept(service).job_id is None
    assert run().status.job_id == job
    assert len(peer.received("POST")) == 1


def test_submission_that_never_arrived_is_repeated(peer: UpstreamDpr, service: JobService, run: Run) -> None:
    peer.add(Trouble(reset=True, method="POST"))
    with pytest.raises(TransientError, match="not known whether the job was made"):
        run()
    assert kept(service).job_id is None
    run()
    assert len(peer.jobs) == 1


def test_job_of_another_order_is_not_taken_for_a_lost_one(
    peer: UpstreamDpr, service: JobService, run: Run
) -> None:
    run()
    (others,) = peer.jobs
    service.notebook().write("order-2", JobNote(job_id=others, submitted=datetime.now(UTC), identity="two"))
    leave_note(service, None)
    assert run().status.job_id != others


def test_note_of_a_job_that_vanished_leads_to_a_new_one(
    peer: UpstreamDpr, service: JobService, run: Run
) -> None:
    leave_note(service, "long-gone")
    assert run().status.job_id in peer.jobs


def test_job_that_vanishes_meanwhile_is_forgotten(peer: UpstreamDpr, service: JobService, run: Run) -> None:
    peer.endless = True
    with pytest.raises(JobVanishedError):
        run(lambda _: peer.jobs.clear())
    assert note(service) is None


def test_job_for_something_else_is_dismissed(peer: UpstreamDpr, service: JobService, run: Run) -> None:
    peer.endless = True
    with pytest.raises(RunCanceledError):
        run(cancel)
    (job,) = peer.deleted
    peer.jobs[job] = peer.deleted.pop(job)
    leave_note(service, job, identity="of a former version")
    peer.endless = False
    assert run().status.job_id != job
    assert list(peer.deleted) == [job]


def test_job_whose_place_was_emptied_is_dismissed(peer: UpstreamDpr, service: JobService, run: Run) -> None:
    first = run().status.job_id
    leave_note(service, first, place="old")
    outcome = run(new_place=lambda: "new", has_place=lambda place: place == "new")
    assert outcome.place == "new"
    assert outcome.status.job_id != first
    assert list(peer.deleted) == [first]


def cancel(_: str) -> None:
    raise RunCanceledError


def test_cancelled_run_dismisses_its_job(peer: UpstreamDpr, service: JobService, run: Run) -> None:
    peer.endless = True
    with pytest.raises(RunCanceledError):
        run(cancel)
    assert (len(peer.deleted), peer.jobs) == (1, {})
    assert note(service) is None


def test_job_that_cannot_be_dismissed_stays_noted(
    peer: UpstreamDpr, service: JobService, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    peer.endless = True
    peer.add(Trouble(status=403, body={"detail": "not yours"}, method="DELETE"))
    with pytest.raises(RunCanceledError):
        run(cancel)
    (job,) = peer.jobs
    assert kept(service).job_id == job
    assert "not yours" in caplog.text


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"time_limit_seconds": 0.2}, "has not ended after 0 s"),
        ({"stall_limit_seconds": 0.2}, "nothing new was heard for 0 s"),
    ],
)
def test_endless_job_is_given_up_and_dismissed(
    peer: UpstreamDpr, inputs: dict[str, str], tmp_path: Path, limits: dict[str, float], says: str
) -> None:
    peer.endless = True
    with pytest.raises((PermanentError, TransientError), match=says):
        desk(peer.url, str(tmp_path / "jobs"), **limits).run(task(inputs), lambda _: None)
    assert (len(peer.deleted), peer.jobs) == (1, {})


def test_job_of_a_service_out_of_reach_is_waited_for_later(
    peer: UpstreamDpr, inputs: dict[str, str], tmp_path: Path
) -> None:
    service = desk(peer.url, str(tmp_path / "jobs"), stall_limit_seconds=0.2)
    down = peer.add(Trouble(status=503, method="GET", times=None))
    with pytest.raises(JobOutOfReachError):
        service.run(task(inputs), lambda _: None)
    assert not peer.received("DELETE")
    down.times = 0
    assert service.run(task(inputs), lambda _: None).status.job_id in peer.jobs
    assert len(peer.received("POST")) == 1


def test_job_that_fails_is_forgotten_and_judged_by_its_message(
    peer: UpstreamDpr, service: JobService, run: Run
) -> None:
    for message, kind in (("the cluster is busy", TransientError), ("broken input", PoisonedInputError)):
        peer.failures = [message]
        with pytest.raises(kind, match=f"the job failed: {message}"):
            run()
        assert note(service) is None


def test_dismissal_by_somebody_else_is_told(peer: UpstreamDpr, run: Run) -> None:
    peer.endless = True

    def somebody(_: str) -> None:
        (job,) = peer.jobs.values()
        job.tell("dismissed", 0, "by the operator")

    with pytest.raises(PermanentError, match="the job was dismissed: by the operator"):
        run(somebody)


def test_result_without_sense_is_not_asked_for_again(
    peer: UpstreamDpr, service: JobService, run: Run
) -> None:
    peer.says = "done"
    with pytest.raises(NonsenseError, match="its result is no object: done"):
        run()
    assert note(service) is None


def test_refused_submission_leaves_no_note_and_no_secret(
    peer: UpstreamDpr, service: JobService, run: Run
) -> None:
    peer.add(Trouble(status=401, body={"detail": f"key {API_KEY} is unknown"}, method="POST"))
    with pytest.raises(PermanentError, match="is unknown") as caught:
        run()
    assert note(service) is None
    assert API_KEY not in str(caught.value)
    assert API_KEY not in repr(service)
    assert peer.requests[0].headers["x-api-key"] == API_KEY


@pytest.mark.parametrize("content", [b"", b"{", b'{"job_id": 1}', b"null"])
def test_note_that_cannot_be_read_is_none(service: JobService, content: bytes) -> None:
    leave_note(service, "J")
    (Path(service.notes) / f"{KEY}.json").write_bytes(content)
    assert note(service) is None
    assert service.notebook().job_ids() == set()


def test_facts_of_a_service_are_remembered(service: JobService) -> None:
    notebook = service.notebook()
    assert notebook.fact("version") is None
    notebook.remember("version", "1")
    notebook.remember("version", "2")
    assert service.notebook().fact("version") == "2"
    assert notebook.job_ids() == set()
