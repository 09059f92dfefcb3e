from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_assets.errors import OrderError
from conversion_assets.stac.checksums import Checksum
from conversion_assets.stac.documents import MAX_DOCUMENT_BYTES, SourceItem, parse_document, select_asset
from conversion_assets_tests.stac.test_item import json_values

BASE = "https://catalogue.test/collections/c/items/X"
NAME = "S2B_MSIL1C_20240615T102559_N0510_R108_T32TLR_20240615T132559"


def feature(**changes: object) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": NAME,
        "geometry": None,
        "properties": {"datetime": "2024-06-15T10:25:59Z", "product:type": "S2MSI1C"},
        "links": [],
        "assets": {
            "thumbnail": {"href": "./quicklook.jpg", "type": "image/jpeg", "roles": ["thumbnail"]},
            "product": {"href": "./X.SAFE.zip", "type": "application/zip", "roles": ["data", "archive"]},
        },
    } | changes


def parse_one(document: object, base: str = BASE) -> SourceItem:
    (item,) = parse_document(json.dumps(document), base)
    return item


def with_assets(**hrefs: str) -> SourceItem:
    return parse_one(feature(assets={key: {"href": href} for key, href in hrefs.items()}))


def test_item_is_read() -> None:
    item = parse_one(feature())
    assert item.id == NAME
    assert item.product_type == "S2MSI1C"
    assert item.datetime == datetime(2024, 6, 15, 10, 25, 59, tzinfo=UTC)
    assert item.updated is None
    assert item.self_href == BASE
    assert item.assets["product"].href == "https://catalogue.test/collections/c/items/X.SAFE.zip"
    assert item.assets["product"].roles == ("data", "archive")
    assert item.refused == {}


def test_bare_feature_and_bytes_with_byte_order_mark_are_read() -> None:
    text = json.dumps({"type": "Feature", "id": "X", "geometry": None}).encode("utf-8-sig")
    (item,) = parse_document(text, BASE)
    assert (item.id, item.assets) == ("X", {})


@given(st.lists(st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,30}\Z"), min_size=1, max_size=20, unique=True))
def test_collection_of_n_features_is_n_items_in_order(ids: list[str]) -> None:
    features = [feature(id=name) for name in ids]
    items = parse_document(json.dumps({"type": "FeatureCollection", "features": features}), BASE)
    assert [item.id for item in items] == ids


def test_relative_references_resolve_against_an_absolute_self_link() -> None:
    links = [{"rel": "self", "href": "s3://archive/2024/X.json"}]
    item = parse_one(feature(links=links), base="/inbox/X.json")
    assert item.self_href == "s3://archive/2024/X.json"
    assert item.assets["product"].href == "s3://archive/2024/X.SAFE.zip"


def test_relative_self_link_is_no_base() -> None:
    item = parse_one(feature(links=[{"rel": "self", "href": "./X.json"}]), base="/inbox/item.json")
    assert item.self_href == "/inbox/item.json"
    assert item.assets["product"].href == "/inbox/X.SAFE.zip"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "an empty document"),
        (b"<!DOCTYPE html><html></html>", "an HTML page"),
        (b"<?xml version='1.0'?><a/>", "XML, not JSON"),
        (b"hello", "not JSON"),
        (b"\xff\xfe\x00", "binary data"),
        (b"[1]", "JSON, but a list"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"type": "Catalog", "id": "c"}', "a STAC Catalog"),
        (b'{"type": "Collection", "id": "c"}', "a STAC Collection"),
        (b'{"type": "Polygon", "coordinates": []}', "a GeoJSON geometry"),
        (b'{"code": "NotFound", "description": "no such item"}', "error 'NotFound' of a server"),
        (b'{"type": "FeatureCollection", "features": []}', "empty"),
        (b'{"type": "FeatureCollection", "features": {}}', "not a list"),
        (b'{"type": "FeatureCollection", "features": [{"type": "Catalog"}]}', "no GeoJSON feature"),
        (b" " * (MAX_DOCUMENT_BYTES + 1), "larger than"),
    ],
)
def test_other_documents_are_called_by_their_name(text: bytes, says: str) -> None:
    with pytest.raises(OrderError, match=says):
        parse_document(text, BASE)


