from __future__ import annotations

from pathlib import Path

import pytest

from conversion_assets.resources.s3_storage import S3Storage
from conversion_assets_tests.contracts.object_store import (
    S3Bench,
    S3ObjectStoreContract,
    proxy,
    s3_bench,
    written,
)

__all__ = ["proxy", "written"]


@pytest.fixture
def bench(s3_endpoint: str, tmp_path: Path) -> S3Bench:
    storage = S3Storage(
        endpoint_url=s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id="someone",
        aws_secret_access_key="anything",  # noqa: S106 - the server takes any
    )
    return s3_bench(storage, tmp_path / "home")


class TestS3ObjectStore(S3ObjectStoreContract):
    pass
