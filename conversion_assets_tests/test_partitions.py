from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from conversion_assets.errors import OrderError, PermanentError
from conversion_assets.instance import open_instance
from conversion_assets.orders import Order, TargetRule
from conversion_assets.partitions import (
    INPUT_ITEM,
    find_order,
    order_event,
    order_of,
    record_order,
    safe_items,
)
from conversion_assets.settings import Settings

ORDER = Order(
    key="X",
    item_id="X",
    href="s3://bucket/X.zip",
    derived_from="https://source.test/items/X",
    owner="someone",
    target=TargetRule(product_type="S02MSIL1C", collection="mine"),
    assets=("product",),
    size=7,
)
OTHER = ORDER.model_copy(update={"key": "Y", "item_id": "Y"})


def events(instance: dg.DagsterInstance) -> int:
    return len(instance.fetch_materializations(INPUT_ITEM, limit=100).records)


def test_order_is_found_after_the_instance_was_opened_again(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with open_instance(settings) as instance:
        record_order(instance, ORDER)
        record_order(instance, OTHER)
    with open_instance(settings) as instance:
        assert order_of(instance, "X") == ORDER
        assert find_order(instance, "Y") == OTHER
        assert sorted(instance.get_dynamic_partitions(str(safe_items.name))) == ["X", "Y"]


def test_same_order_is_recorded_once_and_a_changed_one_counts() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        record_order(instance, ORDER)
        record_order(instance, ORDER)
        assert events(instance) == 1
        changed = ORDER.model_copy(update={"owner": "another"})
        record_order(instance, changed)
        assert events(instance) == 2
        assert order_of(instance, "X") == changed


def test_partition_that_was_removed_comes_back_with_its_order() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        record_order(instance, ORDER)
        instance.delete_dynamic_partition(str(safe_items.name), "X")
        record_order(instance, ORDER)
        assert instance.has_dynamic_partition(str(safe_items.name), "X")


def test_key_without_order_is_refused() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(safe_items.name), ["Z"])
        assert find_order(instance, "Z") is None
        with pytest.raises(OrderError, match="nothing was ordered under this key"):
            order_of(instance, "Z")


@pytest.mark.parametrize("key", ["../../evil", "", "a\nb", "a...b"])
def test_hostile_key_is_refused(key: str) -> None:
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(OrderError, match="an id has"):
        order_of(instance, key)


def test_hostile_key_is_not_recorded() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        with pytest.raises(OrderError):
            record_order(instance, ORDER.model_copy(update={"key": "../../evil"}))
        assert events(instance) == 0
        assert instance.get_dynamic_partitions(str(safe_items.name)) == []


@pytest.mark.parametrize("kept", [None, {"of": "another version"}])
def test_order_of_another_version_is_told(kept: dict[str, str] | None) -> None:
    metadata = {} if kept is None else {"order": dg.MetadataValue.json(kept)}
    event = dg.AssetMaterialization(asset_key=INPUT_ITEM, partition="X", metadata=metadata)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_runless_asset_event(event)
        with pytest.raises(PermanentError, match="another version"):
            find_order(instance, "X")


def test_person_sees_source_owner_and_target() -> None:
    metadata = order_event(ORDER).metadata
    assert metadata["source"].value == ORDER.derived_from
    assert metadata["owner"].value == "someone"
    assert metadata["collection"].value == "mine"
    plain = order_event(ORDER.model_copy(update={"target": TargetRule()}))
    assert plain.metadata["collection"].value == "by product type"
