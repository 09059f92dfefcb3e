from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from conversion_assets.errors import PermanentError
from conversion_assets.resources.item_filter import ItemFilter, area_of_box
from conversion_assets.resources.s3_prefix import S3Prefix
from conversion_assets_tests.contracts.input_source import InputSourceContract, SourceBench, names
from conversion_assets_tests.peers.buckets import delete_all, keys_of
from conversion_assets_tests.resources.stac_source import at, item

S2_NAME = "S2B_MSIL2A_20240615T102559_N0510_R108_T32TLR_20240615T132559"
S1_NAME = "S1A_IW_GRDH_1SDV_20240615T052559_20240615T052624_054331_069C5E_1B6F"
BUCKET = "watched"


@pytest.fixture
def bucket(s3: Any) -> Iterator[str]:  # noqa: ANN401 - boto3 ships no types
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
    yield BUCKET
    delete_all(s3, BUCKET, keys_of(s3, BUCKET, ""))
    s3.delete_bucket(Bucket=BUCKET)


class Store:
    """The bucket; S3 tells times by the second, so that the clock of its objects is set by hand."""

    def __init__(self, s3: Any) -> None:  # noqa: ANN401 - boto3 ships no types
        self.s3 = s3
        self.minutes = count()

    def put(self, key: str, body: bytes = b"x", *, minute: int | None = None) -> None:
        from moto.core.models import DEFAULT_ACCOUNT_ID  # noqa: PLC0415 - only where there is an S3 server
        from moto.s3.models import s3_backends  # noqa: PLC0415

        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        kept = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[BUCKET].keys[key]
        minute = next(self.minutes) if minute is None else minute
        kept.last_modified = datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(minutes=minute)


@pytest.fixture
def store(s3: Any, bucket: str) -> Store:  # noqa: ANN401 - boto3 ships no types
    del bucket
    return Store(s3)


def source(**facts: Any) -> S3Prefix:  # noqa: ANN401 - any field
    known: dict[str, Any] = {"bucket": BUCKET, "prefix": "in/", "stable_seconds": 60}
    made = S3Prefix(**(known | facts))
    made._now = lambda: datetime(2026, 3, 2, 12, tzinfo=UTC)
    return made


def found(watched: S3Prefix) -> list[str]:
    return [arrival.name for arrival in watched.look(None, 100).arrivals]


class TestS3Prefix(InputSourceContract):
    @pytest.fixture
    def bench(self, store: Store) -> SourceBench:
        changes = count()

        def put(*products: str) -> None:
            for name in products:
                store.put(f"in/{name}.zip", f"{next(changes)}".encode())

        return SourceBench(source(), put)


def test_folder_counts_when_its_manifest_is_there(store: Store) -> None:
    store.put(f"in/2024/{S1_NAME}.SAFE/measurement/a.tiff")
    store.put(f"in/2024/{S1_NAME}.SAFE/inner.zip")
    assert found(source()) == []
    store.put(f"in/2024/{S1_NAME}.SAFE/manifest.safe")
    (arrival,) = source().look(None, 100).arrivals
    assert (arrival.name, arrival.source) == (
        f"{S1_NAME}.SAFE",
        f"s3://{BUCKET}/in/2024/{S1_NAME}.SAFE",
    )
    store.put(f"in/2024/{S1_NAME}.SAFE/measurement/b.tiff")
    assert source().look(None, 100).arrivals[0].version != arrival.version


def test_only_what_is_below_the_prefix_counts(store: Store) -> None:
    for key in ("out/A.zip", "in/B.zip", "in/.hidden/C.zip", "in/D.zip.part", "in/notes.txt", "in/E.tar.gz"):
        store.put(key)
    assert found(source()) == ["B.zip", "E.tar.gz"]
    assert found(source(prefix="")) == ["A.zip", "B.zip", "E.tar.gz"]


def test_what_still_changes_is_left(store: Store) -> None:
    store.put("in/A.zip")
    watched = source()
    watched._now = lambda: datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
    look = watched.look(None, 10)
    assert look.arrivals == ()
    assert names(source().look(look.cursor, 10).arrivals) == ["A"]


def test_object_that_becomes_visible_late_is_found(store: Store) -> None:
    store.put("in/A.zip", minute=0)
    store.put("in/B.zip", minute=20)
    cursor = source().look(None, 10).cursor
    store.put("in/late.zip", minute=11)
    store.put("in/too-late.zip", minute=9)
    assert names(source().look(cursor, 10).arrivals) == ["late"]


def test_listing_goes_on_over_its_pages(store: Store) -> None:
    watched = source()
    watched._page_size = 2
    for number in range(5):
        store.put(f"in/X{number}.zip")
    assert found(watched) == [f"X{number}.zip" for number in range(5)]


def test_documents_are_judged_like_items_of_a_catalogue(store: Store) -> None:
    store.put("in/A.json", json.dumps(item("A")).encode())
    store.put("in/B.json", json.dumps(item("B", unpublished=at(0))).encode())
    features = [item("C"), item("D", 0, **{"product:type": "S2MSI1C"})]
    store.put("in/C.geojson", json.dumps({"type": "FeatureCollection", "features": features}).encode())
    store.put("in/E.json", b"no JSON")
    look = source(wanted=ItemFilter(product_types=["S02MSIL2A"])).look(None, 10)
    assert [arrival.name for arrival in look.arrivals] == ["A.json", "C.geojson", "E.json"]
    assert [skipped.name for skipped in look.skipped] == ["B.json"]
    kept = json.loads(look.arrivals[1].document or b"")
    assert [feature["id"] for feature in kept["features"]] == ["C"]


def test_archives_are_judged_by_their_names(store: Store) -> None:
    for name in (S1_NAME, S2_NAME, "unknown"):
        store.put(f"in/{name}.zip")
    look = source(wanted=ItemFilter(product_types=["S02MSIL2A"])).look(None, 10)
    assert names(look.arrivals) == [S2_NAME]
    assert [skipped.name for skipped in look.skipped] == [f"{S1_NAME}.zip", "unknown.zip"][1:]
    assert found(source(wanted=ItemFilter(acquired_from="2024-06-15T06:00:00Z")))[:1] == [f"{S2_NAME}.zip"]
    placed = source(wanted=ItemFilter(area=area_of_box((0, 0, 1, 1)))).look(None, 10)
    assert placed.arrivals == ()
    assert all("cannot be told from a name" in skipped.reason for skipped in placed.skipped)


def test_bucket_that_is_missing_is_told(bucket: str) -> None:
    del bucket
    with pytest.raises(PermanentError, match="there is no bucket elsewhere"):
        source(bucket="elsewhere").look(None, 10)
