from __future__ import annotations

from conversion_assets.resources.catalogue import collection_document, differences
from conversion_assets.stac.validation import validate_collection
from conversion_assets_tests.resources.items import SPEC, item


def test_differences_are_named() -> None:
    sent, found = item(), item(href="s3://elsewhere/x.zarr")
    found["properties"]["datetime"] = "2000-01-01T00:00:00Z"
    found["links"] = [{"rel": "root", "href": "./catalog.json"}]
    found["bbox"] = [0, 0, 1, 1]
    assert differences(sent, found) == ("assets.product", "bbox", "links", "properties.datetime")
    assert differences(sent, item()) == ()


def test_points_in_time_are_equal_however_they_are_written() -> None:
    sent, found = item(), item()
    sent["properties"]["created"] = "2024-06-15T10:25:59.024Z"
    found["properties"]["created"] = "2024-06-15T12:25:59.024000+02:00"
    assert differences(sent, found) == ()
    found["properties"]["created"] = "2024-06-15T12:25:59.025+02:00"
    assert differences(sent, found) == ("properties.created",)


def test_what_a_catalogue_may_stamp_counts_only_where_it_is_given_back() -> None:
    sent, found = item(), item()
    sent["properties"]["updated"] = "2024-06-15T10:25:59Z"
    assert differences(sent, found) == ()
    assert differences(found, sent) == ("properties.updated",)


def test_collection_of_a_first_item_is_valid() -> None:
    document = collection_document(SPEC, item())
    validate_collection(document)
    assert document["extent"]["spatial"]["bbox"] == [item()["bbox"]]
