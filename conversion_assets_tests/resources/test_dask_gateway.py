from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from conversion_assets.errors import PermanentError, PoisonedInputError, TransientError
from conversion_assets.resources.dask_converter import DaskConverter
from conversion_assets.resources.object_store import Shelf
from conversion_assets.resources.s3_object_store import S3ObjectStore
from conversion_assets.resources.s3_storage import S3Storage
from conversion_assets_tests.contracts.converter import (
    SECONDS,
    ConverterBench,
    EndingContract,
    RunCanceledError,
    engines,
    safe,
    unknown_product,
)
from conversion_assets_tests.dask_servers import GatewayServer, gateway_server

__all__ = ["safe"]

LABEL = "conversion"
PASSWORD = "canary-password"  # noqa: S105 - of a server of this test
SECRETS: dict[str, Any] = {"aws_access_key_id": "canary-key", "aws_secret_access_key": "canary-secret"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayServer]:
    pytest.importorskip("dask_gateway_server")
    with gateway_server(tmp_path_factory.mktemp("gateway"), PASSWORD) as started:
        yield started


@pytest.fixture(scope="module")
def cluster(server: GatewayServer) -> str:
    """Start two clusters without workers, and give the name of the one with our label."""
    name = server.start_cluster(LABEL)
    server.start_cluster("another")
    return name


def converter_of(server: GatewayServer, seconds: float = SECONDS, **changed: Any) -> DaskConverter:  # noqa: ANN401 - fields
    fields: dict[str, Any] = {
        "memory_limit_bytes": 2**33,
        "time_limit_seconds": seconds,
        "gateway_address": server.address,
        "gateway_proxy_address": server.proxy_address,
        "gateway_username": "somebody",
        "gateway_password": server.password,
        "cluster_label": LABEL,
    }
    return DaskConverter(**fields | changed)


@pytest.fixture
def bench(server: GatewayServer, cluster: str, s3: Any, s3_endpoint: str, tmp_path: Path) -> ConverterBench:  # noqa: ANN401 - boto3 ships no types
    del cluster
    bucket = f"bucket-{uuid4()}"
    storage = S3Storage(endpoint_url=s3_endpoint, region_name="us-east-1", **SECRETS)

    def leftovers() -> list[object]:
        objects = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
        runs = [entry["Key"] for entry in objects if "/run-" in entry["Key"]]
        is_whole = any(key.endswith(".zarr/.zmetadata") for key in runs)
        return [*server.temporary_folders(), *([] if is_whole else runs)]

    return ConverterBench(
        converter=lambda seconds: converter_of(server, seconds, storage=storage),
        store=S3ObjectStore(root=str(tmp_path / "home"), storage=storage, create_buckets=True),
        shelf=Shelf(bucket=bucket, owner="someone", collection="sentinel-3"),
        folder=tmp_path,
        leftovers=leftovers,
    )


class TestDaskGateway(EndingContract):
    """Whole products: ``end_to_end/test_same_everywhere.py``; refused ones: ``test_no_secret_is_shown``."""


def test_download_ends_when_the_run_is_cancelled(bench: ConverterBench, safe: Path) -> None:
    def cancel(text: str) -> None:
        if text.startswith("downloading"):
            raise RunCanceledError

    with pytest.raises(RunCanceledError):
        bench.converter(SECONDS).convert(bench.assignment(safe), cancel)
    assert engines() == []
    assert list(bench.leftovers()) == []


def test_cluster_is_found_by_its_name(server: GatewayServer, cluster: str) -> None:
    converter = converter_of(server, cluster_instance=cluster, cluster_label="whatever")
    assert converter.eopf_version() == version("eopf")


@pytest.mark.parametrize("changed", [{"cluster_label": "missing"}, {"cluster_instance": "missing"}])
def test_missing_cluster_is_told_with_what_there_is(
    server: GatewayServer, cluster: str, changed: dict[str, Any]
) -> None:
    with pytest.raises(
        PermanentError, match=rf"no running cluster .*missing; .*{cluster} \({LABEL}, running\)"
    ):
        converter_of(server, **changed).eopf_version()


def test_wrong_password_is_permanent(server: GatewayServer) -> None:
    with pytest.raises(PermanentError, match="does not accept the credentials \\(status 401") as caught:
        converter_of(server, gateway_password="canary-wrong").eopf_version()  # noqa: S106 - it is wrong
    assert "canary" not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_gateway_out_of_reach_is_transient(server: GatewayServer) -> None:
    away = replace(server, address="http://somebody:canary@127.0.0.1:1")
    with pytest.raises(TransientError, match=r"http://127\.0\.0\.1:1: it cannot be reached") as caught:
        converter_of(away).eopf_version()
    assert "canary" not in str(caught.value)


def test_address_of_no_gateway_is_permanent(server: GatewayServer, s3_endpoint: str) -> None:
    for address in ("nonsense", s3_endpoint):
        with pytest.raises(PermanentError):
            converter_of(replace(server, address=address)).eopf_version()


def test_missing_token_is_told(server: GatewayServer) -> None:
    with pytest.raises(PermanentError, match="DASK_GATEWAY_TOKEN"):
        converter_of(server, gateway_auth="jupyterhub").eopf_version()


def test_token_of_another_kind_is_refused(server: GatewayServer) -> None:
    converter = converter_of(server, gateway_auth="jupyterhub", gateway_token="canary")  # noqa: S106 - of no server
    with pytest.raises(PermanentError, match="status 401") as caught:
        converter.eopf_version()
    assert "canary" not in repr(caught.value)


def test_no_secret_is_shown(server: GatewayServer, bench: ConverterBench) -> None:
    converter, told = bench.converter(SECONDS), list[str]()
    with pytest.raises(PoisonedInputError) as caught:
        converter.convert(bench.assignment(unknown_product(bench.folder)), told.append)
    logs = server.logs()
    assert "Compute Failed" in logs
    assert "canary" not in "".join([logs, repr(converter), repr(caught.value), *told])
