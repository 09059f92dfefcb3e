from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest
from packaging.version import Version

from conversion_assets.criteria import CodeVersions, Criteria, TimeRange
from conversion_assets.orders import Order
from conversion_assets.partitions import record_order, safe_items
from conversion_assets.selecting import PUBLISHED, UNZIPPED, ZARR, History, match, select
from conversion_assets_tests.safe.products import S1_NAME, S2_NAME

NOW = CodeVersions(eopf="2.8.1", types=frozenset({"abc"}))
S1_KEY, S2_KEY = S1_NAME.removesuffix(".SAFE"), S2_NAME.removesuffix(".SAFE")
NewRun = Callable[[str, dg.DagsterRunStatus], None]
FAILURE, SUCCESS, CANCELED = (
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.CANCELED,
)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def new_run(instance: dg.DagsterInstance) -> NewRun:
    @dg.job
    def a_job() -> None:
        """Do nothing."""

    def create(key: str, status: dg.DagsterRunStatus) -> None:
        instance.create_run_for_job(a_job, tags={"dagster/partition": key}, status=status)

    return create


def ordered(instance: dg.DagsterInstance, *keys: str, href: str = "s3://bucket/X.zip") -> None:
    for key in keys:
        order = Order(key=key, item_id=key, href=href, derived_from="https://source.test/X", owner="me")
        record_order(instance, order)


def made(
    instance: dg.DagsterInstance, asset: dg.AssetKey, key: str, version: str = "", **metadata: str
) -> None:
    tags = {"dagster/data_version": version} if version else None
    instance.report_runless_asset_event(
        dg.AssetMaterialization(asset, partition=key, tags=tags, metadata=metadata)
    )


def converted(instance: dg.DagsterInstance, key: str, eopf: str, types: str = "abc") -> None:
    made(instance, UNZIPPED, key, f"files-types-{types}")
    made(instance, ZARR, key, f"files-eopf-{eopf}")
    made(instance, PUBLISHED, key, item=f"file:///c/me/s/2024-06-01/{key}.json")


def chosen(
    instance: dg.DagsterInstance, among: tuple[str, ...] | None = None, **criteria: object
) -> list[str]:
    return list(select(History(instance), Criteria(**criteria), NOW, among))  # type: ignore[arg-type] # by field


def test_everything_is_live_orders_and_retired_ones_that_were_published(instance: dg.DagsterInstance) -> None:
    ordered(instance, "new", "old", "dropped")
    converted(instance, "old", "2.8.1")
    for key in ("old", "dropped"):
        instance.delete_dynamic_partition(str(safe_items.name), key)
    assert chosen(instance) == ["new", "old"]


def test_named_orders_are_taken_once_each_in_their_order(instance: dg.DagsterInstance) -> None:
    ordered(instance, "A", "B", "C")
    assert chosen(instance, ("C", "A", "C")) == ["C", "A"]


def test_orders_of_an_older_eopf_are_found_by_their_latest_conversion(instance: dg.DagsterInstance) -> None:
    ordered(instance, "never", "older", "again", "newer")
    for key, eopf in (("older", "2.7.0"), ("again", "2.7.0"), ("newer", "2.10.0"), ("again", "2.8.1")):
        converted(instance, key, eopf)
    assert chosen(instance, older_than_eopf=Version("2.8.1")) == ["older"]
    assert chosen(instance, older_than_eopf=Version("2.9")) == ["older", "again"]


def test_stale_are_those_of_another_eopf_or_table(instance: dg.DagsterInstance) -> None:
    ordered(instance, "current", "eopf", "table", "never")
    converted(instance, "current", "2.8.1")
    converted(instance, "eopf", "2.7.0")
    converted(instance, "table", "2.8.1", types="older")
    assert chosen(instance, stale=True) == ["eopf", "table"]
    assert chosen(instance, stale=True, older_than_eopf=Version("2.8.1")) == ["eopf"]


