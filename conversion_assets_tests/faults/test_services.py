"""Orders killed and repeated whose products go to S3 and whose items go to a STAC API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from conversion_assets_tests.end_to_end.test_killed import left_behind
from conversion_assets_tests.faults import points, work
from conversion_assets_tests.faults.conftest import OpenRig
from conversion_assets_tests.faults.points import CrashPoint
from conversion_assets_tests.faults.rig import Rig
from conversion_assets_tests.faults.sources import Sources
from conversion_assets_tests.faults.test_orders import by_id
from conversion_assets_tests.faults.wholeness import unfinished
from conversion_assets_tests.peers.serving import serving
from conversion_assets_tests.peers.stac_api import StacApi


@pytest.fixture
def services(s3: Any, s3_endpoint: str) -> Iterator[Mapping[str, str]]:  # noqa: ANN401 - boto3 ships no types
    """Make a bucket and a catalogue; give the settings with which they are found."""
    bucket = f"faults-{uuid4()}"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
    with serving(StacApi()) as api:
        yield {
            "CONVERSION_ASSETS_PROFILE": "s3",
            "CONVERSION_ASSETS_BUCKET": bucket,
            "CONVERSION_ASSETS_CATALOGUE_URL": api.url,
            "S3_ENDPOINT": s3_endpoint,
            "S3_REGION": s3.meta.region_name,
            "S3_ACCESSKEY": "someone",
            "S3_SECRETKEY": "anything",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def require_whole_for_readers(rig: Rig, *, items: int) -> dict[str, Any]:
    """What the catalogue gives is complete, and its links lead to items."""
    found: dict[str, Any] = rig.run(work.seen)
    assert list(found["items"].values()) == [True] * items
    assert set(found["linked"]) <= set(found["items"])
    return found


def require_whole(rig: Rig, *, items: int) -> None:
    """So many items are published, each with a complete product; nothing else is left."""
    found = require_whole_for_readers(rig, items=items)
    assert found["products"] == dict.fromkeys(found["published"], True)
    assert len(found["published"]) == items
    assert sorted(left_behind(rig.home)) == []
    assert unfinished(rig.home) == []
    assert list(rig.home.glob("workspaces/*")) == []


def require_state(rig: Rig, point: CrashPoint) -> None:
    require_whole_for_readers(rig, items=point.seen)
    assert [pattern for pattern in point.there if not any(rig.home.glob(pattern))] == []
    assert [pattern for pattern in point.missing if any(rig.home.glob(pattern))] == []


@pytest.mark.parametrize("point", points.ON_SERVICES, ids=by_id)
def test_order(
    point: CrashPoint, rig_of: OpenRig, empty_home: Path, sources: Sources, services: Mapping[str, str]
) -> None:
    rig = rig_of(empty_home, services)
    order = partial(work.order, source=sources.archive)
    rig.run_killed(order, point.place)
    require_state(rig, point)
    assert rig.run(order)["status"] == "published"
    rig.require_in_order()
    require_whole(rig, items=1)


def test_conversion_of_what_is_published(
    rig_of: OpenRig, empty_home: Path, sources: Sources, services: Mapping[str, str]
) -> None:
    rig = rig_of(empty_home, services)
    order = partial(work.order, source=sources.archive)
    rig.run(order)
    first, second = points.AGAIN_ON_SERVICES
    rig.run_killed(partial(order, reconvert=True), first.place)
    require_state(rig, first)
    rig.run_killed(order, second.place)
    require_state(rig, second)
    assert rig.run(order)["product"].endswith(".v2.zarr")
    rig.require_in_order()
    require_whole(rig, items=2)


@pytest.mark.parametrize("point", points.RELEASED_ON_SERVICES, ids=by_id)
def test_release_of_superseded_versions(
    point: CrashPoint, rig_of: OpenRig, empty_home: Path, sources: Sources, services: Mapping[str, str]
) -> None:
    rig = rig_of(empty_home, services)
    three_times = [sources.archive] * 3
    rig.run(partial(work.order_all, sources=three_times, reconvert=True))
    require_whole(rig, items=3)
    rig.run_killed(partial(work.release, objects_at_once=1), point.place)
    require_state(rig, point)
    rig.run(work.release)
    rig.require_in_order()
    require_whole(rig, items=1)
