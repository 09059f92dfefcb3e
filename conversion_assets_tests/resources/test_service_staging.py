from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from conversion_assets.errors import OrderError, PermanentError, TransientError
from conversion_assets.resources.authentication import Authentication
from conversion_assets.resources.job_service import DialectName, JobService
from conversion_assets.resources.s3_storage import S3Storage
from conversion_assets.resources.service_staging import StandardStaging, UpstreamStaging
from conversion_assets.resources.staging import CopyStaging
from conversion_assets_tests.contracts.staging import (
    ARCHIVE,
    CONTENT,
    KEY,
    StagingBench,
    StagingContract,
)
from conversion_assets_tests.peers import upstream_staging as peers
from conversion_assets_tests.peers.buckets import keys_of
from conversion_assets_tests.peers.fixtures import upstream_staging
from conversion_assets_tests.peers.geo_processes import path_of, serving_processes
from conversion_assets_tests.peers.serving import Trouble
from conversion_assets_tests.peers.upstream_catalogue import UpstreamCatalogue
from conversion_assets_tests.resources.http_files import HttpFiles

__all__ = ["upstream_staging"]

COLLECTION = "safe-staging"
COPYING = CopyStaging(schemes=["file", "http", "s3"], private_hosts=["127.0.0.1"])


def desk(url: str, process: str, dialect: DialectName, tmp_path: Path) -> JobService:
    return JobService(
        name="staging service",
        url=url,
        process=process,
        dialect=dialect,
        authentication=Authentication(),
        notes=str(tmp_path / "jobs"),
        first_pause=0.01,
        retries=1,
    )


class TestCopyStaging(StagingContract):
    @pytest.fixture
    def bench(self, site: HttpFiles, tmp_path: Path) -> StagingBench:
        return StagingBench(COPYING, site, tmp_path / "staging", list)


@pytest.fixture
def upstream(
    s3: Any,  # noqa: ANN401 - boto3 ships no types
    s3_endpoint: str,
    site: HttpFiles,
    tmp_path: Path,
    upstream_bucket: str,
    upstream_staging: peers.UpstreamStaging,
) -> StagingBench:
    catalogue = upstream_staging.catalogue
    staging = UpstreamStaging(
        service=desk(upstream_staging.url, "staging", "upstream-staging", tmp_path),
        copying=COPYING,
        storage=S3Storage(endpoint_url=s3_endpoint),
        catalogue_url=catalogue.url,
        authentication=Authentication(),
        owner=catalogue.user,
        collection=COLLECTION,
        station=s3_endpoint,
    )
    return StagingBench(
        staging, site, tmp_path / "staging", lambda: [*keys_of(s3, upstream_bucket, ""), *items(catalogue)]
    )


def items(catalogue: UpstreamCatalogue) -> list[str]:
    """Name what the catalogue holds of our staged items."""
    collection = f"{catalogue.url}/catalog/collections/{catalogue.user}:{COLLECTION}"
    answer = httpx.get(f"{collection}/items", trust_env=False)
    return [feature["id"] for feature in answer.json()["features"]] if answer.is_success else []


class TestUpstreamStaging(StagingContract):
    @pytest.fixture
    def bench(self, upstream: StagingBench) -> StagingBench:
        return upstream


@pytest.fixture(scope="module")
def pygeoapi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_processes(tmp_path_factory.mktemp("pygeoapi")) as url:
        yield url


@pytest.fixture
def standard(pygeoapi: str, site: HttpFiles, tmp_path: Path) -> StagingBench:
    destination = (tmp_path / "near").as_uri()
    staging = StandardStaging(
        service=desk(pygeoapi, "stage", "standard", tmp_path), copying=COPYING, destination=destination
    )
    near = path_of(destination)
    return StagingBench(staging, site, tmp_path / "staging", lambda: filter(Path.is_file, near.rglob("*")))


class TestStandardStaging(StagingContract):
    @pytest.fixture
    def bench(self, standard: StagingBench) -> StagingBench:
        return standard