def test_failed_are_those_that_ended_badly_or_were_never_published(
    instance: dg.DagsterInstance, new_run: NewRun
) -> None:
    ordered(
        instance,
        "never-ran",
        "failed",
        "canceled",
        "mended",
        "in-part",
        "running",
        "published",
        "failed-anew",
    )
    for key in ("mended", "published", "failed-anew"):
        converted(instance, key, "2.8.1")
    for key, *statuses in (
        ("failed", FAILURE),
        ("canceled", CANCELED),
        ("mended", FAILURE, SUCCESS),
        ("in-part", SUCCESS),
        ("running", FAILURE, dg.DagsterRunStatus.STARTED),
        ("published", SUCCESS),
        ("failed-anew", SUCCESS, FAILURE),
    ):
        for status in statuses:
            new_run(str(key), status)
    assert chosen(instance, failed=True) == ["never-ran", "failed", "canceled", "in-part", "failed-anew"]


def test_run_that_was_withdrawn_tells_nothing_of_a_published_order(
    instance: dg.DagsterInstance, new_run: NewRun
) -> None:
    ordered(instance, "published", "pruned", "failed-anew", "stopped", "never-published")
    for key in ("published", "pruned", "failed-anew", "stopped"):
        converted(instance, key, "2.8.1")
    new_run("published", SUCCESS)
    new_run("failed-anew", FAILURE)
    new_run("stopped", SUCCESS)
    for key in ("published", "pruned", "failed-anew", "stopped", "never-published"):
        new_run(key, CANCELED)
    new_run("published", CANCELED)
    (stopped, *_) = instance.get_runs(dg.RunsFilter(tags={"dagster/partition": "stopped"}))
    began = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, stopped.job_name)
    instance.run_storage.handle_run_event(stopped.run_id, began, datetime.now(UTC))
    instance.report_run_canceled(stopped)
    assert chosen(instance, failed=True) == ["failed-anew", "stopped", "never-published"]


def test_type_and_time_are_told_by_key_then_order_then_what_was_unzipped(
    instance: dg.DagsterInstance,
) -> None:
    ordered(instance, S1_KEY, f"{S2_KEY}.somebody-12345678", "unknown")
    ordered(instance, "item-7", href=f"https://source.test/{S2_NAME}.zip")
    ordered(instance, "item-8")
    made(instance, UNZIPPED, "item-8", **{"product type": "S02MSIL1C", "start": "2021-09-01T00:00:00+00:00"})
    special = f"{S2_KEY}.somebody-12345678"
    s2 = frozenset({"S02MSIL1C"})
    assert chosen(instance, product_types=s2) == [special, "item-7", "item-8"]
    assert chosen(instance, time=TimeRange.parse("2021-08-01/2021-09-01")) == [S1_KEY, "item-8"]
    assert chosen(instance, product_types=s2, time=TimeRange.parse("2021-09-08")) == [special, "item-7"]


def test_many_orders_take_few_queries(instance: dg.DagsterInstance, new_run: NewRun) -> None:
    keys = [f"item-{number}" for number in range(1200)]
    instance.add_dynamic_partitions(str(safe_items.name), keys)
    for key in (keys[0], keys[600], keys[1199]):
        converted(instance, key, "2.7.0")
        new_run(key, FAILURE)
    assert chosen(instance, stale=True, failed=True) == [keys[0], keys[600], keys[1199]]
    assert len(chosen(instance, failed=True)) == 1200


def item(name: str, source: str | None, href: str = "", **properties: str) -> dict[str, object]:
    links = [{"rel": "self", "href": href or f"file:///c/me/s/2024-06-01/{name}.json"}]
    links += [{"rel": "derived_from", "href": source}] if source else []
    return {"id": name, "properties": properties, "links": links, "collection": "s"}


def test_item_is_matched_with_the_order_that_was_published_there(instance: dg.DagsterInstance) -> None:
    ordered(instance, "X", "X.other-12345678", "Y")
    for key, place in (("X", "me"), ("X.other-12345678", "other"), ("Y", "me")):
        made(instance, PUBLISHED, key, item=f"https://c.test/collections/{place}/items/E")
    found = match(
        History(instance),
        [
            item("E", "https://source.test/items/X", "http://10.0.0.1/api/collections/other/items/E"),
            item("E", "https://source.test/items/X", "http://10.0.0.1/api/collections/third/items/E"),
            item("E", "file:///data/Y.SAFE.zip", "https://c.test/collections/me/items/E"),
            item("E", None, "https://c.test/collections/me/items/E"),
        ],
    )
    assert found.keys == ["X.other-12345678", "Y"]
    assert [len(entry["links"]) for entry in found.unknown] == [2, 1]
