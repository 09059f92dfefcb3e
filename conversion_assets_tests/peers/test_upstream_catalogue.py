from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from conversion_assets_tests.peers.upstream_catalogue import EXTENSIONS, UpstreamCatalogue
from conversion_assets_tests.resources.items import AROUND
from conversion_assets_tests.resources.items import item as plain_item

from .test_stac_api import COLLECTION

BUCKET = "catalogue-bucket"
ITEMS = "/catalog/collections/ada:s2/items"


def item(name: str = "A", *, key: str = "ada/s2/A.zarr", **changes: object) -> dict[str, Any]:
    made = plain_item(name, href=f"s3://{BUCKET}/{key}")
    made["properties"]["product:type"] = "S02MSIL1C"
    return made | {"collection": "s2"} | changes


@pytest.fixture
def client(upstream_catalogue: UpstreamCatalogue, upstream_bucket: str) -> Iterator[httpx.Client]:
    for key in ("ada/s2/A.zarr/.zattrs", "ada/s2/A.zarr/b/0", "ada/s2/A.zarr.json", "ada/s2/A.json"):
        upstream_catalogue.s3.put_object(Bucket=upstream_bucket, Key=key, Body=b"{}")
    with httpx.Client(base_url=upstream_catalogue.url) as client:
        sent = COLLECTION | {"id": "s2", "owner": "ada"}
        assert client.post("/catalog/collections", json=sent).status_code == 201
        yield client


def keys(catalogue: UpstreamCatalogue) -> list[str]:
    return [found["Key"] for found in catalogue.s3.list_objects_v2(Bucket=BUCKET).get("Contents", ())]


def test_collection_is_known_by_owner_and_name(client: httpx.Client) -> None:
    found = client.get("/catalog/collections/ada:s2").json()
    assert (found["id"], found["owner"]) == ("s2", "ada")
    missing = client.get("/catalog/collections/s2")
    assert (missing.status_code, missing.json()["code"]) == (404, "NotFoundError")
    again = client.post("/catalog/collections", json=COLLECTION | {"id": "s2", "owner": "ada"})
    assert (again.status_code, again.json()["code"]) == (409, "ConflictError")


def test_item_gets_what_is_the_servers_and_keeps_the_rest(client: httpx.Client) -> None:
    assert client.post(ITEMS, json=item()).status_code == 201
    found = client.get(f"{ITEMS}/A").json()
    assert found["collection"] == "s2"
    assert set(found["stac_extensions"]) == set(EXTENSIONS)
    assert found["properties"].keys() - item()["properties"].keys() == {
        "owner",
        "published",
        "updated",
        "expires",
    }
    links = {link["rel"]: link["href"] for link in found["links"]}
    assert links["self"].endswith(f"{ITEMS}/A")
    assert links["derived_from"] == "https://source.test/items/X"


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"properties": {"datetime": None}}, 403, "product:type"),
        ({"bbox": [AROUND[2], *AROUND[1:]]}, 400, "Inconsistent bbox"),
        ({"geometry": None}, 400, "geometry is null"),
        ({"assets": {"product": {"href": f"s3://{BUCKET}/nothing.zarr"}}}, 400, "available in S3"),
        ({"assets": {"product": {"href": "s3://other/ada/s2/A.zarr"}}}, 400, "available in S3"),
        ({"assets": {"product": {"href": f"https://h.test/{BUCKET}/A.zarr"}}}, 500, "NoSuchBucket"),
        ({"id": "a/b"}, 400, "cannot contain"),
        ({"links": None}, 400, "links"),
    ],
    ids=str,
)
def test_item_is_refused_in_one_form(
    client: httpx.Client,
    upstream_catalogue: UpstreamCatalogue,
    changes: dict[str, Any],
    status: int,
    words: str,
) -> None:
    answer = client.post(ITEMS, json=item() | changes)
    assert answer.status_code == status
    assert answer.json().keys() == {"code", "description"}
    assert words in answer.json()["description"]
    assert not upstream_catalogue.store.items


def test_item_needs_its_extensions_and_its_collection(client: httpx.Client) -> None:
    without = item()
    del without["stac_extensions"]
    answer = client.post(ITEMS, json=without)
    assert (answer.status_code, answer.json()["code"]) == (400, "BadRequest")
    assert "Missing key" in answer.json()["description"]
    answer = client.post("/catalog/collections/bob:s2/items", json=item())
    assert (answer.status_code, answer.json()["code"]) == (404, "NotFound")
    broken = client.post(ITEMS, content=b"{")
    assert (broken.status_code, broken.json()["code"]) == (500, "JSONDecodeError")


def test_clockwise_ring_is_refused(client: httpx.Client) -> None:
    turned = item()
    turned["geometry"]["coordinates"][0].reverse()
    answer = client.post(ITEMS, json=turned)
    assert answer.status_code == 400
    assert "counterclockwise" in answer.json()["description"]


def test_missing_bbox_is_made_and_no_place_is_a_place(client: httpx.Client) -> None:
    assert client.post(ITEMS, json=item(bbox=None)).json()["bbox"] == list(AROUND)
    assert client.post(ITEMS, json=item("B.zarr", bbox=None, geometry=None)).status_code == 201


def test_duplicate_is_a_conflict_and_a_missing_item_a_bad_request(client: httpx.Client) -> None:
    assert client.put(f"{ITEMS}/A", json=item()).status_code == 400
    client.post(ITEMS, json=item())
    assert client.post(ITEMS, json=item()).status_code == 409
    before = client.get(f"{ITEMS}/A").json()["properties"]
    moved = client.put(f"{ITEMS}/A", json=item(key="ada/s2/A.json"))
    assert moved.status_code == 200
    after = moved.json()
    assert after["properties"]["published"] == before["published"]
    assert "file:checksum" in after["assets"]["product"]
    patched = client.patch(f"{ITEMS}/A", json={"properties": {"platform": "x"}}).json()
    assert any("/ada_s2/" in link["href"] for link in patched["links"])


def test_delete_takes_the_objects_first(client: httpx.Client, upstream_catalogue: UpstreamCatalogue) -> None:
    client.post(ITEMS, json=item())
    gone = client.delete(f"{ITEMS}/A")
    assert (gone.status_code, gone.json()) == (200, {"deleted item": "A"})
    assert keys(upstream_catalogue) == ["ada/s2/A.json", "ada/s2/A.zarr.json"]
    assert client.delete(f"{ITEMS}/A").status_code == 404


@pytest.mark.parametrize("name", ["ada_s2", "ada:s2"])
def test_search_knows_a_collection_by_its_names(client: httpx.Client, name: str) -> None:
    client.post(ITEMS, json=item())
    query = {"collections": [name], "filter": {"op": "=", "args": [{"property": "owner"}, "ada"]}}
    (found,) = client.post("/catalog/search", json=query).json()["features"]
    assert (found["id"], found["collection"]) == ("A", "s2")
    text = {"collections": name, "filter": "id IN ('A','B')", "filter-lang": "cql2-text"}
    assert len(client.get("/catalog/search", params=text).json()["features"]) == 1
    assert client.post("/catalog/search", json={"collections": ["x"]}).status_code == 404


def test_asset_is_downloaded_by_redirect(client: httpx.Client) -> None:
    client.post(ITEMS, json=item(key="ada/s2/A.json"))
    answer = client.get(f"{ITEMS}/A/download/product")
    assert answer.status_code == 302
    assert httpx.get(answer.headers["Location"]).content == b"{}"