def test_copies_on_s3_are_told(s3: Any, s3_endpoint: str, tmp_path: Path) -> None:  # noqa: ANN401 - boto3 ships no types
    staging = StandardStaging(
        service=desk("http://127.0.0.1:9", "stage", "standard", tmp_path),
        copying=COPYING,
        storage=S3Storage(endpoint_url=s3_endpoint),
        destination=f"s3://near-{tmp_path.name.lower().replace('_', '-')}/.staged",
    )
    bucket = staging.destination.split("/")[2]
    assert list(staging.kept()) == []
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
    for name in (f"{KEY}/a", f"{KEY}/b"):
        s3.put_object(Bucket=bucket, Key=f".staged/{name}", Body=b"copy")
    (kept,) = staging.kept()
    assert (kept.key, kept.place) == (KEY, f"{staging.destination}/{KEY}")
    assert kept.changed == s3.head_object(Bucket=bucket, Key=f".staged/{KEY}/b")["LastModified"]


# --- what the upstream service does -----------------------------------------------------------------


def test_staged_item_lies_apart_and_carries_the_order(
    upstream: StagingBench, upstream_staging: peers.UpstreamStaging, upstream_bucket: str
) -> None:
    upstream.site.add(ARCHIVE, CONTENT)
    upstream.stage(upstream.order())
    catalogue = upstream_staging.catalogue
    assert items(catalogue) == [KEY]
    where = f"{catalogue.user}/{COLLECTION}/{KEY}/{ARCHIVE}"
    assert list(upstream.leftovers()) == [where, KEY]
    (sent,) = upstream_staging.received("POST")
    inputs = sent.json()["inputs"]
    assert (inputs["collection"], inputs["asset_names"]) == (COLLECTION, ["product"])
    assert inputs["items"]["value"]["properties"]["product:type"] == "IW_GRDH_1S"
    assert upstream_bucket


def test_archive_on_s3_is_staged_with_its_station(
    upstream: StagingBench,
    upstream_staging: peers.UpstreamStaging,
    s3: Any,  # noqa: ANN401 - boto3 ships no types
    s3_endpoint: str,
    upstream_bucket: str,
) -> None:
    s3.put_object(Bucket=upstream_bucket, Key=f"eodata/{ARCHIVE}", Body=CONTENT)
    copy = upstream.stage(upstream.order(f"s3://{upstream_bucket}/eodata/{ARCHIVE}"))
    assert copy.path.read_bytes() == CONTENT
    item = upstream_staging.received("POST")[0].json()["inputs"]["items"]["value"]
    assert item["properties"]["storage:schemes"]["source"]["platform"] == s3_endpoint


def test_success_without_anything_staged_is_a_failure(
    upstream: StagingBench, upstream_staging: peers.UpstreamStaging
) -> None:
    upstream.site.add(ARCHIVE, CONTENT)
    lie = {"jobID": "J", "status": "successful", "message": "No items with assets were found"}
    upstream_staging.add(Trouble(status=201, body=lie, method="POST"))
    upstream_staging.add(Trouble(status=200, body=lie, method="GET", path="/jobs/"))
    with pytest.raises(PermanentError, match="has staged nothing; it says: No items with assets"):
        upstream.stage(upstream.order())


def test_item_that_is_staged_already_is_taken(
    upstream: StagingBench, upstream_staging: peers.UpstreamStaging, tmp_path: Path
) -> None:
    upstream.site.add(ARCHIVE, CONTENT)
    order = upstream.order()
    upstream.stage(order)
    before = len(upstream.site.requests)
    copy = upstream.staging.stage(order, tmp_path / "elsewhere", lambda _: None)
    assert copy.path.read_bytes() == CONTENT
    assert len(upstream.site.requests) == before
    assert list(upstream_staging.jobs.values())[-1].history[-1][2] == "Finished without processing any tasks"


