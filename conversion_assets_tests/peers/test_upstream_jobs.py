"""The services that run jobs, and OSAM."""

from __future__ import annotations

import json
import time
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest

from conversion_assets_tests.peers.buckets import ROWS, keys_of
from conversion_assets_tests.peers.jobs import FINAL
from conversion_assets_tests.peers.osam import Osam
from conversion_assets_tests.peers.serving import Trouble
from conversion_assets_tests.peers.upstream_catalogue import UpstreamCatalogue
from conversion_assets_tests.peers.upstream_dpr import UpstreamDpr
from conversion_assets_tests.peers.upstream_staging import UpstreamStaging
from conversion_assets_tests.resources.http_files import HttpFiles
from conversion_assets_tests.resources.items import item as plain_item

BUCKET = ROWS[0][4]
SECONDS = 240
STAGING = "/processes/staging/execution"
CONVERSION = "/dpr/processes/conv_safe_zarr/execution"


def item(href: str, **asset: object) -> dict[str, Any]:
    made = plain_item("A", href=href)
    made["properties"]["product:type"] = "IW_GRDH_1S"
    made["assets"]["product"] |= {"file:local_path": "A.SAFE.zip", **asset}
    return made


def inputs(value: dict[str, Any], *names: str) -> dict[str, Any]:
    wanted = {"asset_names": list(names)} if names else {}
    return {"inputs": {"collection": "s1", "items": {"value": value}, **wanted}}


def ended(url: str) -> dict[str, Any]:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        job: dict[str, Any] = httpx.get(url).json()
        if job["status"] in FINAL:
            return job
        time.sleep(0.02)
    pytest.fail(f"{url} does not end")


@pytest.fixture
def staging(upstream_staging: UpstreamStaging, upstream_bucket: str) -> UpstreamStaging:
    assert upstream_bucket == BUCKET
    return upstream_staging


def test_staging_copies_the_asset_and_catalogues_the_item(
    staging: UpstreamStaging, upstream_catalogue: UpstreamCatalogue, site: HttpFiles
) -> None:
    site.add("A.zip", b"archive")
    feature = item(site.url("A.zip"), **{"file:size": 7})
    answer = httpx.post(f"{staging.url}{STAGING}", json=inputs(feature, "product"))
    assert answer.status_code == 201
    assert answer.json().keys() >= {"type", "processID", "jobID", "status", "progress", "message", "created"}
    job = ended(f"{staging.url}/jobs/{answer.json()['jobID']}")
    assert (job["status"], job["progress"]) == ("successful", 100)
    assert httpx.get(f"{staging.url}/jobs/{job['jobID']}/results").json() == "successful"
    found = httpx.get(f"{upstream_catalogue.base}/collections/s1/items/A").json()
    assert found["assets"].keys() == {"A.SAFE.zip"}
    assert found["assets"]["A.SAFE.zip"]["href"] == f"s3://{BUCKET}/someone/s1/A/A.SAFE.zip"
    assert keys_of(upstream_catalogue.s3, BUCKET, "") == ["someone/s1/A/A.SAFE.zip"]
    assert "derived_from" not in {link["rel"] for link in found["links"]}
    again = httpx.post(f"{staging.url}{STAGING}", json=inputs(feature, "product")).json()
    assert (again["status"], again["progress"]) == ("successful", 100)
    assert again["message"] == "Finished without processing any tasks"


@pytest.mark.parametrize(
    ("href", "names", "status", "words"),
    [
        ("http://127.0.0.1:1/x", ["quicklook"], "successful", "No items with assets were found"),
        ("http://elsewhere.test/x", ["product"], "failed", "No matching service found for domain"),
        ("http://127.0.0.1:1/x", ["product"], "failed", "Resolving source asset sizes failed"),
    ],
)
def test_staging_answers_201_whatever_became_of_it(
    staging: UpstreamStaging, href: str, names: list[str], status: str, words: str
) -> None:
    answer = httpx.post(f"{staging.url}{STAGING}", json=inputs(item(href), *names))
    assert (answer.status_code, answer.json()["status"], answer.json()["progress"]) == (201, status, 0)
    assert words in answer.json()["message"]


