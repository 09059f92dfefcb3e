from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pystac_client
import pytest

from conversion_assets_tests.peers.serving import Trouble
from conversion_assets_tests.peers.stac_api import StacApi
from conversion_assets_tests.resources.items import SPEC, START, item, text

COLLECTION = {
    "type": "Collection",
    "stac_version": "1.1.0",
    "id": SPEC.id,
    "description": "Products",
    "license": "other",
    "extent": {
        "spatial": {"bbox": [[10.0, 45.0, 11.0, 46.0]]},
        "temporal": {"interval": [[text(START), None]]},
    },
    "links": [],
}
ITEMS = f"/collections/{SPEC.id}/items"
CONFLICT = {"code": "ConflictError", "description": ""}


@pytest.fixture
def client(stac_api: StacApi) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stac_api.url) as client:
        yield client


@pytest.fixture
def collection(client: httpx.Client) -> str:
    assert client.post("/collections", json=COLLECTION).status_code == 201
    return ITEMS


def test_item_is_created_once_and_replaced_or_patched_afterwards(
    client: httpx.Client, collection: str
) -> None:
    assert client.put(f"{collection}/A", json=item("A")).json()["code"] == "NotFoundError"
    made = client.post(collection, json=item("A"))
    assert (made.status_code, made.headers.get("Location")) == (201, None)
    again = client.post(collection, json=item("A"))
    assert (again.status_code, again.json()) == (409, CONFLICT)
    changed = item("A", href="s3://bucket/other.zarr")
    assert client.put(f"{collection}/A", json=changed).status_code == 200
    assert client.patch(f"{collection}/A", json={"properties": {"platform": "x"}}).status_code == 200
    found = client.get(f"{collection}/A").json()
    assert found["assets"] == changed["assets"]
    assert found["properties"]["platform"] == "x"


def test_links_are_made_anew_and_others_kept(
    client: httpx.Client, collection: str, stac_api: StacApi
) -> None:
    sent = item("A")
    sent["links"].append({"rel": "self", "href": "https://source.test/self"})
    client.post(collection, json=sent)
    links = {link["rel"]: link["href"] for link in client.get(f"{collection}/A").json()["links"]}
    here = f"{stac_api.url}/collections/{SPEC.id}"
    assert links == {
        "collection": here,
        "parent": here,
        "root": f"{stac_api.url}/",
        "self": f"{here}/items/A",
        "derived_from": "https://source.test/items/X",
    }


def test_times_come_back_normalised(client: httpx.Client, collection: str) -> None:
    sent = item("A")
    sent["properties"] |= {
        "datetime": "2024-06-15T12:25:59.024+02:00",
        "published": "2024-06-15T12:00:00.5+02:00",
    }
    client.post(collection, json=sent)
    found = client.get(f"{collection}/A").json()["properties"]
    assert found["datetime"] == "2024-06-15T10:25:59.024000Z"
    assert found["published"] == sent["properties"]["published"]


def test_deletes_tell_the_id_and_then_404(client: httpx.Client, collection: str) -> None:
    client.post(collection, json=item("A"))
    gone = client.delete(f"{collection}/A")
    assert (gone.status_code, gone.json()) == (200, {"deleted item": "A"})
    assert client.delete(f"{collection}/A").status_code == 404


@pytest.mark.usefixtures("collection")
def test_collection_is_created_once_and_replaced(client: httpx.Client) -> None:
    again = client.post("/collections", json=COLLECTION)
    assert (again.status_code, again.json()) == (409, CONFLICT)
    wider = COLLECTION | {"title": "T"}
    assert client.put(f"/collections/{SPEC.id}", json=wider).status_code == 200
    assert client.get(f"/collections/{SPEC.id}").json()["title"] == "T"
    assert client.put("/collections/other", json=COLLECTION | {"id": "other"}).status_code == 404


def test_item_of_a_missing_collection_breaks_the_connection(stac_api: StacApi) -> None:
    with httpx.Client(base_url=stac_api.url) as client:
        answer = client.post(ITEMS, json=item("A"))
        assert (answer.status_code, answer.json()["code"]) == (500, "CheckViolationError")
        with pytest.raises(httpx.ReadError):
            client.get("/conformance")
        assert client.get("/conformance").status_code == 200


def test_newer_server_says_nothing_of_a_missing_collection(stac_api: StacApi) -> None:
    stac_api.plain_crashes = True
    with httpx.Client(base_url=stac_api.url) as client:
        assert client.post(ITEMS, json=item("A")).text == "Internal Server Error"
        with pytest.raises(httpx.ReadError):
            client.get("/conformance")


def test_nulls_do_not_come_back(client: httpx.Client, collection: str) -> None:
    sent = item("A")
    sent["properties"] |= {"datetime": None, "x": {"y": None}}
    sent["assets"]["product"]["title"] = None
    client.post(collection, json=sent)
    found = client.get(f"{collection}/A").json()
    assert found["properties"].keys() == {"start_datetime", "end_datetime", "x"}
    assert found["properties"]["x"] == {}
    assert "title" not in found["assets"]["product"]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"geometry": "nowhere"}, ["body", "Item", "geometry"]),
        ({"properties": {}}, ["body", "Item", "properties", "datetime"]),
        ({"assets": None}, ["body", "Item", "assets"]),
        ({"id": ""}, ["body", "Item", "id"]),
        ({"bbox": None}, ["body", "Item"]),
    ],
)
def test_malformed_item_is_refused_with_its_place(
    client: httpx.Client, collection: str, change: dict[str, Any], where: list[str]
) -> None:
    answer = client.post(collection, json=item("A") | change)
    assert answer.status_code == 400
    assert answer.json()["detail"][0]["loc"] == where