def test_staged_item_whose_object_is_gone_is_staged_again(
    upstream: StagingBench,
    s3: Any,  # noqa: ANN401 - boto3 ships no types
    upstream_bucket: str,
    tmp_path: Path,
) -> None:
    upstream.site.add(ARCHIVE, CONTENT)
    order = upstream.order()
    upstream.stage(order)
    for key in keys_of(s3, upstream_bucket, ""):
        s3.delete_object(Bucket=upstream_bucket, Key=key)
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(TransientError, match="staged again"):
        upstream.staging.stage(order, elsewhere, lambda _: None)
    assert upstream.staging.stage(order, elsewhere, lambda _: None).path.read_bytes() == CONTENT


def test_reason_of_the_service_is_told_with_its_class(
    upstream: StagingBench, upstream_staging: peers.UpstreamStaging
) -> None:
    upstream.site.add(ARCHIVE, CONTENT)
    upstream_staging.failures = ["The item couldn't be published in the catalog. Cleaning up"]
    with pytest.raises(TransientError, match="couldn't be published in the catalog"):
        upstream.stage(upstream.order())
    upstream_staging.stations = ()
    with pytest.raises(PermanentError, match=r"No matching service found for domain: 127\.0\.0\.1"):
        upstream.stage(upstream.order())
    assert list((upstream.folder.parent / "jobs").glob("[!.]*")) == []


def test_orders_may_not_go_into_the_staging_collection(
    upstream: StagingBench, upstream_staging: peers.UpstreamStaging
) -> None:
    with pytest.raises(OrderError, match="Order it into another collection"):
        upstream.stage(upstream.order(target={"collection": COLLECTION}))
    assert upstream_staging.requests == []


def test_item_that_names_what_is_not_ours_is_not_deleted(
    upstream: StagingBench,
    upstream_staging: peers.UpstreamStaging,
    s3: Any,  # noqa: ANN401 - boto3 ships no types
    upstream_bucket: str,
) -> None:
    upstream.site.add(ARCHIVE, CONTENT)
    order = upstream.order()
    upstream.stage(order)
    s3.put_object(Bucket=upstream_bucket, Key=f"precious/{ARCHIVE}", Body=CONTENT)
    catalogue = upstream_staging.catalogue
    path = f"{catalogue.url}/catalog/collections/{catalogue.user}:{COLLECTION}/items/{KEY}"
    item = httpx.get(path, trust_env=False).json()
    (asset,) = item["assets"].values()
    asset["href"] = f"s3://{upstream_bucket}/precious/{ARCHIVE}"
    assert httpx.put(path, json=item, trust_env=False).is_success
    with pytest.raises(PermanentError, match="should have one object at"):
        upstream.staging.release(order)
    assert f"precious/{ARCHIVE}" in keys_of(s3, upstream_bucket, "")


def test_release_that_fails_is_told(upstream: StagingBench, upstream_staging: peers.UpstreamStaging) -> None:
    upstream.site.add(ARCHIVE, CONTENT)
    order = upstream.order()
    upstream.stage(order)
    trouble = Trouble(status=403, body={"code": "Forbidden", "description": "not yours"}, method="DELETE")
    upstream_staging.catalogue.add(trouble)
    with pytest.raises(PermanentError, match="not yours"):
        upstream.staging.release(order)
    assert items(upstream_staging.catalogue) == [KEY]


# --- what a standard process may say ----------------------------------------------------------------


def test_copy_elsewhere_than_ordered_is_refused(
    pygeoapi: str, site: HttpFiles, tmp_path: Path, standard: StagingBench
) -> None:
    (tmp_path / "passwords").write_text("x")
    service = desk(pygeoapi, "obey", "standard", tmp_path)

    class Liar(StandardStaging):
        """Lets the process of the tests say where the copy is."""

        def _run(self, order: Any, inputs: Any, tell: Any) -> Any:  # noqa: ANN401 - passed on
            said = {"outputs": {"href": (tmp_path / "passwords").as_uri()}}
            return super()._run(order, {**inputs, **said}, tell)

    liar = Liar(service=service, copying=COPYING, destination=(tmp_path / "near").as_uri())
    site.add(ARCHIVE, CONTENT)
    with pytest.raises(PermanentError, match="it was to put a file into"):
        liar.stage(standard.order(), standard.folder, lambda _: None)
    assert not standard.folder.exists()
