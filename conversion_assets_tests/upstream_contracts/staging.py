"""What the upstream staging service answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from conversion_assets_tests.upstream_contracts.world import JOB_SECONDS, Document, World, talking_to, watch

EXECUTION = "/processes/staging/execution"
CONTENT = b"content of an archive"


class Inbox:
    """A new collection to stage into, and a source that offers one archive."""

    def __init__(self, world: World, staging: httpx.Client) -> None:
        self.world = world
        self.staging = staging
        self.name = f"inbox{uuid4().hex[:12]}"
        self.href = world.site.url(f"{self.name}.zip")
        world.site.add(f"{self.name}.zip", CONTENT)

    def item(self, **asset: Any) -> Document:  # noqa: ANN401 - any member of an asset
        return {
            "id": "source",
            "type": "Feature",
            "stac_version": "1.1.0",
            "stac_extensions": [],
            "geometry": None,
            "bbox": None,
            "properties": {"datetime": "2024-01-01T00:00:00Z", "product:type": "OL_1_ERR___"},
            "links": [{"rel": "self", "href": "https://example.org/items/source"}],
            "assets": {"product": {"href": self.href, "file:size": len(CONTENT), **asset}},
        }

    def submit(self, items: Document, asset_names: tuple[str, ...] = ("product",)) -> Document:
        inputs = {"collection": self.name, "items": items, "asset_names": list(asset_names)}
        answer = self.staging.post(EXECUTION, json={"inputs": inputs})
        assert answer.status_code == 201, answer.text
        status: Document = answer.json()
        assert (status["type"], status["processID"]) == ("process", "staging")
        return status

    def stage(self, item: Document) -> list[Document]:
        return watch(self.staging, self.submit({"value": item})["jobID"])

    def wait_until_cleaned(self) -> None:
        """Wait until the copies are gone: the service removes them after it has said that it failed."""
        deadline = time.monotonic() + JOB_SECONDS
        while self.world.keys(f"{self.world.owner}/{self.name}/"):
            assert time.monotonic() < deadline, "the copies are still there"
            time.sleep(0.05)

    def staged(self) -> httpx.Response:
        address = f"{self.world.catalogue}/collections/{self.world.owner}:{self.name}/items/source"
        return httpx.get(address, trust_env=False)


class StagingContract:
    @pytest.fixture
    def staging(self, world: World) -> Iterator[httpx.Client]:
        with talking_to(world.staging) as client:
            yield client

    @pytest.fixture
    def inbox(self, world: World, staging: httpx.Client) -> Inbox:
        return Inbox(world, staging)

    def test_process_is_listed(self, staging: httpx.Client) -> None:
        listed = {"id": "Staging", "version": "1.0.0"}
        assert staging.get("/processes").json()["processes"] == [listed]
        assert staging.get("/processes/staging").json() == listed

    @pytest.mark.parametrize("address", ["/processes/nothing", "/jobs/nothing", "/jobs/nothing/results"])
    def test_what_is_unknown_is_not_found(self, staging: httpx.Client, address: str) -> None:
        answer = staging.get(address)
        assert answer.status_code == 404
        assert answer.json().keys() == {"type", "status", "detail"}
        assert "not found" in answer.json()["detail"]

    def test_order_without_inputs_is_refused(self, staging: httpx.Client) -> None:
        answer = staging.post(EXECUTION, json={})
        assert answer.status_code == 422
        assert json.loads(answer.json()["detail"])["detail"][0]["loc"] == ["body", "inputs"]

    def test_archive_arrives_under_its_own_name(self, inbox: Inbox) -> None:
        states = inbox.stage(inbox.item(**{"file:local_path": "archive.SAFE.zip"}))
        last = states[-1]
        assert (last["status"], last["progress"], last["message"]) == ("successful", 100, "Finished")
        assert {state["status"] for state in states[:-1]} <= {"running"}
        key = f"{inbox.world.owner}/{inbox.name}/source/archive.SAFE.zip"
        stored = inbox.world.s3.get_object(Bucket=inbox.world.bucket, Key=key)
        assert stored["Body"].read() == CONTENT
        staged = inbox.staged().json()
        assert staged["assets"].keys() == {"archive.SAFE.zip"}
        assert staged["assets"]["archive.SAFE.zip"]["href"] == f"s3://{inbox.world.bucket}/{key}"
        assert inbox.staging.get(f"/jobs/{last['jobID']}/results").json() == "successful"

    def test_archive_without_a_name_is_called_like_its_asset(self, inbox: Inbox) -> None:
        assert inbox.stage(inbox.item())[-1]["status"] == "successful"
        assert inbox.world.keys(f"{inbox.world.owner}/{inbox.name}/") == [
            f"{inbox.world.owner}/{inbox.name}/source/product"
        ]

    def test_origin_is_forgotten(self, inbox: Inbox) -> None:
        inbox.stage(inbox.item())
        links = inbox.staged().json()["links"]
        assert "https://example.org/items/source" not in [link["href"] for link in links]

    def test_what_is_catalogued_is_not_staged_again(self, inbox: Inbox) -> None:
        inbox.stage(inbox.item())
        last = inbox.stage(inbox.item())[-1]
        assert (last["status"], last["progress"]) == ("successful", 100)
        assert last["message"] == "Finished without processing any tasks"

    def test_nothing_may_be_staged_with_success(self, inbox: Inbox) -> None:
        status = inbox.submit({"value": inbox.item()}, asset_names=("other",))
        assert (status["status"], status["progress"]) == ("successful", 0)
        assert status["message"] == "No items with assets were found in the input for staging"
        assert inbox.staged().status_code == 404

    def test_size_is_not_verified(self, inbox: Inbox) -> None:
        assert inbox.stage(inbox.item(**{"file:size": 3}))[-1]["status"] == "successful"
        assert inbox.staged().json()["assets"]["product"]["file:size"] == 3

    def test_source_of_an_unknown_host_fails(self, inbox: Inbox) -> None:
        last = inbox.stage(inbox.item(href="https://elsewhere.example/archive.zip"))[-1]
        assert last["status"] == "failed"
        assert last["message"] == (
            "Loading station token service failed: No matching service found for domain: elsewhere.example"
        )

    def test_source_without_a_size_fails(self, inbox: Inbox) -> None:
        item = inbox.item(href=inbox.world.site.url("absent.zip"))
        del item["assets"]["product"]["file:size"]
        last = inbox.stage(item)[-1]
        assert last["status"] == "failed"
        assert last["message"].startswith("Resolving source asset sizes failed: ")

    def test_item_by_address(self, inbox: Inbox) -> None:
        inbox.world.site.add(f"{inbox.name}.json", json.dumps(inbox.item()).encode())
        status = inbox.submit({"href": inbox.world.site.url(f"{inbox.name}.json")})
        assert watch(inbox.staging, status["jobID"])[-1]["status"] == "successful"
        assert inbox.staged().status_code == 200

    def test_item_that_is_not_there_fails_at_once(self, inbox: Inbox) -> None:
        status = inbox.submit({"href": inbox.world.site.url("absent.json")})
        assert (status["status"], status["progress"]) == ("failed", 0)
        assert status["message"].startswith("Failed to retrieve the ItemCollection from the input link: 404")

    def test_item_that_the_catalogue_refuses_fails_without_its_reason(self, inbox: Inbox) -> None:
        item = inbox.item()
        del item["properties"]["product:type"]
        last = inbox.stage(item)[-1]
        assert last["status"] == "failed"
        assert last["message"] == "The item source couldn't be published in the catalog. Cleaning up"
        inbox.wait_until_cleaned()

    def test_job_that_is_deleted_is_forgotten(self, inbox: Inbox) -> None:
        job = inbox.stage(inbox.item())[-1]["jobID"]
        answer = inbox.staging.delete(f"/jobs/{job}")
        assert answer.status_code == 200
        assert answer.json()["message"] == f"Job {job} deleted successfully"
        assert inbox.staging.get(f"/jobs/{job}").status_code == 404
        assert inbox.staging.delete(f"/jobs/{job}").status_code == 404
        assert inbox.staged().status_code == 200
