"""The catalogue contract on stac-fastapi-pgstac."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest

from conversion_assets.errors import PermanentError, TransientError
from conversion_assets.resources.authentication import Authentication
from conversion_assets.resources.catalogue import CollectionSpec
from conversion_assets.resources.stac_api_catalogue import StacApiCatalogue
from conversion_assets_tests.contracts.catalogue import Document, HttpBench, HttpCatalogueContract


@pytest.fixture
def bench(pgstac_url: str) -> HttpBench:
    spec = CollectionSpec(owner="someone", id=f"c-{uuid4().hex}", title="A collection")

    def documents(path: str = "") -> Document:
        answer: Document = httpx.get(f"{pgstac_url}/collections/{spec.id}{path}").json()
        return answer

    return HttpBench(
        catalogue=StacApiCatalogue(url=pgstac_url, authentication=Authentication()),
        spec=spec,
        place=lambda name: f"s3://bucket/{name}.zarr",
        collection=documents,
        items=lambda: sorted(item["id"] for item in documents("/items?limit=100")["features"]),
        state=lambda: (documents(), documents("/items?limit=100")),
        api=pgstac_url,
        searched=spec.id,
    )


class TestStacFastapiPgstac(HttpCatalogueContract):
    pass


def test_refused_item_is_told_in_the_server_s_words(bench: HttpBench) -> None:
    with pytest.raises(PermanentError, match="Geometry is required in pgstac"):
        bench.publish({**bench.item(), "geometry": None})


def test_connection_that_the_server_breaks_is_no_loss(bench: HttpBench) -> None:
    """A POST into a missing collection is answered by 500 and a connection that dies."""
    with bench.catalogue._client() as client:
        with pytest.raises(TransientError, match="500"):
            client.post(f"collections/{bench.spec.id}/items", json=bench.item())
        assert client.get("").status == httpx.codes.OK
    bench.publish(bench.item())
    assert bench.items() == ["A"]
