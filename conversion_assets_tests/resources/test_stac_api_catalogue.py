from __future__ import annotations

from copy import deepcopy
from datetime import timedelta

import pytest
from starlette.requests import Request
from starlette.responses import Response

from conversion_assets.errors import OrderError, PermanentError, TransientError
from conversion_assets.resources.authentication import Authentication
from conversion_assets.resources.catalogue import CollectionSpec, differences
from conversion_assets.resources.stac_api_catalogue import StacApiCatalogue
from conversion_assets_tests.contracts.catalogue import (
    HttpCatalogueContract,
    PeerBench,
    WeatherContract,
    extent,
)
from conversion_assets_tests.peers.serving import Trouble, serving
from conversion_assets_tests.peers.stac_api import StacApi
from conversion_assets_tests.resources.items import SPEC, START, item


@pytest.fixture
def bench(stac_api: StacApi) -> PeerBench:
    catalogue = StacApiCatalogue(url=stac_api.url, authentication=Authentication())
    waited: list[float] = []
    catalogue._sleep = waited.append
    return PeerBench(
        catalogue=catalogue,
        spec=SPEC,
        place=lambda name: f"s3://bucket/{name}.zarr",
        collection=lambda: deepcopy(stac_api.store.collections[SPEC.id]),
        items=lambda: sorted(item for _, item in stac_api.store.items),
        state=lambda: (deepcopy(vars(stac_api.store)), len(stac_api.received("PUT"))),
        api=stac_api.url,
        searched=SPEC.id,
        peer=stac_api,
        waited=waited,
    )


class TestStacApiCatalogue(HttpCatalogueContract):
    pass


class TestStacApiCatalogueInBadWeather(WeatherContract):
    pass


def test_address_of_the_item_is_the_server_s_own(bench: PeerBench) -> None:
    assert bench.publish(bench.item()) == f"{bench.api}/collections/{SPEC.id}/items/A"


def test_refused_item_is_told_in_the_server_s_words(bench: PeerBench) -> None:
    with pytest.raises(PermanentError, match="Geometry is required in pgstac") as told:
        bench.publish({**bench.item(), "geometry": None})
    assert told.value.subject == f"item A for collection {SPEC.id} of {SPEC.owner}"
    assert bench.items() == []


def test_item_of_another_owner_is_not_replaced(bench: PeerBench) -> None:
    bench.publish(bench.item())
    before = bench.state()
    theirs = bench.item()
    theirs["properties"]["owner"] = "another"
    with pytest.raises(OrderError, match="it is someone's"):
        bench.catalogue.publish(theirs, CollectionSpec("another", SPEC.id, SPEC.title))
    assert bench.state() == before


class Forgetful(StacApi):
    """Another writer takes an extent back between its growth and the item."""

    forgets = True

    def create_item(self, request: Request) -> Response:
        if self.forgets:
            self.forgets = False
            self.collection(request)["extent"]["spatial"]["bbox"] = [[0, 0, 1, 1]]
        return super().create_item(request)


def test_extent_that_is_taken_back_before_the_item_is_there_grows_again() -> None:
    with serving(Forgetful()) as peer:
        StacApiCatalogue(url=peer.url, authentication=Authentication()).publish(item(bbox=(5, 5, 6, 6)), SPEC)
        assert not peer.forgets
        assert peer.store.collections[SPEC.id]["extent"]["spatial"]["bbox"] == [[0, 0, 6, 6]]


def test_collection_that_vanishes_is_made_again(bench: PeerBench) -> None:
    """A POST into a collection that somebody deleted is answered by 500 and a connection that dies."""
    bench.publish(bench.item("first"))
    kept = deepcopy(bench.peer.store.collections)
    bench.peer.store.collections.clear()
    bench.peer.store.items.clear()
    known = {**kept[SPEC.id], "links": []}
    bench.peer.add(Trouble(method="GET", path="collections", status=200, body=known))
    with pytest.raises(TransientError, match="500"):
        bench.publish(bench.item())
    sent = bench.item()
    assert differences(sent, bench.catalogue.read(bench.publish(sent))) == ()


def test_item_of_another_server_is_not_asked_for(bench: PeerBench) -> None:
    with pytest.raises(PermanentError, match="another server"):
        bench.catalogue.read("http://another.test/collections/c/items/A")


def test_many_items_beyond_a_wrong_extent_are_taken_in(bench: PeerBench) -> None:
    """Another client made the collection and never grew it."""
    for number in range(120):
        bench.peer.store.items[SPEC.id, f"I{number}"] = bench.item(
            f"I{number}", bbox=(number, number / 2, number + 1, number / 2 + 1)
        )
    bench.publish(bench.item("A", bbox=(0, 0, 1, 1)))
    bench.publish(bench.item("B", bbox=(0, 0, 2, 1)))
    assert bench.collection()["extent"]["spatial"]["bbox"] == [[0, 0, 120, 60.5]]


def test_item_that_is_nowhere_counts_for_no_extent(bench: PeerBench) -> None:
    """Another client published it: ours have a footprint."""
    nowhere = {**bench.item("N", start=START - timedelta(days=1)), "geometry": None, "bbox": None}
    bench.publish(bench.item("A", bbox=(0, 0, 1, 1)))
    bench.peer.store.items[SPEC.id, "N"] = nowhere
    bench.publish(bench.item("B", bbox=(0, 0, 2, 1)))
    assert extent(bench.collection()) == ([0, 0, 2, 1], START, START + timedelta(seconds=25))
