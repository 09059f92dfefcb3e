"""The object store on Ceph's S3 gateway, which is stricter than the server of the other tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from conversion_assets.errors import PermanentError
from conversion_assets.resources.s3_storage import S3Storage
from conversion_assets_tests.contracts.object_store import (
    KEY,
    SAFE,
    S3Bench,
    S3ObjectStoreContract,
    proxy,
    s3_bench,
    written,
)
from conversion_assets_tests.services.radosgw import S3Server

__all__ = ["proxy", "written"]


@pytest.fixture
def bench(radosgw_server: S3Server, tmp_path: Path) -> S3Bench:
    storage = S3Storage(
        endpoint_url=radosgw_server.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=radosgw_server.key,
        aws_secret_access_key=radosgw_server.secret,
    )
    return s3_bench(storage, tmp_path / "home")


class TestS3ObjectStoreOnCeph(S3ObjectStoreContract):
    @pytest.mark.parametrize("name", ["aws_access_key_id", "aws_secret_access_key"])
    def test_wrong_credentials_are_told(self, bench: S3Bench, name: str) -> None:
        store = bench.at_endpoint(bench.endpoint, **{name: "canary"})
        with pytest.raises(
            PermanentError, match=r"does not accept the credentials.*variables of S3"
        ) as caught:
            store.workspace(bench.shelf, KEY, Path(SAFE))
        assert "canary" not in str(caught.value)
