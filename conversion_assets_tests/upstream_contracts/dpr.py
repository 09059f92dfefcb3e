"""What the upstream DPR service answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from conversion_assets_tests.safe_products import SMALLEST_SCALE, ProductKind, make_product
from conversion_assets_tests.upstream_contracts.world import Document, World, talking_to, watch

EXECUTION = "/processes/conv_safe_zarr/execution"
MANDATORY = ("jupyter_token", "dask_gateway_address", "cluster_label")


class Bench:
    """A new folder for input and output, and orders for it."""

    def __init__(self, world: World, dpr: httpx.Client) -> None:
        self.world = world
        self.dpr = dpr
        self.folder = f"{world.owner}/bench{uuid4().hex[:12]}"

    def order(self, safe: str = "absent.SAFE") -> Document:
        return {
            "input_safe_path": f"s3://{self.world.bucket}/{self.folder}/{safe}",
            "output_zarr_dir_path": f"s3://{self.world.bucket}/{self.folder}",
            "jupyter_token": "",
            "dask_gateway_address": "",
            "cluster_label": self.world.cluster,
            "cluster_instance": "",
        }

    def submit(self, order: Document) -> Document:
        answer = self.dpr.post(EXECUTION, json=order)
        assert answer.status_code == 201, answer.text
        status: Document = answer.json()
        assert (status["type"], status["processID"]) == ("process", "dpr-service")
        return status

    def upload(self, safe: Path) -> None:
        for path in filter(Path.is_file, safe.rglob("*")):
            self.world.put(
                f"{self.folder}/{safe.name}/{path.relative_to(safe).as_posix()}", path.read_bytes()
            )


@pytest.fixture
def dpr(world: World) -> Iterator[httpx.Client]:
    with talking_to(world.dpr) as client:
        yield client


@pytest.fixture
def bench(world: World, dpr: httpx.Client) -> Bench:
    return Bench(world, dpr)


class DprContract:
    def test_process_is_listed(self, dpr: httpx.Client) -> None:
        assert "conv_safe_zarr" in [process["id"] for process in dpr.get("/processes").json()["processes"]]

    @pytest.mark.parametrize("address", ["/processes/nothing", "/jobs/nothing"])
    def test_what_is_unknown_is_not_found(self, dpr: httpx.Client, address: str) -> None:
        answer = dpr.get(address)
        assert answer.status_code == 404
        assert answer.json().keys() == {"type", "status", "detail"}
        assert "not found" in answer.json()["detail"]

    def test_unknown_process_is_not_executed(self, bench: Bench) -> None:
        assert bench.dpr.post("/processes/nothing/execution", json=bench.order()).status_code == 404

    @pytest.mark.parametrize("field", MANDATORY)
    def test_order_without_a_field_is_refused(self, bench: Bench, field: str) -> None:
        order = bench.order()
        del order[field]
        answer = bench.dpr.post(EXECUTION, json=order)
        assert answer.status_code == 400
        assert answer.json()["detail"] == f"Missing required field: '{field}'"

    def test_order_without_a_body_is_refused(self, dpr: httpx.Client) -> None:
        assert dpr.post(EXECUTION).status_code == 400

    def test_absent_input_is_a_job_that_has_failed(self, bench: Bench) -> None:
        order = bench.order()
        status = bench.submit(order)
        assert status["status"] == "failed"
        assert status["message"] == f"Input SAFE path does not exist: {order['input_safe_path']}"
        assert bench.dpr.get(f"/jobs/{status['jobID']}").json() == status
        assert bench.dpr.get(f"/jobs/{status['jobID']}/results").status_code == 404

    def test_input_that_is_not_in_s3_is_a_job_that_has_failed(self, bench: Bench) -> None:
        status = bench.submit({**bench.order(), "input_safe_path": "/tmp/x.SAFE"})  # noqa: S108 - is refused
        assert status["status"] == "failed"
        assert status["message"] == ("Invalid input_safe_path format (must start with 's3://'): /tmp/x.SAFE")

    def test_order_without_an_input_is_a_job_that_has_failed(self, bench: Bench) -> None:
        order = bench.order()
        del order["input_safe_path"]
        assert bench.submit(order)["status"] == "failed"

    def test_absent_bucket_is_a_job_that_has_failed(self, bench: Bench) -> None:
        bench.world.put(f"{bench.folder}/bad.SAFE/manifest.safe")
        output = "s3://no-such-bucket-here/out"
        status = bench.submit({**bench.order("bad.SAFE"), "output_zarr_dir_path": output})
        assert status["status"] == "failed"
        assert status["message"] == f"Output S3 bucket does not exist: {output}"

    def test_absent_cluster_fails_the_job(self, bench: Bench) -> None:
        bench.world.put(f"{bench.folder}/bad.SAFE/manifest.safe")
        status = bench.submit({**bench.order("bad.SAFE"), "cluster_label": "nowhere"})
        last = watch(bench.dpr, status["jobID"])[-1]
        assert last["status"] == "failed"
        assert "No dask cluster named 'nowhere' was found." in last["message"]

    def test_job_that_is_deleted_is_forgotten(self, bench: Bench) -> None:
        job = bench.submit(bench.order())["jobID"]
        answer = bench.dpr.delete(f"/jobs/{job}")
        assert answer.status_code == 200
        assert answer.json()["message"] == f"Job {job} deleted successfully"
        assert bench.dpr.get(f"/jobs/{job}").status_code == 404
        assert bench.dpr.delete(f"/jobs/{job}").status_code == 404


class ConversionContract:
    """What takes eopf's time."""

    def test_input_that_eopf_does_not_know_fails(self, bench: Bench) -> None:
        bench.world.put(f"{bench.folder}/bad.SAFE/manifest.safe")
        last = watch(bench.dpr, bench.submit(bench.order("bad.SAFE"))["jobID"])[-1]
        assert last["status"] == "failed"
        assert last["message"].startswith("Conversion failed: ")

    def test_product_is_converted(self, bench: Bench, tmp_path: Path) -> None:
        kind = ProductKind.S3_OL_ERR
        safe = make_product(kind, tmp_path, scale=SMALLEST_SCALE[kind])
        bench.upload(safe)
        order = bench.order(safe.name)
        states = watch(bench.dpr, bench.submit(order)["jobID"])
        assert states[-1]["status"] == "successful", states
        assert {(state["status"], state["progress"]) for state in states} <= {
            ("running", 0),
            ("running", 5),
            ("running", 50),
            ("successful", 100),
        }
        product = f"{order['output_zarr_dir_path']}/{safe.stem}.zarr"
        assert json.loads(states[-1]["message"]) == {
            "message": "Conversion finished",
            "eopf_version": "2.8.1",
            "safe_uri": order["input_safe_path"],
            "zarr_uri": product,
        }
        keys = bench.world.keys(f"{bench.folder}/{safe.stem}.zarr/")
        names = {key.removeprefix(f"{bench.folder}/{safe.stem}.zarr/") for key in keys}
        assert {".zattrs", ".zgroup", ".zmetadata"} <= names
