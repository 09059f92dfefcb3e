"""The contracts hold for the peers that stand in for the upstream services."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from conversion_assets_tests.peers.fixtures import (
    osam,
    upstream_bucket,
    upstream_catalogue,
    upstream_dpr,
    upstream_staging,
)
from conversion_assets_tests.peers.osam import Osam
from conversion_assets_tests.peers.upstream_catalogue import UpstreamCatalogue
from conversion_assets_tests.peers.upstream_dpr import UpstreamDpr
from conversion_assets_tests.peers.upstream_staging import UpstreamStaging
from conversion_assets_tests.resources.http_files import serving
from conversion_assets_tests.upstream_contracts.bucket_rules import BucketRulesContract
from conversion_assets_tests.upstream_contracts.catalogue import CatalogueContract
from conversion_assets_tests.upstream_contracts.dpr import DprContract, bench, dpr
from conversion_assets_tests.upstream_contracts.staging import StagingContract
from conversion_assets_tests.upstream_contracts.world import World

__all__ = [
    "bench",
    "dpr",
    "osam",
    "upstream_bucket",
    "upstream_catalogue",
    "upstream_dpr",
    "upstream_staging",
]


@pytest.fixture
def world(
    s3: Any,  # noqa: ANN401 - boto3 ships no types
    upstream_bucket: str,
    upstream_catalogue: UpstreamCatalogue,
    upstream_staging: UpstreamStaging,
    upstream_dpr: UpstreamDpr,
    osam: Osam,
) -> Iterator[World]:
    upstream_dpr.clusters = {"dask-eopf"}
    with serving() as site:
        yield World(
            catalogue=upstream_catalogue.base,
            staging=upstream_staging.url,
            dpr=f"{upstream_dpr.url}/dpr",
            osam=osam.url,
            s3=s3,
            owner=upstream_catalogue.user,
            bucket=upstream_bucket,
            cluster="dask-eopf",
            site=site,
        )


class TestBucketRules(BucketRulesContract):
    """The peer of OSAM."""


class TestCatalogue(CatalogueContract):
    """The peer of the catalogue."""


class TestStaging(StagingContract):
    """The peer of the staging service."""


class TestDpr(DprContract):
    """The peer of the DPR service."""
