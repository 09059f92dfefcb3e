"""Servers on this machine that the tests of the services share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from conversion_assets_tests.resources.http_files import HttpFiles, serving


@pytest.fixture
def site() -> Iterator[HttpFiles]:
    with serving() as files:
        yield files


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
