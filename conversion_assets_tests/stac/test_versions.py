from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from conversion_assets.errors import PermanentError
from conversion_assets.stac.validation import validate_item
from conversion_assets.stac.versions import (
    EarlierVersion,
    carried_over,
    earlier_version,
    linked_id,
    moved,
    preceded_by,
    succeeding,
    superseded,
    version_number,
)
from conversion_assets_tests.resources.items import item

HERE = "https://catalogue.test/collections/c/items"
EXPIRES = datetime(2031, 1, 2, 3, 4, 5, tzinfo=UTC)


def placed(document: dict[str, Any]) -> dict[str, Any]:
    link = {"rel": "self", "href": f"{HERE}/{document['id']}", "type": "application/geo+json"}
    return {**document, "links": [*document["links"], link]}


def version(number: int) -> dict[str, Any]:
    return placed(superseded(placed(item("A")), number, f"{HERE}/A", EXPIRES))


def test_versions_are_valid_and_known_for_what_they_are() -> None:
    earlier = version(1)
    current = succeeding(item("A"), 2, earlier)
    for document in (earlier, current):
        validate_item(document)
    assert earlier_version(earlier) == EarlierVersion("A", 1, EXPIRES)
    assert earlier_version(current) is None
    assert (version_number(earlier), version_number(current), version_number(item())) == (1, 2, 1)
    assert linked_id(current, "predecessor-version") == "A.v1"


@pytest.mark.parametrize(
    "changed",
    [
        *({"version": value} for value in (1, "2", None)),
        *({"deprecated": value} for value in (False, "true", None)),
        *({"expires": value} for value in (None, "soon", "2031-01-02T03:04:05", 7)),
    ],
)
def test_what_lacks_a_mark_is_no_version(changed: dict[str, Any]) -> None:
    earlier = version(1)
    earlier["properties"] |= changed
    assert earlier_version(earlier) is None


@pytest.mark.parametrize(
    "name", ["A", "A.v0", "A.v01", "A.v", "v1", ".v1", "A.v1.x", "../A.v1", "A b.v1", "A...v1"]
)
def test_what_has_another_id_is_no_version(name: str) -> None:
    assert earlier_version({**version(1), "id": name}) is None


def test_what_links_elsewhere_is_no_version() -> None:
    for rel in ("successor-version", "latest-version"):
        earlier = version(1)
        links = [link for link in earlier["links"] if link["rel"] != rel]
        assert earlier_version({**earlier, "links": links}) is None
        assert earlier_version({**earlier, "links": [*links, {"rel": rel, "href": f"{HERE}/B"}]}) is None
        assert earlier_version({**earlier, "links": [*links, {"rel": rel}]}) is None


def moved_to(there: str) -> dict[str, Any]:
    return placed(moved(placed(item("A")), 3, f"{there}/A", EXPIRES))


def test_item_that_moved_is_known_by_its_successor_in_another_place() -> None:
    there = "https://catalogue.test/collections/other/items"
    document = moved_to(there)
    validate_item(document)
    told = earlier_version(document)
    assert told == EarlierVersion("A", 3, EXPIRES, has_moved=True)
    assert told.item_id == "A"
    assert EarlierVersion("A", 3, EXPIRES).item_id == "A.v3"
    assert earlier_version(preceded_by(document, version(2))) == told
    for changed in ({"deprecated": False}, {"expires": None}, {"version": None}, {"version": "x"}):
        properties = document["properties"] | changed
        assert earlier_version({**document, "properties": properties}) is None


def test_item_that_moved_may_have_a_successor_of_another_id() -> None:
    document = placed(moved(placed(item("A")), 1, f"{HERE}/B", EXPIRES))
    validate_item(document)
    assert earlier_version(document) == EarlierVersion("A", 1, EXPIRES, has_moved=True)
    assert {link["title"] for link in document["links"] if link["rel"].endswith("-version")} == {"B"}


def test_item_that_leads_to_itself_or_to_two_has_not_moved() -> None:
    assert earlier_version(moved_to(HERE)) is None
    assert earlier_version({**moved_to("https://catalogue.test/other"), "id": "B"}) is None
    for rel in ("self", "successor-version", "latest-version"):
        document = moved_to("https://catalogue.test/other")
        links = [link for link in document["links"] if link["rel"] != rel]
        assert earlier_version({**document, "links": links}) is None
        assert earlier_version({**document, "links": [*links, {"rel": rel, "href": f"{HERE}/B"}]}) is None


def test_history_is_carried_over_once() -> None:
    current = placed(succeeding(item("A"), 2, version(1)))
    again = carried_over(carried_over(item("A"), current), item("A"))
    assert linked_id(again, "predecessor-version") == "A.v1"
    assert version_number(again) == 2
    assert carried_over(item("A"), item("A")) == item("A")
    older = preceded_by(again, version(7))
    assert linked_id(older, "predecessor-version") == "A.v7"
    assert linked_id(preceded_by(older, None), "predecessor-version") is None
    validate_item(older)


@pytest.mark.parametrize(
    "wrong",
    [{"version": 1}, {"deprecated": "yes"}, {"experimental": 0}, {"expires": "soon"}, {"published": 5}],
)
def test_fields_of_versions_are_validated(wrong: dict[str, Any]) -> None:
    earlier = version(1)
    earlier["properties"] |= wrong
    with pytest.raises(PermanentError, match=next(iter(wrong))):
        validate_item(earlier)
