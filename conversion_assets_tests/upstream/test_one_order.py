"""One order through all the published upstream services gives what it gives at home.

Staging fetches the archive, OSAM names the bucket, the DPR service converts on a cluster of dask-gateway with
the eopf that we have, the catalogue keeps the item. S3 is moto's server.

The cluster has no worker yet, as in the morning: the first job fails, and the order has to go on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest

from conversion_assets.settings import Settings
from conversion_assets_tests.end_to_end.command import leftovers, timeless
from conversion_assets_tests.end_to_end.everywhere import (
    COLLECTION,
    OWNER,
    SECRETS,
    Services,
    Store,
    Visit,
    comparable,
    visited,
)
from conversion_assets_tests.end_to_end.left_behind import pieces_of
from conversion_assets_tests.end_to_end.places import PLACES
from conversion_assets_tests.end_to_end.secrets_in import search
from conversion_assets_tests.upstream import servers
from conversion_assets_tests.upstream.servers import Upstream
from conversion_assets_tests.upstream_contracts.world import World

CLUSTER = "idle"
NEW_WORKER = "KeyError: 'S3_ACCESSKEY'"
SECONDS_FOR_ORDER = 600  # two jobs of eopf, on a machine that may be busy
pytestmark = pytest.mark.timeout(1200)  # the first test waits for the services and for two orders


@pytest.fixture(scope="module")
def at_home(tmp_path_factory: pytest.TempPathFactory) -> Visit:
    return visited(tmp_path_factory, "local", PLACES["local"])


@pytest.fixture(scope="module")
def former_jobs(upstream: Upstream) -> set[str]:
    """Ids of the jobs of others."""
    return {job["jobID"] for service in (upstream.staging, upstream.dpr) for job in jobs_of(service)}


@pytest.fixture(scope="module")
def there(
    tmp_path_factory: pytest.TempPathFactory, upstream: Upstream, world: World, former_jobs: set[str]
) -> Visit:
    del former_jobs

    @contextmanager
    def services(_: Path) -> Iterator[Services]:
        store = Store(world.s3, servers.BUCKET_OF_ORDER, servers.OWNER, servers.PASSWORD)
        store.make_bucket()
        variables = {
            "CONVERSION_ASSETS_PROFILE": "rs",
            "RSPY_HOST_CATALOG": upstream.catalogue,
            "RSPY_HOST_STAGING": upstream.staging,
            "RSPY_HOST_DPR_SERVICE": upstream.dpr,
            "RSPY_HOST_OSAM": upstream.osam,
            "RSPY_HOST_USER": OWNER,
            "S3_ENDPOINT": upstream.s3,
            "S3_REGION": servers.REGION,
            "DASK_GATEWAY_ADDRESS": upstream.gateway,
            "CONVERSION_ASSETS_DASK_CLUSTER_LABEL": CLUSTER,
        }
        with servers.cluster(upstream.gateway, CLUSTER, workers=0):
            yield Services(variables, store, seconds=SECONDS_FOR_ORDER)

    return visited(tmp_path_factory, "upstream", services)


def test_product_has_the_same_bytes(at_home: Visit, there: Visit) -> None:
    assert timeless(there.product) == timeless(at_home.product)


def test_item_says_the_same(at_home: Visit, there: Visit) -> None:
    assert comparable(there) == comparable(at_home)


def test_reader_opens_it_as_told_and_through_the_item(at_home: Visit, there: Visit) -> None:
    as_told, through_item = there.opened
    assert as_told == through_item == at_home.opened[0]


def test_catalogue_lists_the_item(upstream: Upstream, there: Visit) -> None:
    assert items_of(upstream, COLLECTION) == [there.item]
    collection = get(f"{upstream.catalogue}/collections/{OWNER}:{COLLECTION}")
    assert collection["extent"]["spatial"]["bbox"] == [there.item["bbox"]]


def test_each_service_did_its_part(upstream: Upstream, there: Visit, former_jobs: set[str]) -> None:
    staged, converted = (
        [job for job in jobs_of(service) if job["jobID"] not in former_jobs]
        for service in (upstream.staging, upstream.dpr)
    )
    assert [(job["status"], job["message"]) for job in staged] == [("successful", "Finished")]
    (result,) = [json.loads(job["message"]) for job in converted if job["status"] == "successful"]
    assert result["eopf_version"] == version("eopf")
    failed = [job["message"] for job in converted if job["status"] != "successful"]
    assert [message for message in failed if NEW_WORKER not in message] == []
    # Only OSAM knows this bucket.
    root = f"s3://{servers.BUCKET_OF_ORDER}"
    assert result["zarr_uri"].startswith(f"{root}/")
    product = f"{root}/{OWNER}/{COLLECTION}/{there.item['id']}.zarr"
    assert there.item["assets"]["product"]["href"] == product


def test_no_staged_copy_is_left(upstream: Upstream, world: World, there: Visit) -> None:
    staging_collection = Settings.model_fields["staging_collection"].default
    assert items_of(upstream, staging_collection) == []
    assert world.keys(f"{OWNER}/{staging_collection}/") == []
    assert leftovers(there.home) == []
    in_bucket = {path.relative_to(there.objects) for path in there.objects.rglob("*") if path.is_file()}
    product = there.product.relative_to(there.objects)
    others = {path for path in in_bucket if not path.is_relative_to(product)}
    assert {path.parts[0] for path in others} == {".provenance"}


def test_no_secret_is_told(there: Visit) -> None:
    assert search(SECRETS, pieces_of(there, "")) == {}
    assert search({"collection": COLLECTION}, pieces_of(there, "")) != {}


def jobs_of(service: str) -> list[dict[str, Any]]:
    """List the jobs of a service."""
    jobs: list[dict[str, Any]] = get(f"{service}/jobs")["jobs"]
    return jobs


def items_of(upstream: Upstream, collection: str) -> list[dict[str, Any]]:
    """List the items of a collection of ours, which has to be there."""
    found = get(f"{upstream.catalogue}/collections/{OWNER}:{collection}/items?limit=100")
    items: list[dict[str, Any]] = found["features"]
    return items


def get(url: str) -> Any:  # noqa: ANN401 - any JSON
    """Get a document as a reader does."""
    return httpx.get(url, trust_env=False).raise_for_status().json()
