"""One order through all published upstream services gives the product and the item that it gives at home."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conversion_assets_tests.end_to_end.command import timeless
from conversion_assets_tests.end_to_end.everywhere import Services, Store, Visit, comparable, visited
from conversion_assets_tests.end_to_end.places import PLACES
from conversion_assets_tests.upstream import servers
from conversion_assets_tests.upstream.servers import Upstream
from conversion_assets_tests.upstream_contracts.world import World


@pytest.fixture(scope="module")
def at_home(tmp_path_factory: pytest.TempPathFactory) -> Visit:
    return visited(tmp_path_factory, "local", PLACES["local"])


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream, world: World) -> Visit:
    @contextmanager
    def services(_: Path) -> Iterator[Services]:
        store = Store(world.s3, servers.PRODUCTS_BUCKET, servers.OWNER, servers.PASSWORD)
        store.make_bucket()
        variables = {
            "CONVERSION_ASSETS_PROFILE": "rs",
            "RSPY_HOST_CATALOG": upstream.catalogue,
            "RSPY_HOST_STAGING": upstream.staging,
            "RSPY_HOST_DPR_SERVICE": upstream.dpr,
            "RSPY_HOST_OSAM": upstream.osam,
            "RSPY_HOST_USER": servers.OWNER,
            "S3_ENDPOINT": upstream.s3,
            "S3_REGION": servers.REGION,
            "DASK_GATEWAY_ADDRESS": upstream.gateway,
            "CONVERSION_ASSETS_DASK_CLUSTER_LABEL": servers.CLUSTER,
        }
        yield Services(variables, store)

    return visited(tmp_path_factory, "upstream", services)


def test_product_has_the_same_bytes(at_home: Visit, there: Visit) -> None:
    assert timeless(there.product) == timeless(at_home.product)


def test_item_says_the_same(at_home: Visit, there: Visit) -> None:
    assert comparable(there) == comparable(at_home)


def test_reader_opens_it_as_told_and_through_the_item(at_home: Visit, there: Visit) -> None:
    as_told, through_item = there.opened
    assert as_told == through_item == at_home.opened[0]
