"""The same order gives the same product and the same item, whatever services it goes through."""

from __future__ import annotations

import pytest

from conversion_assets_tests.end_to_end.command import ENGINE_MODULE, timeless
from conversion_assets_tests.end_to_end.everywhere import Visit, comparable, visited
from conversion_assets_tests.end_to_end.places import PLACES

elsewhere = pytest.mark.parametrize("place", [name for name in PLACES if name != "local"])


@pytest.fixture(scope="module")
def at_home(tmp_path_factory: pytest.TempPathFactory) -> Visit:
    return visited(tmp_path_factory, "local", PLACES["local"])


@pytest.fixture
def there(tmp_path_factory: pytest.TempPathFactory, place: str) -> Visit:
    return visited(tmp_path_factory, place, PLACES[place])


@elsewhere
def test_product_has_the_same_bytes(at_home: Visit, there: Visit) -> None:
    assert timeless(there.product) == timeless(at_home.product)


@elsewhere
def test_item_says_the_same(at_home: Visit, there: Visit) -> None:
    assert comparable(there) == comparable(at_home)


@elsewhere
def test_reader_opens_it_as_told_and_through_the_item(at_home: Visit, there: Visit) -> None:
    as_told, through_item = there.opened
    assert as_told == through_item == at_home.opened[0]


@pytest.mark.parametrize("place", ["rs"])
def test_upstream_services_did_the_work(there: Visit) -> None:
    work = [
        "/processes/staging/execution?",
        "/dpr/processes/conv_safe_zarr/execution?",
        "/internal/configuration?",
    ]
    assert [path for path in work if not any(path in request for request in there.asked)] == []


@pytest.mark.parametrize("place", ["dask"])
def test_worker_did_the_work(there: Visit) -> None:
    assert not any(ENGINE_MODULE in command for command in there.processes.values())
