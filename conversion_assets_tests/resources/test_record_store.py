from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from conversion_assets.errors import OrderError
from conversion_assets.orders import Order, TargetRule
from conversion_assets.records import StagedSafe
from conversion_assets.resources.record_store import RecordStore
from conversion_assets.stac.checksums import Checksum

ORDER = Order(
    key="X",
    item_id="X",
    href="s3://bucket/X.zip",
    derived_from="https://source.test/items/X",
    owner="someone",
    target=TargetRule(product_type="S02MSIL1C", collection="mine"),
    assets=("product",),
    checksum=Checksum(algorithm="sha256", digest="00" * 32),
    size=7,
    updated="2026-01-01T00:00:00+00:00",
)
RECORD = StagedSafe(order=ORDER, path=Path("/staging/X/X.zip"), files=1, total_bytes=7)


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    return RecordStore(root=str(tmp_path / "records"))


def output(key: str) -> dg.OutputContext:
    return dg.build_output_context(asset_key=dg.AssetKey("staged_safe_item"), partition_key=key)


def load(store: RecordStore, key: str, kind: type = StagedSafe) -> object:
    context = dg.build_input_context(
        asset_key=dg.AssetKey("staged_safe_item"),
        partition_key=key,
        dagster_type=dg.PythonObjectDagsterType(kind),
    )
    return store.load_input(context)


def test_record_comes_back_equal(store: RecordStore, tmp_path: Path) -> None:
    store.handle_output(output("X"), RECORD)
    assert load(store, "X") == RECORD
    assert (tmp_path / "records" / "staged_safe_item" / "X.json").is_file()


def test_later_record_replaces_the_former(store: RecordStore) -> None:
    store.handle_output(output("X"), RECORD)
    later = RECORD.model_copy(update={"files": 2})
    store.handle_output(output("X"), later)
    assert load(store, "X") == later


def test_missing_record_says_what_to_materialize(store: RecordStore) -> None:
    with pytest.raises(dg.Failure, match="staged_safe_item of X: it has not been materialized") as caught:
        load(store, "X")
    assert not caught.value.allow_retries


@pytest.mark.parametrize("content", ["", "{}", '{"files": 1}', "\0", '{"of": "another version"}'])
def test_record_of_another_version_is_refused(content: str, store: RecordStore, tmp_path: Path) -> None:
    store.handle_output(output("X"), RECORD)
    (tmp_path / "records" / "staged_safe_item" / "X.json").write_text(content)
    with pytest.raises(dg.Failure, match="another version") as caught:
        load(store, "X")
    assert not caught.value.allow_retries


@pytest.mark.parametrize("key", ["../x", "..", "a/b", "", "a\0"])
def test_no_key_leads_out_of_the_root(key: str, store: RecordStore, tmp_path: Path) -> None:
    with pytest.raises(OrderError):
        store.handle_output(output(key), RECORD)
    assert list(tmp_path.iterdir()) == []
