from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pystac
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_assets.errors import PoisonedInputError
from conversion_assets.stac.assets import ZARR_MEDIA_TYPE, measurement_keys
from conversion_assets.stac.geometry import footprint_from_ring
from conversion_assets.stac.item import EXTENSIONS, SourceLink, build_item
from conversion_assets.stac.validation import validate_item
from conversion_assets.zarr.summary import ProductSummary

DATA = Path(__file__).parent / "data"
PRODUCTS = ("s1_iw_grd", "s2_msi_l1c", "s3_olci_efr")
START = datetime(2024, 6, 15, 10, 25, 59, 24000, tzinfo=UTC)

json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8) | st.just("null"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)


def summary(name: str) -> ProductSummary:
    return ProductSummary.model_validate_json((DATA / f"{name}.json").read_text())


def item_of(product: ProductSummary, **changes: object) -> pystac.Item:
    facts: dict[str, Any] = {
        "product": product,
        "href": f"s3://bucket/collection/{product.name}.zarr",
        "collection": "sentinel-products",
        "footprint": footprint_from_ring([(6, 45), (7, 45), (7, 46), (6, 46)]),
        "start": START,
        "end": START + timedelta(seconds=25),
        "source": SourceLink(
            href="https://catalogue.test/items/X", title="X", media_type="application/geo+json"
        ),
        "safe_name": "X.SAFE",
        "facility": "Test Facility",
        "eopf_version": "2.8.1",
        "created": START + timedelta(days=1),
        "updated": START + timedelta(days=2),
        "owner": "someone",
    }
    return build_item(**(facts | changes))


def document_of(name: str, **changes: object) -> dict[str, Any]:
    return item_of(summary(name), **changes).to_dict(include_self_link=False)


