from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from conversion_assets.assets.overrides import OrderOverrides
from conversion_assets.errors import OrderError
from conversion_assets.orders import Order, TargetRule
from conversion_assets.partitions import find_order, order_of, record_order, safe_items
from conversion_assets.resources.order_defaults import OrderDefaults
from conversion_assets_tests.safe.products import S1_NAME, S3_NAME, product

NAME = S1_NAME.removesuffix(".SAFE")
ORDER = Order(
    key=NAME,
    item_id=NAME,
    href=f"s3://bucket/{S1_NAME}",
    derived_from="https://source.test/items/X",
    owner="someone",
    target=TargetRule(collection="mine"),
)
DEFAULTS = OrderDefaults(owner="local", schemes=["file", "s3", "https"])


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        record_order(ephemeral, ORDER)
        yield ephemeral


def test_without_overrides_the_order_stands(instance: dg.DagsterInstance) -> None:
    assert OrderOverrides().applied(instance, NAME, DEFAULTS) == ORDER


def test_other_owner_and_target_are_remembered(instance: dg.DagsterInstance) -> None:
    changed = OrderOverrides(owner="another", collection="S01SIWGRD=theirs").applied(instance, NAME, DEFAULTS)
    assert changed == ORDER.model_copy(
        update={"owner": "another", "target": TargetRule(product_type="S01SIWGRD", collection="theirs")}
    )
    assert order_of(instance, NAME) == changed
    assert OrderOverrides().applied(instance, NAME, DEFAULTS) == changed


@pytest.mark.parametrize(
    "overrides",
    [OrderOverrides(owner="../x"), OrderOverrides(collection="a b"), OrderOverrides(collection="S01SIWGRD=")],
)
def test_bad_override_is_refused_and_forgotten(
    overrides: OrderOverrides, instance: dg.DagsterInstance
) -> None:
    with pytest.raises(OrderError):
        overrides.applied(instance, NAME, DEFAULTS)
    assert order_of(instance, NAME) == ORDER


def test_other_source_of_the_same_product_is_taken(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    folder = product(tmp_path)
    changed = OrderOverrides(source=str(folder)).applied(instance, NAME, DEFAULTS)
    assert changed.href == changed.derived_from == folder.as_uri()
    assert (changed.key, changed.owner, changed.target) == (NAME, ORDER.owner, ORDER.target)
    assert find_order(instance, NAME) == changed


def test_source_of_another_product_is_refused(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    folder = product(tmp_path, S3_NAME)
    with pytest.raises(OrderError, match=f"holds no product {NAME}"):
        OrderOverrides(source=str(folder)).applied(instance, NAME, DEFAULTS)
    assert order_of(instance, NAME) == ORDER


def test_source_makes_an_order_where_there_was_none(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    folder = product(tmp_path, S3_NAME)
    key = S3_NAME.removesuffix(".SEN3")
    order = OrderOverrides(source=str(folder), owner="new", collection="fresh").applied(
        instance, key, DEFAULTS
    )
    assert (order.key, order.owner, order.target.collection) == (key, "new", "fresh")
    assert order_of(instance, key) == order
    assert instance.has_dynamic_partition(str(safe_items.name), key)


def test_feature_of_this_partition_is_taken_from_a_collection(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    features = [
        {
            "type": "Feature",
            "id": name,
            "geometry": None,
            "assets": {"one": {"href": f"s3://b/1/{name}.zip"}, "two": {"href": f"s3://b/2/{name}.zip"}},
        }
        for name in ("Y", NAME)
    ]
    path = tmp_path / "found.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    order = OrderOverrides(source=str(path), assets=["two"]).applied(instance, NAME, DEFAULTS)
    assert order.href == f"s3://b/2/{NAME}.zip"


def test_special_order_keeps_its_key_with_another_source(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    special = ORDER.model_copy(update={"key": f"{NAME}.someone-0123abcd"})
    record_order(instance, special)
    folder = product(tmp_path)
    order = OrderOverrides(source=str(folder)).applied(instance, special.key, DEFAULTS)
    assert (order.key, order.href) == (special.key, folder.as_uri())


@pytest.mark.parametrize("key", ["Z", "../../x"])
def test_key_that_nothing_was_ordered_under_is_refused(key: str, instance: dg.DagsterInstance) -> None:
    with pytest.raises(OrderError):
        OrderOverrides().applied(instance, key, DEFAULTS)


def test_scheme_must_be_allowed(instance: dg.DagsterInstance) -> None:
    with pytest.raises(OrderError, match="not allowed"):
        OrderOverrides(source=f"http://host/{S1_NAME}").applied(instance, NAME, DEFAULTS)
    http = OrderDefaults(owner="local", schemes=["http"])
    allowed = OrderOverrides(source=f"http://host/{NAME}.zip").applied(instance, NAME, http)
    assert allowed.href == f"http://host/{NAME}.zip"


def test_default_owner_is_taken_where_nobody_is_named(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    folder = product(tmp_path, S3_NAME)
    order = OrderOverrides(source=str(folder)).applied(instance, S3_NAME.removesuffix(".SEN3"), DEFAULTS)
    assert order.owner == DEFAULTS.owner


def test_assets_without_a_document_are_refused(instance: dg.DagsterInstance) -> None:
    with pytest.raises(OrderError, match="no source is named"):
        OrderOverrides(assets=["two"]).applied(instance, NAME, DEFAULTS)