def test_staging_cleans_up_what_cannot_be_published(staging: UpstreamStaging, site: HttpFiles) -> None:
    site.add("A.zip", b"archive")
    untyped = item(site.url("A.zip"), **{"file:size": 7})
    del untyped["properties"]["product:type"]
    job_id = httpx.post(f"{staging.url}{STAGING}", json=inputs(untyped)).json()["jobID"]
    job = ended(f"{staging.url}/jobs/{job_id}")
    assert (job["status"], job["progress"]) == ("failed", 99)
    assert "couldn't be published" in job["message"]
    assert not keys_of(staging.catalogue.s3, BUCKET, "")


def test_staging_goes_on_when_its_job_is_deleted(staging: UpstreamStaging, site: HttpFiles) -> None:
    site.add("A.zip", b"archive")
    staging.endless = True
    sent = inputs(item(site.url("A.zip"), **{"file:size": 7}))
    job_id = httpx.post(f"{staging.url}{STAGING}", json=sent).json()["jobID"]
    gone = httpx.delete(f"{staging.url}/jobs/{job_id}")
    assert (gone.status_code, gone.json()["status"]) == (200, "running")
    missing = httpx.get(f"{staging.url}/jobs/{job_id}")
    assert (missing.status_code, missing.json()["detail"]) == (404, f"Job with ID {job_id} not found")
    staging.endless = False
    staging.join()
    assert staging.catalogue.store.items.keys() == {("someone_s1", "A")}


def test_staging_refuses_what_it_does_not_understand(staging: UpstreamStaging) -> None:
    answer = httpx.post(f"{staging.url}{STAGING}", json={})
    assert answer.status_code == 422
    assert json.loads(answer.json()["detail"])["detail"][0]["loc"] == ["body", "inputs"]
    valid = inputs(item("http://127.0.0.1:1/x"))
    unknown = httpx.post(f"{staging.url}/processes/other/execution", json=valid)
    assert (unknown.status_code, unknown.json()["status"]) == (404, 404)
    assert httpx.get(f"{staging.url}/processes/staging").json() == {"id": "Staging", "version": "1.0.0"}


def test_job_exists_although_its_submission_broke(staging: UpstreamStaging) -> None:
    staging.failures = ["told", "told"]
    staging.add(Trouble(reset=True, after_work=True, method="POST"))
    staging.add(Trouble(status=201, body="no JSON", after_work=True, method="POST"))
    sent = inputs(item("http://127.0.0.1:1/x", **{"file:size": 7}))
    with pytest.raises(httpx.ReadError):
        httpx.post(f"{staging.url}{STAGING}", json=sent)
    assert httpx.post(f"{staging.url}{STAGING}", json=sent).text == "no JSON"
    jobs = [ended(f"{staging.url}/jobs/{job}") for job in staging.jobs]
    assert [(job["status"], job["message"]) for job in jobs] == [("failed", "told")] * 2


def conversion(**changes: str) -> dict[str, str]:
    cluster = {"jupyter_token": "", "dask_gateway_address": "", "cluster_label": "x", "cluster_instance": ""}
    paths = {"input_safe_path": f"s3://{BUCKET}/in/X.SAFE", "output_zarr_dir_path": f"s3://{BUCKET}/out"}
    return {**paths, **cluster, **changes}


@pytest.fixture
def dpr(upstream_dpr: UpstreamDpr, upstream_bucket: str) -> UpstreamDpr:
    for key in ("in/X.SAFE/manifest.safe", "out/there"):
        upstream_dpr.s3.put_object(Bucket=upstream_bucket, Key=key, Body=b"x")
    return upstream_dpr


