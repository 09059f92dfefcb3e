from __future__ import annotations

import copy
import socket
import subprocess
import sys
from typing import Any, NoReturn

import pystac
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_assets.errors import PermanentError
from conversion_assets.stac.item import EXTENSIONS
from conversion_assets.stac.validation import (
    bundled_schemas,
    validate_catalog,
    validate_collection,
    validate_item,
)
from conversion_assets_tests.stac.test_item import document_of, json_values

PROJECTION = EXTENSIONS["proj"]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("validation reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def _item(**properties: object) -> dict[str, Any]:
    document = document_of("s2_msi_l1c")
    document["properties"] |= properties
    return document


def _collection() -> dict[str, Any]:
    world = pystac.SpatialExtent([[-180.0, -90.0, 180.0, 90.0]])
    extent = pystac.Extent(world, pystac.TemporalExtent([None, None]))
    return pystac.Collection("c", "Some products.", extent).to_dict(include_self_link=False)


def test_every_extension_of_ours_is_bundled() -> None:
    assert set(EXTENSIONS.values()) <= bundled_schemas()


def test_validation_does_not_import_eopf() -> None:
    code = (
        "import sys\n"
        "from conversion_assets.stac import validation\n"
        "validation.bundled_schemas()\n"
        "print('eopf' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("properties", "path"),
    [
        ({"gsd": "10"}, "properties/gsd"),
        ({"datetime": "yesterday"}, "properties/datetime"),
        ({"created": "2024-06-15T10:00:00"}, "properties/created"),
        ({"eo:cloud_cover": 101}, "properties/eo:cloud_cover"),
        ({"sat:orbit_state": "sideways"}, "properties/sat:orbit_state"),
        ({"product:timeliness": "soon"}, "properties/product:timeliness"),
        ({"proj:bbox": [1, 2]}, "properties/proj:bbox"),
        ({"eopf:type": "S02MSIL1C"}, "properties"),
    ],
)
def test_violation_is_named_with_its_path(properties: dict[str, Any], path: str) -> None:
    with pytest.raises(PermanentError) as caught:
        validate_item(_item(**properties))
    assert f"{path}: " in caught.value.rule


def test_every_violation_is_listed() -> None:
    with pytest.raises(PermanentError, match=r"breaks 2 rule") as caught:
        validate_item(_item(gsd="10", **{"eo:cloud_cover": -1}))
    assert "properties/gsd" in caught.value.rule
    assert "properties/eo:cloud_cover" in caught.value.rule


@pytest.mark.parametrize("value", ["ten", -1, 1.5])
def test_sizes_are_checked(value: object) -> None:
    document = _item()
    document["assets"]["product"]["file:size"] = value
    with pytest.raises(PermanentError, match="assets/product/file:size"):
        validate_item(document)


def test_unknown_field_of_the_file_extension_is_a_violation() -> None:
    document = _item()
    document["assets"]["product"]["file:objects"] = 3
    with pytest.raises(PermanentError, match="file:objects"):
        validate_item(document)


def test_unbundled_extension_is_an_error_and_no_fetch() -> None:
    document = _item()
    document["stac_extensions"].append("https://example.com/v1.0.0/schema.json")
    with pytest.raises(PermanentError, match=r"no schema is bundled for 'https://example\.com"):
        validate_item(document)


def test_unbundled_reference_is_an_error_and_no_fetch() -> None:
    with pytest.raises(PermanentError, match=r"not bundled \(https://proj\.org"):
        validate_item(_item(**{"proj:projjson": {"type": "GeographicCRS"}}))


def test_item_is_not_changed_by_validation() -> None:
    document = _item()
    before = copy.deepcopy(document)
    validate_item(document)
    assert document == before


def test_broken_geometry_is_a_violation() -> None:
    document = _item() | {"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}}
    with pytest.raises(PermanentError, match="geometry"):
        validate_item(document)


@given(
    json_values, st.sampled_from(["id", "links", "assets", "stac_extensions", "bbox", "properties", "type"])
)
def test_no_document_breaks_the_validator(value: object, field: str) -> None:
    document = _item() | {field: value}
    try:
        validate_item(document)
    except PermanentError as error:
        assert error.rule.startswith("breaks ")  # noqa: PT017 - both outcomes are right, other errors are not


def test_collection_and_catalogue_are_checked() -> None:
    validate_collection(_collection())
    validate_catalog(pystac.Catalog("root", "All products.").to_dict(include_self_link=False))
    with pytest.raises(PermanentError, match="'license' is a required property"):
        validate_collection({key: value for key, value in _collection().items() if key != "license"})
    with pytest.raises(PermanentError, match="must be 'Catalog', not 'Collection'"):
        validate_catalog(_collection())
