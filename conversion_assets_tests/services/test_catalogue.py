"""The catalogue contract on stac-fastapi-pgstac."""

from __future__ import annotations

import json
from uuid import uuid4

import httpx
import pytest

from conversion_assets.errors import PermanentError, TransientError
from conversion_assets.resources.authentication import Authentication
from conversion_assets.resources.catalogue import CollectionSpec
from conversion_assets.resources.stac_api_catalogue import StacApiCatalogue
from conversion_assets_tests.contracts.catalogue import Document, HttpBench, HttpCatalogueContract
from conversion_assets_tests.test_catalogue_query import asked, ids


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


@pytest.mark.parametrize(
    ("text", "document", "found"),
    [
        ("eo:cloud_cover < 20", {"op": "<", "args": [{"property": "eo:cloud_cover"}, 20]}, [0, 10]),
        (
            "eo:cloud_cover >= 10 AND platform = 'sentinel-2a'",
            {
                "op": "and",
                "args": [
                    {"op": ">=", "args": [{"property": "eo:cloud_cover"}, 10]},
                    {"op": "=", "args": [{"property": "platform"}, "sentinel-2a"]},
                ],
            },
            [20, 40],
        ),
    ],
)
def test_query_as_text_and_as_json_selects_the_same_items(
    text: str, document: Document, found: list[int], bench: HttpBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conversion_assets.resources.stac_api_catalogue.PAGE", 1)  # each page asks again
    for number, cover in enumerate((0, 10, 20, 30, 40)):
        item = bench.item(f"C{cover:02}")
        item["properties"] |= {"eo:cloud_cover": cover, "platform": f"sentinel-2{'ab'[number % 2]}"}
        bench.publish(item)
    for expression in (text, json.dumps(document)):
        query = asked(expression=expression, collection=bench.spec.id)
        assert ids(query, bench.catalogue) == [f"C{cover:02}" for cover in found]


def test_connection_that_the_server_breaks_is_no_loss(bench: HttpBench) -> None:
    """A POST into a missing collection is answered by 500 and a connection that dies."""
    with bench.catalogue._client() as client:
        with pytest.raises(TransientError, match="500"):
            client.post(f"collections/{bench.spec.id}/items", json=bench.item())
        assert client.get("").status == httpx.codes.OK
    bench.publish(bench.item())
    assert bench.items() == ["A"]
