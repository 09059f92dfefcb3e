"""The catalogue contract on the upstream catalogue itself."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest

from conversion_assets.resources.authentication import Authentication
from conversion_assets.resources.catalogue import CollectionSpec
from conversion_assets.resources.upstream_catalogue import UpstreamCatalogue
from conversion_assets_tests.contracts.catalogue import Document, HttpBench, HttpCatalogueContract
from conversion_assets_tests.upstream_contracts.world import World


@pytest.fixture
def bench(world: World) -> HttpBench:
    spec = CollectionSpec(owner=world.owner, id=f"c-{uuid4().hex}", title="A collection")

    def documents(path: str = "") -> Document:
        answer: Document = httpx.get(f"{world.catalogue}/collections/{spec.owner}:{spec.id}{path}").json()
        return answer

    def place(name: str) -> str:
        return world.put(f"{spec.owner}/{spec.id}/{name}.zarr/.zattrs").removesuffix("/.zattrs")

    return HttpBench(
        catalogue=UpstreamCatalogue(url=world.catalogue, authentication=Authentication()),
        spec=spec,
        place=place,
        collection=documents,
        items=lambda: sorted(item["id"] for item in documents("/items?limit=100")["features"]),
        state=lambda: (documents(), documents("/items?limit=100")),
        api=f"{world.catalogue}/",
        searched=f"{spec.owner}_{spec.id}",
    )


class TestUpstreamCatalogue(HttpCatalogueContract):
    pass


def test_it_takes_links_to_a_collection_of_the_same_name_for_its_own(bench: HttpBench, world: World) -> None:
    """Why ``UpstreamCatalogue`` sends such links in another spelling."""
    href = bench.publish(bench.item())
    sent = {
        **bench.item("B"),
        "links": [{"rel": "via", "href": f"https://a.test/collections/{bench.spec.id}/items/X"}],
    }
    path = f"{world.catalogue}/collections/{world.owner}:{bench.spec.id}/items"
    assert httpx.post(path, json=sent).status_code == httpx.codes.CREATED
    (found,) = [link for link in httpx.get(f"{path}/B").json()["links"] if link["rel"] == "via"]
    assert found["href"] != sent["links"][0]["href"]
    assert bench.catalogue.read(href)["links"][-1] == bench.item()["links"][-1]
