from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from conversion_assets.errors import OrderError, PermanentError
from conversion_assets.resources.authentication import Authentication
from conversion_assets.resources.catalogue import CollectionSpec, differences
from conversion_assets.resources.upstream_catalogue import UpstreamCatalogue
from conversion_assets_tests.contracts.catalogue import (
    HttpCatalogueContract,
    PeerBench,
    WeatherContract,
)
from conversion_assets_tests.peers import upstream_catalogue as peers
from conversion_assets_tests.resources.items import SPEC

STORED = f"{SPEC.owner}_{SPEC.id}"


@pytest.fixture
def bench(
    upstream_catalogue: peers.UpstreamCatalogue,
    s3: Any,  # noqa: ANN401 - boto3 ships no types
    upstream_bucket: str,
) -> PeerBench:
    catalogue = UpstreamCatalogue(url=upstream_catalogue.url, authentication=Authentication())
    waited: list[float] = []
    catalogue._sleep = waited.append
    store = upstream_catalogue.store

    def place(name: str) -> str:
        s3.put_object(Bucket=upstream_bucket, Key=f"{name}.zarr/.zgroup", Body=b"{}")
        return f"s3://{upstream_bucket}/{name}.zarr"

    return PeerBench(
        catalogue=catalogue,
        spec=SPEC,
        place=place,
        collection=lambda: deepcopy(store.collections[STORED]),
        items=lambda: sorted(item for _, item in store.items),
        state=lambda: (deepcopy(vars(store)), len(upstream_catalogue.received("PUT"))),
        api=upstream_catalogue.base,
        searched=STORED,
        peer=upstream_catalogue,
        waited=waited,
    )


class TestUpstreamCatalogue(HttpCatalogueContract):
    pass


class TestUpstreamCatalogueInBadWeather(WeatherContract):
    pass


def test_item_goes_to_its_owner_s_collection(bench: PeerBench) -> None:
    assert bench.publish(bench.item()) == f"{bench.api}/collections/{SPEC.owner}:{SPEC.id}/items/A"
    (stored,) = bench.peer.store.items.values()
    assert stored["collection"] == STORED


@pytest.mark.parametrize("ending", ["", "/", "/catalog", "/catalog/"])
def test_address_is_taken_with_the_prefix_or_without(bench: PeerBench, ending: str) -> None:
    catalogue = UpstreamCatalogue(url=f"{bench.peer.url}{ending}", authentication=Authentication())
    assert catalogue.publish(bench.item(), SPEC).startswith(f"{bench.peer.url}/catalog/collections/")


def test_server_gets_the_type_by_which_it_chooses_the_bucket(bench: PeerBench) -> None:
    sent = bench.item()
    bench.publish(sent)
    (stored,) = bench.peer.store.items.values()
    assert stored["properties"]["eopf:type"] == stored["properties"]["product:type"] == "S02MSIL1C"
    assert "eopf:type" not in sent["properties"]


def test_what_the_server_adds_is_laid_aside(bench: PeerBench) -> None:
    href = bench.publish(bench.item())
    (stored,) = bench.peer.store.items.values()
    assert {"published", "expires", "updated"} <= stored["properties"].keys()
    stored["assets"]["product"] |= {
        "alternate": {"download": {"href": "https://x.test"}},
        "auth:refs": ["s3"],
    }
    stored["assets"]["product"]["file:checksum"] = "1220"
    stored["properties"]["auth:schemes"] = {"s3": {"type": "s3"}}
    stored["stac_extensions"].append("https://stac-extensions.github.io/authentication/v1.1.0/schema.json")
    stored["links"] = [{**link, "auth:refs": ["apikey"]} for link in stored["links"]]
    found = bench.catalogue.read(href)
    assert differences(bench.item(), found) == ()
    assert found["stac_extensions"] == []


def test_our_own_use_of_an_extension_stays_declared(bench: PeerBench) -> None:
    sent = bench.item()
    sent["stac_extensions"] = ["https://stac-extensions.github.io/file/v2.1.0/schema.json"]
    sent["assets"]["product"]["file:size"] = 7
    assert differences(sent, bench.catalogue.read(bench.publish(sent))) == ()


def test_link_to_a_collection_of_the_same_name_elsewhere_is_not_taken_for_its_own(bench: PeerBench) -> None:
    bench.publish(bench.item())
    (stored,) = bench.peer.store.items.values()
    assert not [link for link in stored["links"] if f"/collections/{SPEC.id}/items" in link["href"]]


def test_product_that_is_not_there_is_told_in_the_server_s_words(bench: PeerBench) -> None:
    sent = bench.item()
    sent["assets"]["product"]["href"] = "s3://catalogue-bucket/absent.zarr"
    with pytest.raises(PermanentError, match="Not all assets for item A are available in S3"):
        bench.publish(sent)
    assert bench.items() == []


def test_item_without_type_is_told_in_the_server_s_words(bench: PeerBench) -> None:
    sent = bench.item()
    del sent["properties"]["product:type"]
    with pytest.raises(PermanentError, match=r"403.*product:type"):
        bench.publish(sent)


@pytest.mark.parametrize(
    "spec", [CollectionSpec("some-one", SPEC.id, ""), CollectionSpec("someone", "someone_c", "")]
)
def test_names_that_the_server_would_confuse_are_refused(bench: PeerBench, spec: CollectionSpec) -> None:
    with pytest.raises(OrderError, match="upstream catalogue"):
        bench.catalogue.publish(bench.item(), spec)
    assert bench.peer.requests == []


def test_owners_have_items_of_the_same_name(bench: PeerBench) -> None:
    bench.publish(bench.item())
    theirs = bench.item()
    theirs["properties"]["owner"] = "another"
    href = bench.catalogue.publish(theirs, CollectionSpec("another", SPEC.id, SPEC.title))
    assert differences(theirs, bench.catalogue.read(href)) == ()
    assert len(bench.peer.store.items) == 2