def test_dpr_converts_from_and_to_s3(dpr: UpstreamDpr) -> None:
    def convert(safe: Path, product: Path, _: Event) -> None:
        assert (safe / "manifest.safe").read_bytes() == b"x"
        product.mkdir()
        (product / ".zmetadata").write_bytes(b"{}")

    dpr.convert = convert  # with eopf: end_to_end/test_same_everywhere.py
    job_id = httpx.post(f"{dpr.url}{CONVERSION}", json=conversion()).json()["jobID"]
    job = ended(f"{dpr.url}/dpr/jobs/{job_id}")
    assert job["status"] == "successful", job["message"]
    told = json.loads(job["message"])
    assert told.keys() == {"message", "eopf_version", "safe_uri", "zarr_uri"}
    assert told["zarr_uri"] == f"s3://{BUCKET}/out/X.zarr"
    written = {f"out/X.zarr/{name}" for name in (".keep", ".zmetadata")}
    assert set(keys_of(dpr.s3, BUCKET, "out/")) == {*written, "out/there"}
    assert [(status, progress) for status, progress, _ in dpr.jobs[job_id].history] == [
        ("running", 0),
        ("running", 0),
        ("running", 5),
        ("running", 50),
        ("successful", 100),
    ]


def test_dpr_tells_why_eopf_failed(dpr: UpstreamDpr) -> None:
    def convert(_: Path, product: Path, __: Event) -> None:
        raise RuntimeError(product.name)

    dpr.convert = convert
    job_id = httpx.post(f"{dpr.url}{CONVERSION}", json=conversion()).json()["jobID"]
    job = ended(f"{dpr.url}/dpr/jobs/{job_id}")
    assert job["status"] == "failed"
    assert "X.zarr" in job["message"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input_safe_path": "/X.SAFE"}, "Invalid input_safe_path format (must start with 's3://'): /X.SAFE"),
        ({"input_safe_path": f"s3://{BUCKET}/in/Y.SAFE"}, "Input SAFE path does not exist: "),
        ({"output_zarr_dir_path": "s3://nowhere/out"}, "Output S3 bucket does not exist: s3://nowhere/out"),
    ],
    ids=str,
)
def test_dpr_answers_201_for_an_immediate_failure(
    dpr: UpstreamDpr, changes: dict[str, str], words: str
) -> None:
    answer = httpx.post(f"{dpr.url}{CONVERSION}", json=conversion(**changes))
    assert (answer.status_code, answer.json()["status"]) == (201, "failed")
    assert answer.json()["processID"] == "dpr-service"
    assert answer.json()["message"].startswith(words)


def test_dpr_wants_an_output_folder_that_exists(dpr: UpstreamDpr) -> None:
    sent = conversion(output_zarr_dir_path=f"s3://{BUCKET}/new")
    job_id = httpx.post(f"{dpr.url}{CONVERSION}", json=sent).json()["jobID"]
    assert f"{BUCKET}/new does not exist" in ended(f"{dpr.url}/dpr/jobs/{job_id}")["message"]


def test_dpr_refuses_incomplete_requests(dpr: UpstreamDpr) -> None:
    without = conversion()
    del without["jupyter_token"]
    answer = httpx.post(f"{dpr.url}{CONVERSION}", json=without)
    assert (answer.status_code, answer.json()["detail"]) == (400, "Missing required field: 'jupyter_token'")
    assert httpx.post(f"{dpr.url}{CONVERSION}").status_code == 400
    assert httpx.post(f"{dpr.url}/dpr/processes/other/execution", json=conversion()).status_code == 404


def test_dpr_job_may_run_for_ever_and_be_forgotten(dpr: UpstreamDpr) -> None:
    dpr.endless = True
    job_id = httpx.post(f"{dpr.url}{CONVERSION}", json=conversion()).json()["jobID"]
    url = f"{dpr.url}/dpr/jobs/{job_id}"
    assert httpx.get(url).json()["status"] == "running"
    assert httpx.get(f"{url}/results").json()["detail"] == "Not Found"
    assert httpx.delete(url).json()["message"].endswith("deleted successfully")
    assert httpx.get(url).status_code == 404


def test_osam_tells_its_rows(osam: Osam) -> None:
    assert httpx.get(f"{osam.url}/internal/configuration").json() == ROWS
    osam.rows = None
    assert httpx.get(f"{osam.url}/internal/configuration").text == "null"
    osam.add(Trouble(status=404, body={"code": "NotFound", "description": "Not Found"}))
    assert httpx.get(f"{osam.url}/internal/configuration").status_code == 404
