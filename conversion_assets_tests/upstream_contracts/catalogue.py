"""What the upstream catalogue answers."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from conversion_assets_tests.upstream_contracts.world import Document, World, talking_to

SQUARE: Document = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}
CLOCKWISE: Document = {"type": "Polygon", "coordinates": [[[0, 0], [0, 1], [1, 1], [1, 0], [0, 0]]]}
BOW_TIE: Document = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}
SERVER_OWNED = {"owner", "published", "updated", "expires"}
SOURCE = {"rel": "derived_from", "href": "https://example.org/items/source", "type": "application/geo+json"}


class Shelf:
    """A new collection of the owner, and products for it in the object store."""

    def __init__(self, world: World, catalogue: httpx.Client) -> None:
        self.world = world
        self.catalogue = catalogue
        self.name = f"shelf{uuid4().hex[:12]}"
        self.folder = f"{world.owner}/{self.name}"
        self.address = f"/collections/{world.owner}:{self.name}"
        self.items = f"{self.address}/items"

    def make(self) -> httpx.Response:
        return self.catalogue.post("/collections", json=self.collection())

    def collection(self) -> Document:
        return {
            "id": self.name,
            "type": "Collection",
            "stac_version": "1.1.0",
            "description": "of a test",
            "license": "other",
            "links": [],
            "extent": {
                "spatial": {"bbox": [[0, 0, 1, 1]]},
                "temporal": {"interval": [["2024-01-01T00:00:00Z", None]]},
            },
        }

    def product(self, name: str) -> str:
        """Store a product of two objects and give its address."""
        key = f"{self.folder}/{name}.zarr"
        self.world.put(f"{key}/measurements/.zarray")
        return self.world.put(f"{key}/.zattrs").removesuffix("/.zattrs")

    def item(self, name: str, **changes: Any) -> Document:  # noqa: ANN401 - any member of an item
        item = {
            "id": name,
            "type": "Feature",
            "stac_version": "1.1.0",
            "stac_extensions": ["https://stac-extensions.github.io/eo/v1.1.0/schema.json"],
            "geometry": SQUARE,
            "bbox": [0, 0, 1, 1],
            "properties": {"datetime": "2024-01-01T00:00:00Z", "product:type": "S03OLCERR"},
            "links": [SOURCE, {"rel": "self", "href": "https://example.org/items/self"}],
            "assets": {"product": {"href": f"s3://{self.world.bucket}/{self.folder}/{name}.zarr"}},
            "collection": self.name,
        }
        return {**item, **changes}

    def post(self, item: Document) -> httpx.Response:
        return self.catalogue.post(self.items, json=item)

    def stored(self, name: str) -> Document:
        document: Document = self.catalogue.get(f"{self.items}/{name}").raise_for_status().json()
        return document


def without(item: Document, member: str) -> Document:
    return {name: value for name, value in item.items() if name != member}


def untyped(item: Document) -> Document:
    return {**item, "properties": without(item["properties"], "product:type")}


REFUSED: dict[str, tuple[Callable[[Document], Document], int, str, str]] = {
    "no product:type": (untyped, 403, "Forbidden", "'product:type' must be a non-empty string"),
    "no stac_extensions": (
        lambda item: without(item, "stac_extensions"),
        400,
        "BadRequest",
        "Missing key in request body! 'stac_extensions'",
    ),
    "product absent from S3": (
        lambda item: {**item, "assets": {"product": {"href": item["assets"]["product"]["href"] + "x.zarr"}}},
        400,
        "BadRequest",
        "Not all assets for item product are available in S3.",
    ),
    "other bbox": (lambda item: {**item, "bbox": [0, 0, 2, 2]}, 400, "BadRequest", "Inconsistent bbox"),
    "bbox without geometry": (
        lambda item: {**item, "geometry": None},
        400,
        "BadRequest",
        "bbox provided but geometry is null",
    ),
    "clockwise ring": (
        lambda item: {**item, "geometry": CLOCKWISE},
        400,
        "BadRequest",
        "counterclockwise",
    ),
    "ring that crosses itself": (
        lambda item: {**item, "geometry": BOW_TIE},
        400,
        "BadRequest",
        "Self-intersection",
    ),
}


class CatalogueContract:
    @pytest.fixture
    def catalogue(self, world: World) -> Iterator[httpx.Client]:
        with talking_to(world.catalogue) as client:
            yield client

    @pytest.fixture
    def shelf(self, world: World, catalogue: httpx.Client) -> Shelf:
        shelf = Shelf(world, catalogue)
        assert shelf.make().status_code == 201
        return shelf

    def test_collection_is_made_once(self, world: World, catalogue: httpx.Client) -> None:
        shelf = Shelf(world, catalogue)
        missing = catalogue.get(shelf.address)
        assert (missing.status_code, missing.json()["code"]) == (404, "NotFoundError")
        assert shelf.make().status_code == 201
        again = shelf.make()
        assert (again.status_code, again.json()) == (409, {"code": "ConflictError", "description": ""})

    def test_collection_is_read_by_owner_or_as_ones_own(self, shelf: Shelf) -> None:
        for address in (shelf.address, f"/collections/{shelf.name}"):
            answer = shelf.catalogue.get(address)
            assert answer.status_code == 200
            assert answer.json()["id"] == shelf.name
            assert answer.json()["owner"] == shelf.world.owner

    def test_collection_is_replaced(self, shelf: Shelf) -> None:
        longer = {**shelf.collection(), "extent": {**shelf.collection()["extent"]}}
        longer["extent"]["spatial"] = {"bbox": [[0, 0, 5, 5]]}
        assert shelf.catalogue.put(shelf.address, json=longer).status_code == 200
        assert shelf.catalogue.get(shelf.address).json()["extent"]["spatial"]["bbox"] == [[0, 0, 5, 5]]

    def test_item_needs_its_collection(self, world: World, catalogue: httpx.Client) -> None:
        shelf = Shelf(world, catalogue)
        shelf.product("product")
        answer = shelf.post(shelf.item("product"))
        assert (answer.status_code, answer.json()["code"]) == (404, "NotFound")
        assert answer.json()["description"] == f"Collection {shelf.name} does not exist."

    @pytest.mark.parametrize("case", REFUSED)
    def test_item_is_refused_with_the_reason(self, shelf: Shelf, case: str) -> None:
        change, status, code, words = REFUSED[case]
        shelf.product("product")
        answer = shelf.post(change(shelf.item("product")))
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert words in answer.json()["description"]
        assert answer.json().keys() == {"code", "description"}
        assert shelf.catalogue.get(f"{shelf.items}/product").status_code == 404

    def test_item_in_a_bucket_of_no_rule_is_refused(self, world: World, shelf: Shelf) -> None:
        bucket = f"elsewhere-{shelf.name}"
        location = {"LocationConstraint": world.s3.meta.region_name}
        world.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=location)
        href = world.put(f"{shelf.folder}/product.zarr/.zattrs", bucket=bucket).removesuffix("/.zattrs")
        answer = shelf.post(shelf.item("product", assets={"product": {"href": href}}))
        assert answer.status_code == 400
        assert answer.json()["description"] == "Not all assets for item product are available in S3."

    def test_body_that_is_no_json_is_an_error_of_the_server(self, shelf: Shelf) -> None:
        answer = shelf.catalogue.post(shelf.items, content=b"{", headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (500, "JSONDecodeError")

    def test_item_is_kept_as_sent_with_the_servers_own(self, shelf: Shelf) -> None:
        shelf.product("product")
        sent = shelf.item("product")
        answer = shelf.post(sent)
        assert answer.status_code == 201
        assert "location" not in answer.headers
        stored = shelf.stored("product")
        assert stored["properties"].keys() - sent["properties"].keys() == SERVER_OWNED
        assert stored["properties"]["owner"] == shelf.world.owner
        assert stored["stac_extensions"][:1] == sent["stac_extensions"]
        assert len(stored["stac_extensions"]) == 4
        assert stored["collection"] == shelf.name
        for member in ("geometry", "bbox", "assets", "id"):
            assert stored[member] == sent[member]

    def test_links_are_the_servers_except_foreign_ones(self, shelf: Shelf) -> None:
        shelf.product("product")
        shelf.post(shelf.item("product"))
        links = {link["rel"]: link["href"] for link in shelf.stored("product")["links"]}
        assert links.keys() == {"collection", "parent", "root", "self", "derived_from"}
        assert links["derived_from"] == SOURCE["href"]
        assert links["self"] == f"{shelf.world.catalogue}{shelf.items}/product"

    def test_box_is_computed_where_none_is_sent(self, shelf: Shelf) -> None:
        shelf.product("product")
        assert shelf.post(without(shelf.item("product"), "bbox")).status_code == 201
        assert shelf.stored("product")["bbox"] == [0, 0, 1, 1]

    def test_item_may_be_nowhere(self, shelf: Shelf) -> None:
        shelf.product("product")
        assert shelf.post(shelf.item("product", geometry=None, bbox=None)).status_code == 201
        stored = shelf.stored("product")
        assert (stored["geometry"], stored.get("bbox")) == (None, None)

    def test_checksum_of_an_object_is_what_s3_says(self, shelf: Shelf) -> None:
        href = shelf.world.put(f"{shelf.folder}/quicklook.png", b"content")
        sent = {"href": href, "file:checksum": "1220" + 64 * "0"}
        assert shelf.post(shelf.item("product", assets={"quicklook": sent})).status_code == 201
        crc = base64.b64encode(zlib.crc32(b"content").to_bytes(4, "big")).decode()
        assert shelf.stored("product")["assets"]["quicklook"] == {"href": href, "file:checksum": crc}

    def test_item_is_created_once(self, shelf: Shelf) -> None:
        shelf.product("product")
        shelf.post(shelf.item("product"))
        again = shelf.post(shelf.item("product"))
        assert again.status_code == 409
        description = f"The item product already exists in the {shelf.world.owner}_{shelf.name} collection"
        assert again.json() == {"code": "Conflict", "description": description}

    def test_item_is_replaced_with_its_time_of_publication(self, shelf: Shelf) -> None:
        shelf.product("product")
        shelf.post(shelf.item("product"))
        before = shelf.stored("product")
        changed = shelf.item("product", properties={**shelf.item("product")["properties"], "gsd": 300})
        assert shelf.catalogue.put(f"{shelf.items}/product", json=changed).status_code == 200
        after = shelf.stored("product")
        assert after["properties"]["gsd"] == 300
        assert after["properties"]["published"] == before["properties"]["published"]
        assert after["properties"]["updated"] > before["properties"]["updated"]

    def test_item_that_is_missing_is_not_replaced(self, shelf: Shelf) -> None:
        shelf.product("product")
        answer = shelf.catalogue.put(f"{shelf.items}/product", json=shelf.item("product"))
        assert (answer.status_code, answer.json()["code"]) == (400, "BadRequest")
        assert "does not exist" in answer.json()["description"]

    def test_item_that_moves_leaves_its_old_objects(self, shelf: Shelf) -> None:
        shelf.product("product")
        shelf.post(shelf.item("product"))
        moved = shelf.item("product", assets={"product": {"href": shelf.product("moved")}})
        assert shelf.catalogue.put(f"{shelf.items}/product", json=moved).status_code == 200
        assert shelf.catalogue.delete(f"{shelf.items}/product").status_code == 200
        left = [f"{shelf.folder}/product.zarr/{name}" for name in (".zattrs", "measurements/.zarray")]
        assert shelf.world.keys(shelf.folder) == left

    def test_item_is_deleted_with_its_objects(self, shelf: Shelf) -> None:
        shelf.product("product")
        shelf.post(shelf.item("product"))
        answer = shelf.catalogue.delete(f"{shelf.items}/product")
        assert (answer.status_code, answer.json()) == (200, {"deleted item": "product"})
        assert shelf.world.keys(shelf.folder) == []
        again = shelf.catalogue.delete(f"{shelf.items}/product")
        assert (again.status_code, again.json()["code"]) == (404, "NotFoundError")

    def test_item_id_may_end_like_a_file(self, shelf: Shelf) -> None:
        shelf.product("product")
        assets = shelf.item("product")["assets"]
        assert shelf.post(shelf.item("product.zarr", assets=assets)).status_code == 201
        assert shelf.stored("product.zarr")["id"] == "product.zarr"

    def test_search_finds_by_either_name(self, shelf: Shelf) -> None:
        shelf.product("product")
        shelf.post(shelf.item("product"))
        for name in (shelf.name, f"{shelf.world.owner}_{shelf.name}"):
            answer = shelf.catalogue.post("/search", json={"collections": [name], "ids": ["product"]})
            assert answer.status_code == 200
            assert [found["id"] for found in answer.json()["features"]] == ["product"]

    def test_search_in_an_unknown_collection_is_refused(self, catalogue: httpx.Client) -> None:
        answer = catalogue.post("/search", json={"collections": ["nowhere"]})
        assert (answer.status_code, answer.json()["code"]) == (404, "NotFound")