@pytest.mark.parametrize(
    "bad", ["", "../x", "a/b", "a b", ".hidden", "a...b", "x" * 201, "é", "a\n", 7, None]
)
def test_unfit_ids_are_refused(bad: object) -> None:
    with pytest.raises(OrderError, match="an item id has"):
        parse_one(feature(id=bad))


def test_repeated_ids_are_refused() -> None:
    document = {"type": "FeatureCollection", "features": [feature(), feature()]}
    with pytest.raises(OrderError, match="two features have the id"):
        parse_one(document)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"assets": []}, "assets are a list"),
        ({"properties": "none"}, "properties are a str"),
        ({"properties": {"updated": "yesterday"}}, "updated 'yesterday' is no RFC 3339 time"),
        ({"properties": {"datetime": "2024-06-15T10:25:59"}}, "with a time zone"),
        ({"properties": {"product:type": 5}}, "product:type is not a short text"),
        ({"links": [{"rel": "self", "href": "javascript:alert(1)"}]}, "scheme 'javascript' is not allowed"),
    ],
)
def test_malformed_items_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(OrderError, match=says):
        parse_one(feature(**changes))


@pytest.mark.parametrize(
    ("href", "says"),
    [
        ("ftp://host/X.zip", "scheme 'ftp' is not allowed"),
        ("javascript:alert(1)", "scheme 'javascript' is not allowed"),
        ("data:application/zip;base64,AAAA", "scheme 'data' is not allowed"),
        ("http://host/X.zip", "scheme 'http' is not allowed"),
        ("https://user:hunter2@host/X.zip", "a user name or password"),
        ("file:///etc/passwd", "not local names a local file"),
        ("/etc/passwd\n", "control characters"),
        ("https://host\\@evil/X.zip", "backslashes"),
        ("https:///X.zip", "no host or bucket"),
        ("https://host:port/X.zip", "cannot be read"),
        ("", "empty"),
    ],
)
def test_hostile_references_are_refused_when_chosen(href: str, says: str) -> None:
    item = with_assets(product=href)
    assert item.assets == {}
    with pytest.raises(OrderError, match=says) as caught:
        select_asset(item)
    assert "hunter2" not in str(caught.value)


def test_remote_document_cannot_claim_to_be_local() -> None:
    links = [{"rel": "self", "href": "file:///inbox/X.json"}]
    with pytest.raises(OrderError, match="not local names a local file"):
        parse_one(feature(links=links))


def test_unwanted_asset_does_not_spoil_the_order() -> None:
    item = with_assets(thumbnail="http://host/quicklook.jpg", product="https://host/X.zip")
    assert select_asset(item).key == "product"
    assert set(item.refused) == {"thumbnail"}


def test_http_may_be_allowed() -> None:
    document = feature(assets={"product": {"href": "http://localhost:8080/X.zip"}})
    (item,) = parse_document(json.dumps(document), BASE, schemes=("http",))
    assert item.assets["product"].href == "http://localhost:8080/X.zip"


@pytest.mark.parametrize(
    ("assets", "chosen"),
    [
        ({"product": "https://h/a", "other": "https://h/b.zip"}, "product"),
        ({"PRODUCT": "https://h/a", "other": "https://h/b.zip"}, "PRODUCT"),
        ({f"{NAME}.SAFE.zip": "https://h/a", "other": "https://h/b.zip"}, f"{NAME}.SAFE.zip"),
        ({NAME: "https://h/a", "manifest": "https://h/b.xml"}, NAME),
        ({"archive": "s3://b/x.tar.zst", "thumbnail": "s3://b/x.png"}, "archive"),
        ({"folder": "s3://b/X.SEN3/", "thumbnail": "s3://b/x.png"}, "folder"),
        ({"zip": "https://h/x.zip?sig=1", "manifest": "https://h/b.xml"}, "zip"),
    ],
)
def test_default_asset_is_the_product(assets: dict[str, str], chosen: str) -> None:
    assert select_asset(with_assets(**assets)).key == chosen