def _field_names(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        for inner in value.values():
            yield from _field_names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _field_names(inner)


@pytest.mark.parametrize("name", PRODUCTS)
def test_item_is_valid_and_survives_json(name: str) -> None:
    document = document_of(name)
    validate_item(document)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert pystac.Item.from_dict(document).to_dict(include_self_link=False) == document


@pytest.mark.parametrize("name", PRODUCTS)
def test_extensions_declared_are_those_used(name: str) -> None:
    document = document_of(name)
    used = {field.partition(":")[0] for field in _field_names(document) if ":" in field}
    assert document["stac_extensions"] == [EXTENSIONS[prefix] for prefix in sorted(used)]


@pytest.mark.parametrize("name", PRODUCTS)
def test_item_carries_what_the_order_says(name: str) -> None:
    document = document_of(name)
    properties = document["properties"]
    assert document["id"] == summary(name).name
    assert document["stac_version"] == "1.1.0"
    assert document["collection"] == "sentinel-products"
    assert document["bbox"] == [6.0, 45.0, 7.0, 46.0]
    assert properties["datetime"] == properties["start_datetime"] == "2024-06-15T10:25:59.024000Z"
    assert properties["end_datetime"] == "2024-06-15T10:26:24.024000Z"
    assert properties["created"] < properties["updated"]
    assert properties["processing:software"] == {"eopf": "2.8.1"}
    assert "X.SAFE" in properties["processing:lineage"]
    assert properties["product:type"] == summary(name).product_type
    assert document["links"] == [
        {
            "rel": "derived_from",
            "href": "https://catalogue.test/items/X",
            "type": "application/geo+json",
            "title": "X",
        }
    ]


@pytest.mark.parametrize("name", PRODUCTS)
def test_nothing_unsound_of_eopf_remains(name: str) -> None:
    document = document_of(name)
    assert "stac_version" not in document["properties"]
    text = json.dumps(document)
    for placeholder in ('"null"', '"TODO"', "systematic"):
        assert placeholder not in text


def test_facility_is_left_out_if_unknown() -> None:
    assert "processing:facility" not in document_of("s2_msi_l1c", facility=None)["properties"]


def test_sentinel_2_values_are_mended() -> None:
    properties = document_of("s2_msi_l1c")["properties"]
    assert properties["gsd"] == 10
    assert properties["platform"] == "sentinel-2b"
    assert properties["sat:platform_international_designator"] == "2017-013A"
    assert properties["processing:level"] == "L1C"
    assert properties["proj:code"] == "EPSG:32632"
    assert not properties.keys() & {"product:timeliness", "proj:wkt2", "proj:transform", "bands"}


def test_sentinel_1_values_are_mended() -> None:
    properties = document_of("s1_iw_grd")["properties"]
    assert properties["sat:anx_datetime"].endswith("Z")
    assert properties["processing:level"] == "L1"
    assert properties["product:timeliness"] == "PT24H"
    assert {provider["name"] for provider in properties["providers"]} >= {"ESA"}
    assert "sar:beam_ids" not in properties


def test_sentinel_3_values_are_mended() -> None:
    properties = document_of("s3_olci_efr")["properties"]
    assert properties["gsd"] == 270
    assert not properties.keys() & {"proj:shape", "classification:classes", "product:acquisition_type"}


def test_product_asset_tells_size_and_objects() -> None:
    product = summary("s2_msi_l1c").model_copy(update={"total_bytes": 4321, "objects": 17})
    asset = item_of(product).assets["product"].to_dict()
    assert asset["href"] == f"s3://bucket/collection/{product.name}.zarr"
    assert asset["type"] == ZARR_MEDIA_TYPE
    assert asset["roles"] == ["data", "metadata"]
    assert (asset["file:size"], asset["object_count"]) == (4321, 17)


def test_sentinel_2_groups_have_grid_and_bands() -> None:
    assets = document_of("s2_msi_l1c")["assets"]
    assert list(assets) == ["product", "reflectance_r10m", "reflectance_r20m", "reflectance_r60m"]
    finest = assets["reflectance_r10m"]
    assert finest["href"].endswith(".zarr/measurements/reflectance/r10m")
    assert finest["gsd"] == 10
    assert [band["name"] for band in finest["bands"]] == ["b02", "b03", "b04", "b08"]
    assert finest["bands"][0]["eo:common_name"] == "blue"
    assert finest["proj:shape"] == [222, 222]
    assert finest["proj:transform"] == [10.0, 0.0, 300000.0, 0.0, -10.0, 5000040.0]
    assert assets["reflectance_r60m"]["proj:transform"][0] == 60.0


def test_sentinel_1_groups_are_called_by_polarisation() -> None:
    assets = document_of("s1_iw_grd")["assets"]
    assert list(assets) == ["product", "vh_measurements", "vv_measurements"]
    assert assets["vv_measurements"]["sar:polarizations"] == ["VV"]
    assert assets["vv_measurements"]["title"] == "VV measurements"


def test_sentinel_3_bands_are_named_after_their_arrays() -> None:
    bands = document_of("s3_olci_efr")["assets"]["measurements"]["bands"]
    assert len(bands) == 21
    assert bands[0] == {
        "name": "oa01_radiance",
        "eo:center_wavelength": 0.4,
        "eo:full_width_half_max": 0.015,
    }


@given(
    st.lists(
        st.lists(
            st.sampled_from(["measurements", "a", "A", "b", "b_c", "product"]), min_size=1, max_size=4
        ).map("/".join),
        unique=True,
        max_size=6,
    )
)
def test_distinct_groups_have_distinct_keys(groups: list[str]) -> None:
    keys = measurement_keys(groups)
    assert list(keys) == groups
    assert len({*keys.values(), "product"}) == len(groups) + 1


def test_only_one_sub_product_keeps_its_own_name() -> None:
    assert measurement_keys(["S01SIWGRD_2024_VV/measurements"]) == {
        "S01SIWGRD_2024_VV/measurements": "vv_measurements"
    }


def test_bursts_are_told_apart() -> None:
    groups = [f"S01_2024_{pol}_IW1_{burst}/measurements" for pol in ("VH", "VV") for burst in (7, 8)]
    assert measurement_keys(groups)[groups[3]] == "vv_iw1_8_measurements"


@given(
    st.dictionaries(st.sampled_from(sorted(summary("s2_msi_l1c").stac_discovery["properties"])), json_values)
)
def test_whatever_eopf_writes_the_item_is_valid(garbage: dict[str, Any]) -> None:
    product = summary("s2_msi_l1c")
    properties = product.stac_discovery["properties"] | garbage
    spoilt = product.model_copy(update={"stac_discovery": {"properties": properties}})
    validate_item(item_of(spoilt).to_dict(include_self_link=False))


@pytest.mark.parametrize(
    "discovery", [{}, {"properties": None}, {"properties": {"bands": 7, "providers": [3]}}]
)
def test_item_needs_nothing_from_stac_discovery(discovery: dict[str, Any]) -> None:
    product = summary("s3_olci_efr").model_copy(update={"stac_discovery": discovery})
    validate_item(item_of(product).to_dict(include_self_link=False))


def test_times_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(PoisonedInputError, match="before it starts"):
        document_of("s2_msi_l1c", end=START - timedelta(seconds=1))


def test_times_without_zone_are_refused() -> None:
    with pytest.raises(PoisonedInputError, match="no time zone"):
        document_of("s2_msi_l1c", start=START.replace(tzinfo=None))