@pytest.mark.parametrize(
    "change", [{"id": "a:b"}, {"collection": "other"}, {"geometry": None, "bbox": None}], ids=str
)
def test_item_that_does_not_fit_is_refused_in_words(
    client: httpx.Client, collection: str, change: dict[str, Any]
) -> None:
    answer = client.post(collection, json=item("A") | change)
    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], str)


def test_collection_id_with_owner_is_refused(client: httpx.Client) -> None:
    assert client.post("/collections", json=COLLECTION | {"id": "owner:c"}).status_code == 400


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_search_pages_by_token(client: httpx.Client, collection: str, method: str) -> None:
    for name in "ABC":
        client.post(collection, json=item(name))
    query: dict[str, Any] = {"collections": [SPEC.id], "ids": ["A", "C"], "limit": 1}
    if method == "POST":
        page = client.post("/search", json=query).json()
    else:
        page = client.get("/search", params={"collections": SPEC.id, "ids": "A,C", "limit": 1}).json()
    link = next(link for link in page["links"] if link["rel"] == "next")
    rest = client.request(link["method"], link["href"], json=link.get("body")).json()
    assert [found["id"] for found in page["features"] + rest["features"]] == ["C", "A"]
    assert not [link for link in rest["links"] if link["rel"] == "next"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"collections": ["unknown"]}, []),
        ({"limit": 20_000}, ["B", "A"]),
        ({"filter": {"op": ">", "args": [{"property": "updated"}, "2024-01-01T00:00:00Z"]}}, ["B"]),
        ({"filter": {"op": "=", "args": [{"property": "unknown"}, 1]}}, []),
        ({"sortby": [{"field": "id", "direction": "asc"}]}, ["A", "B"]),
        ({"bbox": [20, 40, 21, 41]}, []),
        ({"datetime": "2024-06-15T00:00:00Z/.."}, ["B", "A"]),
        ({"datetime": "../2024-06-14T00:00:00Z"}, []),
    ],
    ids=str,
)
def test_search_finds(client: httpx.Client, collection: str, query: dict[str, Any], found: list[str]) -> None:
    newer = item("B")
    newer["properties"]["updated"] = "2024-02-01T00:00:00.000Z"
    client.post(collection, json={"type": "FeatureCollection", "features": [item("A"), newer]})
    answer = client.post("/search", json=query)
    assert [one["id"] for one in answer.json()["features"]] == found


def test_search_by_text_is_for_get_only(client: httpx.Client, collection: str) -> None:
    for name in "AB":
        client.post(collection, json=item(name))
    query = {"filter": "id IN ('A') AND datetime > '2024-01-01T00:00:00Z'", "filter-lang": "cql2-text"}
    assert [one["id"] for one in client.get("/search", params=query).json()["features"]] == ["A"]
    assert client.post("/search", json=query).status_code == 400


@pytest.mark.parametrize("query", [{"limit": 0}, {"datetime": "now"}, {"bbox": [1, 2]}], ids=str)
def test_senseless_search_is_refused(client: httpx.Client, query: dict[str, Any]) -> None:
    assert client.post("/search", json=query).status_code == 400


def test_unknown_operator_is_a_crash(client: httpx.Client, collection: str) -> None:
    client.post(collection, json=item("A"))
    assert client.post("/search", json={"filter": {"op": "?", "args": []}}).json()["code"] == "RaiseError"


def test_another_client_reads_it(client: httpx.Client, collection: str, stac_api: StacApi) -> None:
    client.post(collection, json=item("A"))
    found = pystac_client.Client.open(stac_api.url).search(collections=[SPEC.id], limit=1)
    assert [one["id"] for one in found.items_as_dicts()] == ["A"]


def test_troubles_are_had_in_order_and_then_over(client: httpx.Client, stac_api: StacApi) -> None:
    stac_api.add(Trouble(status=429, headers={"Retry-After": "1"}, times=2, path="/conformance"))
    stac_api.add(Trouble(status=503, body={"detail": "busy"}))
    assert client.get("/").json() == {"detail": "busy"}
    answers = [client.get("/conformance") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["Retry-After"] == "1"
    assert len(stac_api.received("GET", "/conformance")) == 3


@pytest.mark.parametrize("after_work", [False, True])
def test_connection_is_reset_before_or_after_the_work(
    client: httpx.Client, collection: str, stac_api: StacApi, *, after_work: bool
) -> None:
    stac_api.add(Trouble(reset=True, after_work=after_work, method="POST"))
    with pytest.raises(httpx.ReadError):
        client.post(collection, json=item("A"))
    assert bool(stac_api.store.items) is after_work


def test_answer_is_cut_in_the_middle(client: httpx.Client, stac_api: StacApi) -> None:
    stac_api.add(Trouble(cut_after=10))
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/conformance")


def test_answer_is_held_back(client: httpx.Client, stac_api: StacApi) -> None:
    stac_api.add(Trouble(seconds=30))
    with pytest.raises(httpx.ReadTimeout):
        client.get("/conformance", timeout=0.2)


def test_credentials_are_demanded(client: httpx.Client, stac_api: StacApi) -> None:
    stac_api.credentials = {"x-api-key": "right", "authorization": "Bearer right"}
    assert client.get("/", headers={"x-api-key": "wrong"}).status_code == 401
    assert client.get("/", headers={"Authorization": "Bearer right"}).status_code == 200
    assert client.get("/", headers={"X-API-Key": "right"}).status_code == 200
