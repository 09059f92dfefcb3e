"""Settings of all tests: no property test depends on how fast the machine is. An S3 server for all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

# First of all: loaded after eccodes (which xarray loads), it ends the process with a segmentation fault at
# exit, for both bring a libldap and eccodes shows its own to everyone.
import psycopg2  # type: ignore[import-untyped] # noqa: F401 - loaded, not used
import pytest
from hypothesis import HealthCheck, settings

from conversion_assets.zarr.product_folder import ProductFolder, local_product, stored_product

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

Opened = Callable[[Path], ProductFolder]


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Start an S3 server in this process, with the environment in which s3fs finds it."""
    server_module: Any = pytest.importorskip("moto.server")
    server = server_module.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("AWS_"):
                patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "someone")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "anything")
        patch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_endpoint: str) -> Any:  # noqa: ANN401 - boto3 ships no types
    return pytest.importorskip("boto3").client("s3", endpoint_url=s3_endpoint)


@pytest.fixture(scope="session")
def s3_files(s3_endpoint: str) -> Any:  # noqa: ANN401 - fsspec ships no types
    from conversion_assets.storage.s3_files import S3Files  # noqa: PLC0415 - heavy, and only needed for S3

    files = S3Files(endpoint_url=s3_endpoint, use_listings_cache=False, skip_instance_cache=True)
    files.mkdir("products", region_name="eu-central-1")
    return files


@pytest.fixture
def in_bucket(s3_files: Any) -> Opened:  # noqa: ANN401 - fsspec ships no types
    """Copy a folder into a bucket, to a place of its own, and open it there."""

    def stored(folder: Path) -> ProductFolder:
        root = f"products/{uuid4()}/{folder.name}"
        if folder.exists():
            s3_files.put(str(folder), root, recursive=True)
        return stored_product(s3_files, root, f"s3://{root}")

    return stored


@pytest.fixture(params=["folder", "bucket"])
def opened(request: pytest.FixtureRequest) -> Opened:
    """Open a folder where it lies, and as a copy in a bucket."""
    bucket: Opened = request.getfixturevalue("in_bucket") if request.param == "bucket" else local_product
    return bucket