def test_role_data_decides_between_archives() -> None:
    assets = {
        "auxiliary": {"href": "s3://b/a.zip", "roles": ["metadata"]},
        "delivery": {"href": "s3://b/download", "type": "application/zip; charset=binary", "roles": ["data"]},
    }
    assert select_asset(parse_one(feature(assets=assets))).key == "delivery"


@pytest.mark.parametrize(
    ("assets", "says"),
    [
        ({}, r"no asset looks like the product; assets: none"),
        ({"a": "s3://b/a.png"}, "no asset looks like the product; assets: a"),
        ({"a": "s3://b/a.zip", "b": "s3://b/b.zip"}, r"several assets may be the product \(a, b\)"),
    ],
)
def test_nothing_or_ambiguity_names_the_way_out(assets: dict[str, str], says: str) -> None:
    with pytest.raises(OrderError, match=says) as caught:
        select_asset(with_assets(**assets))
    assert "--asset KEY" in caught.value.way_out


def test_keys_are_tried_in_order() -> None:
    item = with_assets(a="s3://b/a.zip", b="s3://b/b.zip")
    assert select_asset(item, ("none", "b", "a")).key == "b"
    with pytest.raises(OrderError, match="it has no asset x or y; assets: a, b"):
        select_asset(item, ("x", "y"))


def test_size_checksum_and_local_path_are_read() -> None:
    asset = {
        "href": "./X.zip",
        "file:size": 5,
        "file:checksum": "d50110" + "ab" * 16,
        "file:local_path": "X.SAFE/manifest.safe",
    }
    read = parse_one(feature(assets={"product": asset})).assets["product"]
    assert (read.size, read.local_path) == (5, "X.SAFE/manifest.safe")
    assert read.checksum == Checksum(algorithm="md5", digest="ab" * 16)


def test_entity_tag_in_place_of_a_checksum_is_remarked() -> None:
    asset = {"href": "./X.zip", "file:checksum": "9bb58f26192e4ba00f01e2e7b136bbd8-2"}
    read = parse_one(feature(assets={"product": asset})).assets["product"]
    assert read.checksum is None
    assert "file:checksum was left out" in read.remarks[0]


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b", "a/./b", "c:\\x", "c:x", "a\nb", "", 5])
def test_hostile_local_paths_are_refused(path: object) -> None:
    item = parse_one(feature(assets={"product": {"href": "./X.zip", "file:local_path": path}}))
    assert "file:local_path" in item.refused["product"]


@pytest.mark.parametrize("size", [-1, 1.5, "5", True])
def test_impossible_sizes_are_refused(size: object) -> None:
    item = parse_one(feature(assets={"product": {"href": "./X.zip", "file:size": size}}))
    assert "file:size" in item.refused["product"]


@given(
    json_values, st.sampled_from(["type", "id", "properties", "links", "assets", "features"]), st.booleans()
)
def test_garbage_is_read_or_refused(value: object, field: str, nested: bool) -> None:
    document: dict[str, Any] = feature() | {field: value}
    if nested:
        document = {"type": "FeatureCollection", "features": [document]}
    try:
        items = parse_document(json.dumps(document), BASE)
    except OrderError:
        return
    assert all(asset.href.startswith("https://") for item in items for asset in item.assets.values())


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_random_text_is_refused(text: bytes | str) -> None:
    with pytest.raises(OrderError):
        parse_document(text, BASE)


def test_saved_search_result_may_point_at_local_copies() -> None:
    feature = {
        "type": "Feature",
        "id": "X",
        "links": [{"rel": "self", "href": "https://catalogue.test/items/X"}],
        "assets": {"product": {"href": "file:///data/X.zip"}},
    }
    (item,) = parse_document(json.dumps(feature), "/saved/X.json")
    assert select_asset(item).href == "/data/X.zip"
    assert item.self_href == "https://catalogue.test/items/X"
    (item,) = parse_document(json.dumps(feature), "https://catalogue.test/items/X")
    assert list(item.refused) == ["product"]
