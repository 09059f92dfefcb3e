from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conversion_assets.errors import PermanentError, TransientError
from conversion_assets.web.client import WebClient
from conversion_assets.web.processes import (
    STANDARD,
    UPSTREAM_DPR,
    Dialect,
    JobOutOfReachError,
    JobVanishedError,
    NonsenseError,
    ProcessesClient,
    State,
    SubmissionLostError,
    WaitLimits,
)
from conversion_assets_tests.peers.fixtures import upstream_bucket
from conversion_assets_tests.peers.geo_processes import serving_processes
from conversion_assets_tests.peers.serving import Trouble, serving
from conversion_assets_tests.peers.upstream_dpr import UpstreamDpr

__all__ = ["upstream_bucket"]

CONVERT = "conv_safe_zarr"
QUICKLY = WaitLimits(first=0.01, longest=0.02)
TOKEN = "canary-token"  # noqa: S105 - is looked for in errors


class Hours:
    """Time that passes only where somebody waits, and the pauses that were made."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def clock(self) -> float:
        return self.now


@pytest.fixture
def hours() -> Hours:
    return Hours()


@pytest.fixture(scope="module")
def pygeoapi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_processes(tmp_path_factory.mktemp("pygeoapi")) as url:
        yield url


@pytest.fixture
def standard(pygeoapi: str) -> Iterator[ProcessesClient]:
    with WebClient(pygeoapi, service="desk", sleep=lambda _: None) as web:
        yield ProcessesClient(web, STANDARD)


def nothing_to_convert(*_: object) -> None:
    """Write no product."""


@pytest.fixture
def dpr(s3: Any, upstream_bucket: str) -> Iterator[UpstreamDpr]:  # noqa: ANN401 - boto3 ships no types
    """Serve until its jobs have ended, and only then let go of the bucket."""
    del upstream_bucket
    with serving(UpstreamDpr(s3, nothing_to_convert)) as peer:
        yield peer


Connect = Callable[..., ProcessesClient]


@pytest.fixture
def connect(dpr: UpstreamDpr, hours: Hours) -> Iterator[Connect]:
    opened = []

    def make(dialect: Dialect = UPSTREAM_DPR, **options: Any) -> ProcessesClient:  # noqa: ANN401 - passed on
        web = WebClient(f"{dpr.url}/dpr", service="desk", sleep=lambda _: None, timeout=20)
        opened.append(web)
        time = {"sleep": hours.sleep, "clock": hours.clock}
        return ProcessesClient(web, dialect, secrets=(TOKEN,), **(time | options))

    yield make
    for web in opened:
        web.close()


@pytest.fixture
def inputs(s3: Any, upstream_bucket: str) -> dict[str, str]:  # noqa: ANN401 - boto3 ships no types
    for key in ("in/X.SAFE/manifest.safe", "out/.keep"):
        s3.put_object(Bucket=upstream_bucket, Key=key, Body=b"x")
    return {
        "input_safe_path": f"s3://{upstream_bucket}/in/X.SAFE",
        "output_zarr_dir_path": f"s3://{upstream_bucket}/out",
        "jupyter_token": TOKEN,
        "dask_gateway_address": "",
        "cluster_label": "dask",
    }


def ignored(_: str) -> None:
    """Tell nobody."""


# --- a standard service -----------------------------------------------------------------------------


@pytest.mark.parametrize("written", [{"a": 1}, {"id": "r", "value": {"a": 1}}, {"a": {"value": 1}}])
def test_standard_job_gives_its_outputs(standard: ProcessesClient, written: dict[str, Any]) -> None:
    job = standard.submit("obey", {"outputs": written})
    assert standard.wait(job, ignored, QUICKLY).state is State.SUCCESSFUL
    assert standard.results(job) == {"a": 1}


def test_standard_job_that_fails_says_why(standard: ProcessesClient) -> None:
    status = standard.wait(standard.submit("obey", {"failure": "no luck"}), ignored, QUICKLY)
    assert status.state is State.FAILED
    error = standard.failure(status, PermanentError, "Try.")
    assert "no luck" in str(error)
    assert status.job_id in str(error)


def test_results_that_are_no_object_are_nonsense(standard: ProcessesClient) -> None:
    job = standard.submit("obey", {"outputs": ["a"]})
    standard.wait(job, ignored, QUICKLY)
    with pytest.raises(NonsenseError, match="no JSON object"):
        standard.results(job)


def test_unknown_process_is_refused(standard: ProcessesClient) -> None:
    with pytest.raises(PermanentError, match="NoSuchProcess"):
        standard.submit("nothing", {})


def test_running_job_is_found_and_dismissed(pygeoapi: str, tmp_path: Path) -> None:
    pauses: list[float] = []
    go = tmp_path / "go"
    with WebClient(pygeoapi, service="desk") as web:
        client = ProcessesClient(web, STANDARD, sleep=pauses.append)
        job = client.submit("obey", {"until": str(go), "outputs": {}})
        try:
            assert job in client.find("obey", {"until": str(go), "outputs": {}}, 5)
            assert job not in client.find("obey", {}, 5, known={job})
            assert client.find("convert", {}, 5) == []
            with pytest.raises(TransientError, match="ResultNotReady"):
                client.results(job)
            assert len(pauses) == 5
            client.dismiss(job)
            with pytest.raises(JobVanishedError, match="does not know this job"):
                client.status(job)
            client.dismiss(job)
        finally:
            go.touch()


# --- the upstream dialect ---------------------------------------------------------------------------


def test_upstream_result_is_in_the_message(connect: Connect, inputs: dict[str, str]) -> None:
    client, told = connect(), list[str]()
    job = client.submit(CONVERT, inputs)
    status = client.wait(job, told.append, QUICKLY)
    assert status.state is State.SUCCESSFUL
    assert client.results(job)["zarr_uri"] == f"{inputs['output_zarr_dir_path']}/X.zarr"


@pytest.mark.parametrize(
    "says",
    [
        '{"zarr_uri": "s3://b/x.zarr", "done": true}',
        "{'zarr_uri': 's3://b/x.zarr', 'done': True}",
        "a line of a library\n{'zarr_uri': 's3://b/x.zarr', 'done': True}",
    ],
)
def test_result_is_read_without_being_evaluated(
    connect: Connect, dpr: UpstreamDpr, inputs: dict[str, str], says: str
) -> None:
    dpr.says = says
    client = connect()
    job = client.submit(CONVERT, inputs)
    client.wait(job, ignored, QUICKLY)
    assert client.results(job) == {"zarr_uri": "s3://b/x.zarr", "done": True}


@pytest.mark.parametrize(
    "says",
    [
        "Conversion finished",
        "{'zarr_uri': __import__('os').getcwd()}",
        "{'zarr_uri': ['s3://b']}",
        "{**{}}",
        "[1]",
        "(" * 5000,
        "{'a': " * 3000,
    ],
)
def test_message_without_a_result_is_nonsense(
    connect: Connect, dpr: UpstreamDpr, inputs: dict[str, str], says: str
) -> None:
    dpr.says = says
    client = connect()
    job = client.submit(CONVERT, inputs)
    client.wait(job, ignored, QUICKLY)
    with pytest.raises(NonsenseError, match="its result is no object"):
        client.results(job)


def test_submission_that_has_failed_already_says_why(connect: Connect, inputs: dict[str, str]) -> None:
    client = connect()
    status = client.wait(client.submit(CONVERT, {**inputs, "input_safe_path": "x"}), ignored, QUICKLY)
    assert status.state is State.FAILED
    assert "must start with 's3://'" in str(client.failure(status, PermanentError, ""))


def test_reason_at_the_end_of_a_long_message_is_kept_and_no_secret(
    connect: Connect, dpr: UpstreamDpr, inputs: dict[str, str]
) -> None:
    dpr.failures = [f"Traceback of {'x' * 9000} token={TOKEN} KeyError: 'S3_ACCESSKEY'"]
    client = connect()
    error = client.failure(
        client.wait(client.submit(CONVERT, inputs), ignored, QUICKLY), TransientError, "Wait."
    )
    assert "Traceback of" in str(error)
    assert "KeyError: 'S3_ACCESSKEY'" in str(error)
    assert TOKEN not in str(error)
    assert len(str(error)) < 800


def test_refused_submission_carries_no_secret(
    connect: Connect, dpr: UpstreamDpr, inputs: dict[str, str]
) -> None:
    dpr.add(Trouble(status=400, body={"detail": f"cannot take {TOKEN}"}, method="POST"))
    with pytest.raises(PermanentError, match="cannot take") as caught:
        connect().submit(CONVERT, inputs)
    assert TOKEN not in str(caught.value)


# --- answers that are lost, and answers that lie ----------------------------------------------------


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble(reset=True, after_work=True, method="POST"),
        Trouble(status=502, body="<title>Bad Gateway</title>", after_work=True, method="POST"),
        Trouble(seconds=60, after_work=True, method="POST"),
    ],
    ids=["reset", "gateway", "blocked for a minute"],
)
def test_job_whose_answer_was_lost_is_found(
    connect: Connect, dpr: UpstreamDpr, inputs: dict[str, str], trouble: Trouble
) -> None:
    dpr.add(trouble)
    job = connect(submission_timeout=0.5).submit(CONVERT, inputs)
    assert list(dpr.jobs) == [job]
    assert len(dpr.received("POST")) == 1


def test_submission_that_never_arrived_makes_no_job(
    connect: Connect, dpr: UpstreamDpr, inputs: dict[str, str]
) -> None:
    dpr.add(Trouble(reset=True, method="POST"))
    with pytest.raises(SubmissionLostError, match="not known whether the job was made"):
        connect().submit(CONVERT, inputs)
    assert dpr.jobs == {}
    assert len(dpr.received("POST")) == 1


def test_of_two_jobs_none_is_taken(connect: Connect, dpr: UpstreamDpr, inputs: dict[str, str]) -> None:
    client = connect()
    other = client.submit(CONVERT, inputs)
    dpr.add(Trouble(reset=True, after_work=True, method="POST", times=2))
    with pytest.raises(SubmissionLostError, match=f"one of the jobs .*{other}"):
        client.submit(CONVERT, inputs)
    mine = client.submit(CONVERT, inputs, known=list(dpr.jobs))
    assert len(dpr.jobs) == 3
    assert mine not in (other, list(dpr.jobs)[1])


def test_job_of_long_ago_is_not_taken(connect: Connect, dpr: UpstreamDpr, inputs: dict[str, str]) -> None:
    client = connect()
    client.submit(CONVERT, inputs)
    (job,) = dpr.jobs.values()
    job.created = "2020-01-01T00:00:00Z"
    assert client.find(CONVERT, inputs, 600) == []


@pytest.mark.parametrize("body", ["<html>welcome</html>", {"status": "running"}, ["a"], "null"])
def test_submission_whose_answer_names_no_job_is_nonsense(
    connect: Connect, dpr: UpstreamDpr, inputs: dict[str, str], body: object
) -> None:
    dpr.add(Trouble(status=201, body=body, after_work=True, method="POST"))
    with pytest.raises(NonsenseError, match="names no job"):
        connect().submit(CONVERT, inputs)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("<title>Maintenance</title>", "no JSON object: Maintenance"),
        ({"jobID": "another", "status": "successful"}, "about another job"),
        ({"status": "resting"}, "no known status, 'resting'"),
    ],
)
def test_service_that_lies_all_the_time_is_given_up(
    connect: Connect, dpr: UpstreamDpr, inputs: dict[str, str], body: object, says: str
) -> None:
    client = connect()
    job = client.submit(CONVERT, inputs)
    dpr.add(Trouble(status=200, body=body, method="GET", times=None))
    with pytest.raises(NonsenseError, match=says):
        client.wait(job, ignored, WaitLimits())
    assert len(dpr.received("GET")) == 3


def test_one_bad_answer_of_each_kind_does_not_end_the_wait(
    connect: Connect, dpr: UpstreamDpr, inputs: dict[str, str]
) -> None:
    client = connect()
    job = client.submit(CONVERT, inputs)
    dpr.join()
    for trouble in (
        Trouble(status=200, body="<title>Maintenance</title>", method="GET"),
        Trouble(status=503, method="GET", times=6),
        Trouble(reset=True, method="GET"),
        Trouble(status=200, body={}, method="GET"),
    ):
        dpr.add(trouble)
    assert client.wait(job, ignored, QUICKLY).state is State.SUCCESSFUL


# --- waiting ----------------------------------------------------------------------------------------


def test_pauses_grow_and_are_bounded(
    connect: Connect, dpr: UpstreamDpr, inputs: dict[str, str], hours: Hours
) -> None:
    dpr.endless = True
    client = connect()
    job = client.submit(CONVERT, inputs)
    with pytest.raises(PermanentError, match=r"has not ended after 200 s.*Processor execution started"):
        client.wait(job, ignored, WaitLimits(first=1, longest=20, deadline=200, stall=1000))
    assert 0.8 <= hours.pauses[0] <= 1
    assert max(hours.pauses) <= 20
    assert sorted(hours.pauses[:6]) == hours.pauses[:6]
    assert len(hours.pauses) < 25


def test_job_that_says_nothing_new_is_stalled(
    connect: Connect, dpr: UpstreamDpr, inputs: dict[str, str], hours: Hours
) -> None:
    dpr.endless = True
    client = connect()
    job = client.submit(CONVERT, inputs)
    with pytest.raises(TransientError, match="nothing new was heard for 100 s"):
        client.wait(job, ignored, WaitLimits(first=1, longest=20, deadline=1000, stall=100))
    assert 100 < hours.now < 200


def test_job_that_says_something_new_is_not_stalled(
    connect: Connect, dpr: UpstreamDpr, inputs: dict[str, str], hours: Hours
) -> None:
    dpr.endless = True
    told: list[str] = []

    def sleep(seconds: float) -> None:
        hours.sleep(seconds)
        (job,) = dpr.jobs.values()
        job.tell("running", 1, f"step {len(hours.pauses) // 5}")
        if hours.now > 500:
            dpr.endless = False
            dpr.join()

    client = connect(sleep=sleep)
    job = client.submit(CONVERT, inputs)
    limits = WaitLimits(first=1, longest=20, deadline=10_000, stall=150)
    assert client.wait(job, told.append, limits).state is State.SUCCESSFUL
    assert told[:2] == ["desk: Processor execution started (0 %)", "desk: step 0 (1 %)"]
    assert len(told) == len(set(told))


def test_job_that_vanishes_is_told(connect: Connect, dpr: UpstreamDpr, inputs: dict[str, str]) -> None:
    dpr.endless = True
    client = connect(sleep=lambda _: dpr.jobs.clear())
    job = client.submit(CONVERT, inputs)
    with pytest.raises(JobVanishedError, match=f"Job with ID {job} not found"):
        client.wait(job, ignored, WaitLimits())


def test_service_out_of_reach_is_waited_for_so_long(
    connect: Connect, dpr: UpstreamDpr, inputs: dict[str, str]
) -> None:
    client = connect()
    job = client.submit(CONVERT, inputs)
    dpr.add(Trouble(status=503, body={"detail": "busy"}, times=None))
    with pytest.raises(JobOutOfReachError, match=r"could not be asked for: .*busy"):
        client.wait(job, ignored, WaitLimits(stall=100))


def test_refusal_ends_the_wait_at_once(connect: Connect, dpr: UpstreamDpr, inputs: dict[str, str]) -> None:
    client = connect()
    job = client.submit(CONVERT, inputs)
    dpr.add(Trouble(status=401, body={"detail": "who are you"}, times=None))
    with pytest.raises(PermanentError, match="who are you"):
        client.wait(job, ignored, WaitLimits())
    assert len(dpr.received("GET")) == 1


# --- dismissing -------------------------------------------------------------------------------------


def test_dismissal_that_answers_500_though_done_is_one(
    connect: Connect, dpr: UpstreamDpr, inputs: dict[str, str]
) -> None:
    client = connect()
    job = client.submit(CONVERT, inputs)
    dpr.add(Trouble(status=500, after_work=True, method="DELETE"))
    client.dismiss(job)
    assert dpr.jobs == {}


def test_dismissal_that_was_not_carried_out_is_told(
    connect: Connect, dpr: UpstreamDpr, inputs: dict[str, str]
) -> None:
    dpr.endless = True
    client = connect()
    job = client.submit(CONVERT, inputs)
    dpr.add(Trouble(status=503, method="DELETE"))
    with pytest.raises(TransientError, match="503"):
        client.dismiss(job)


def test_id_of_a_job_stays_within_its_path(connect: Connect, dpr: UpstreamDpr) -> None:
    with pytest.raises(JobVanishedError):
        connect().status("../../processes")
    assert dpr.received("GET", "/processes")[0].path.startswith("/dpr/jobs/")
