"""The same order on Ceph, stac-fastapi-pgstac and PostgreSQL: same product, same item, no secret told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
import sqlalchemy

from conversion_assets.instance import POSTGRES_SCHEME, POSTGRES_VARIABLE
from conversion_assets_tests.end_to_end.command import timeless
from conversion_assets_tests.end_to_end.everywhere import (
    COLLECTION,
    FACILITY,
    SECRETS,
    Services,
    Store,
    Visit,
    comparable,
    visited,
)
from conversion_assets_tests.end_to_end.left_behind import kinds_of, pieces_of, shown_by_dagster
from conversion_assets_tests.end_to_end.places import PLACES
from conversion_assets_tests.end_to_end.secrets_in import in_texts, search
from conversion_assets_tests.services.postgres import Database, Postgres
from conversion_assets_tests.services.radosgw import S3Server

pytestmark = pytest.mark.timeout(900)  # the first test waits for the services and for two orders

REGION = "us-east-1"
BUCKET = "everywhere"


@pytest.fixture(scope="module")
def at_home(tmp_path_factory: pytest.TempPathFactory) -> Visit:
    return visited(tmp_path_factory, "local", PLACES["local"])


@pytest.fixture(scope="module")
def history(postgres_server: Postgres) -> Database:
    """The database of Dagster."""
    return postgres_server.new_database()


@pytest.fixture(scope="module")
def there(
    tmp_path_factory: pytest.TempPathFactory, radosgw_server: S3Server, pgstac_url: str, history: Database
) -> Visit:
    @contextmanager
    def services(_: Path) -> Iterator[Services]:
        client = boto3.client(
            "s3",
            endpoint_url=radosgw_server.endpoint_url,
            region_name=REGION,
            aws_access_key_id=radosgw_server.key,
            aws_secret_access_key=radosgw_server.secret,
        )
        client.create_bucket(Bucket=BUCKET)
        yield Services(
            {
                "CONVERSION_ASSETS_PROFILE": "s3",
                "CONVERSION_ASSETS_BUCKET": BUCKET,
                "CONVERSION_ASSETS_CATALOGUE_URL": pgstac_url,
                "S3_ENDPOINT": radosgw_server.endpoint_url,
                "S3_REGION": REGION,
                "S3_ACCESSKEY": radosgw_server.key,
                "S3_SECRETKEY": radosgw_server.secret,
                "CONVERSION_ASSETS_S3_SESSION_TOKEN": "",  # this user has none
                POSTGRES_VARIABLE: _url(history),
            },
            Store(client, BUCKET, radosgw_server.key, radosgw_server.secret),
        )
        client.close()

    return visited(tmp_path_factory, "services", services)


def _url(database: Database) -> str:
    return database.url.replace("postgresql://", POSTGRES_SCHEME)


def test_product_has_the_same_bytes(at_home: Visit, there: Visit) -> None:
    assert timeless(there.product) == timeless(at_home.product)


def test_item_says_the_same(at_home: Visit, there: Visit) -> None:
    assert comparable(there) == comparable(at_home)


def test_reader_opens_it_as_told_and_through_the_item(at_home: Visit, there: Visit) -> None:
    as_told, through_item = there.opened
    assert as_told == through_item == at_home.opened[0]


def test_no_secret_is_told(there: Visit, history: Database, radosgw_server: S3Server) -> None:
    secrets = {
        **SECRETS,
        "key of Ceph": radosgw_server.key,
        "secret key of Ceph": radosgw_server.secret,
        "password of the database": history.password,
    }
    shown = shown_by_dagster(there.variables, there.home)
    left = [*pieces_of(there, shown), *_in_database(history)]
    assert search(secrets, left) == {}
    # The search finds what is no secret in every kind of place.
    kinds = kinds_of(search({"facility": FACILITY, "collection": COLLECTION}, left))
    assert kinds["facility"] >= {"postgres", "record", "item", "shown", "environment"}
    assert kinds["collection"] >= {"postgres", "objects", "stdout", "stderr", "command"}


def _in_database(database: Database) -> Iterator[tuple[str, bytes]]:
    """Give every cell of a database."""
    engine = sqlalchemy.create_engine(_url(database))
    tables = sqlalchemy.MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        for table in tables.sorted_tables:
            for row in connection.execute(table.select()):
                for cell in row:
                    if isinstance(cell, bytes | memoryview):
                        yield f"postgres {table.name}", bytes(cell)
                    elif cell is not None:
                        yield from in_texts(**{f"postgres {table.name}": str(cell)})
    engine.dispose()
