"""Fixtures that a ``conftest.py`` imports by name to have the peers it needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .buckets import ROWS, delete_all, keys_of
from .osam import Osam
from .serving import serving
from .stac_api import StacApi
from .upstream_catalogue import UpstreamCatalogue
from .upstream_dpr import UpstreamDpr
from .upstream_staging import UpstreamStaging


@pytest.fixture
def stac_api() -> Iterator[StacApi]:
    with serving(StacApi()) as api:
        yield api


@pytest.fixture
def upstream_bucket(s3: Any) -> Iterator[str]:  # noqa: ANN401 - boto3 ships no types
    """Make the bucket that the default rows name, for one test."""
    bucket = ROWS[0][4]
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
    yield bucket
    delete_all(s3, bucket, keys_of(s3, bucket, ""))
    s3.delete_bucket(Bucket=bucket)


@pytest.fixture
def upstream_catalogue(s3: Any) -> Iterator[UpstreamCatalogue]:  # noqa: ANN401 - boto3 ships no types
    with serving(UpstreamCatalogue(s3)) as catalogue:
        yield catalogue


@pytest.fixture
def upstream_staging(
    upstream_catalogue: UpstreamCatalogue, upstream_bucket: str
) -> Iterator[UpstreamStaging]:
    """Serve the staging service; its jobs have ended before the bucket is removed."""
    del upstream_bucket
    with serving(UpstreamStaging(upstream_catalogue)) as staging:
        yield staging


@pytest.fixture
def upstream_dpr(s3: Any, upstream_bucket: str) -> Iterator[UpstreamDpr]:  # noqa: ANN401 - boto3 ships no types
    """Serve the DPR service; its jobs have ended before the bucket is removed."""
    del upstream_bucket
    with serving(UpstreamDpr(s3)) as dpr:
        yield dpr


@pytest.fixture
def osam() -> Iterator[Osam]:
    with serving(Osam()) as osam:
        yield osam
