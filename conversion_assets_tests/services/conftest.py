"""The servers of the suite, each started once and only when a test asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from conversion_assets_tests.services.oidc import IdentityProvider, oidc
from conversion_assets_tests.services.pgstac import pgstac
from conversion_assets_tests.services.postgres import Database, Postgres, postgres
from conversion_assets_tests.services.radosgw import S3Server, radosgw


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the servers' logs are."""
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="session")
def postgres_server(logs: Path) -> Iterator[Postgres]:
    with postgres(logs) as server:
        yield server


@pytest.fixture
def database(postgres_server: Postgres) -> Database:
    """An empty database."""
    return postgres_server.new_database()


@pytest.fixture(scope="session")
def pgstac_url(postgres_server: Postgres, logs: Path) -> Iterator[str]:
    """URL of a STAC API with transactions."""
    with pgstac(postgres_server, logs) as url:
        yield url


@pytest.fixture(scope="session")
def radosgw_server(logs: Path) -> Iterator[S3Server]:
    with radosgw(logs) as server:
        yield server


@pytest.fixture(scope="session")
def identity_provider(logs: Path) -> Iterator[IdentityProvider]:
    with oidc(logs) as provider:
        yield provider
