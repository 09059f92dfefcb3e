"""The upstream services, started once for all tests of a session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import boto3
import pytest

from conversion_assets_tests.resources.http_files import serving
from conversion_assets_tests.services.processes import folder
from conversion_assets_tests.upstream import servers
from conversion_assets_tests.upstream.environments import MissingPythonError
from conversion_assets_tests.upstream.servers import Upstream
from conversion_assets_tests.upstream_contracts.dpr import bench, dpr
from conversion_assets_tests.upstream_contracts.world import World

__all__ = ["bench", "dpr"]


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    with ExitStack() as stack:
        try:
            # Not in pytest's own folders: paths of PostgreSQL's sockets and Dask's would become too long.
            services = stack.enter_context(servers.upstream(stack.enter_context(folder())))
        except MissingPythonError as missing:
            pytest.skip(str(missing))
        yield services


@pytest.fixture(scope="session")
def world(upstream: Upstream) -> Iterator[World]:
    s3 = boto3.client(
        "s3",
        endpoint_url=upstream.s3,
        aws_access_key_id=servers.OWNER,
        aws_secret_access_key=servers.PASSWORD,
        region_name=servers.REGION,
    )
    s3.create_bucket(Bucket=servers.BUCKET, CreateBucketConfiguration={"LocationConstraint": servers.REGION})
    with serving() as site:
        yield World(
            catalogue=upstream.catalogue,
            staging=upstream.staging,
            dpr=upstream.dpr,
            osam=upstream.osam,
            s3=s3,
            owner=servers.OWNER,
            bucket=servers.BUCKET,
            cluster=servers.CLUSTER,
            site=site,
        )
