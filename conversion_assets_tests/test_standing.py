from __future__ import annotations

from collections.abc import Callable, Iterator

import dagster as dg
import pytest

from conversion_assets.errors import OrderError, TransientError
from conversion_assets.failures import failure_of
from conversion_assets.orders import Order
from conversion_assets.partitions import INPUT_ITEM, record_order, safe_items, skipped_event
from conversion_assets.quarantining import DROPPED, QUARANTINED_ORDER, tell_of
from conversion_assets.standing import latest_orders, latest_skipped, standing_of
from conversion_assets_tests.resources.test_quarantine import record

ORDER = Order(
    key="X",
    item_id="X",
    href="s3://bucket/X.zip",
    derived_from="https://source.test/items/X",
    owner="someone",
)
METADATA = {
    "item": "file:///catalogue/X.json",
    "product": "file:///products/X.zarr",
    "product type": "S02MSIL1C",
}


@dg.asset(partitions_def=safe_items)
def staged_safe_item() -> None:
    """Stand for the first asset."""


@dg.asset(partitions_def=safe_items, deps=[staged_safe_item])
def published_item() -> dg.MaterializeResult[None]:
    """Stand for the last asset."""
    return dg.MaterializeResult(metadata=METADATA)


@dg.asset(partitions_def=safe_items, name="published_item")
def failing() -> None:
    """Stand for an asset whose server is busy."""
    raise failure_of(TransientError("https://catalogue.test", "it is busy", "It is tried again."))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def run(instance: dg.DagsterInstance, *assets: dg.AssetsDefinition, key: str = "X") -> None:
    dg.materialize(assets, instance=instance, partition_key=key, raise_on_error=False)


def ordered(instance: dg.DagsterInstance, *keys: str) -> None:
    for key in keys:
        record_order(instance, ORDER.model_copy(update={"key": key}))


def test_what_watches_skipped_is_told_newest_first(instance: dg.DagsterInstance) -> None:
    for number in range(2):
        event = skipped_event(f"X{number}", "https://source.test/items/X", "it is too old", "cdse")
        instance.report_runless_asset_event(event)
    instance.report_runless_asset_event(skipped_event("no/key", "s3://bucket/x", "it is odd", "store"))
    odd, last, first = latest_skipped(instance)
    assert (odd.name, odd.reason, odd.watch, odd.source) == ("no/key", "it is odd", "store", "s3://bucket/x")
    assert (last.name, first.name) == ("X1", "X0")
    by_partition = dg.AssetRecordsFilter(asset_key=INPUT_ITEM, asset_partitions=["X0"])
    assert len(instance.fetch_observations(by_partition, limit=9).records) == 1


def test_order_that_never_ran_is_ordered(instance: dg.DagsterInstance) -> None:
    ordered(instance, "X")
    standing = standing_of(instance, "X")
    assert (standing.status, standing.source, standing.assets) == ("ordered", ORDER.derived_from, {})


def test_published_order_says_where(instance: dg.DagsterInstance) -> None:
    ordered(instance, "X")
    run(instance, staged_safe_item, published_item)
    standing = standing_of(instance, "X")
    assert standing.status == "published"
    assert (standing.item, standing.product) == (METADATA["item"], METADATA["product"])
    assert standing.product_type == "S02MSIL1C"
    assert set(standing.assets) == {"staged_safe_item", "published_item"}
    assert standing.error is None


def test_failed_order_says_why(instance: dg.DagsterInstance) -> None:
    ordered(instance, "X")
    run(instance, failing)
    standing = standing_of(instance, "X")
    assert standing.status == "failed"
    assert standing.error == "https://catalogue.test: it is busy. It is tried again."


def test_published_order_whose_latest_run_failed_keeps_its_item(instance: dg.DagsterInstance) -> None:
    ordered(instance, "X")
    run(instance, staged_safe_item, published_item)
    run(instance, failing)
    standing = standing_of(instance, "X")
    assert (standing.status, standing.item) == ("failed", METADATA["item"])


@pytest.mark.parametrize(("last", "status"), [(staged_safe_item, "published"), (failing, "failed")])
def test_published_order_stands_as_before_its_runs_were_withdrawn(
    last: dg.AssetsDefinition, status: str, instance: dg.DagsterInstance, new_run: Callable[..., None]
) -> None:
    ordered(instance, "X")
    run(instance, staged_safe_item, published_item)
    run(instance, last)
    before = standing_of(instance, "X")
    for _ in range(2):
        new_run(dg.DagsterRunStatus.CANCELED)
    assert standing_of(instance, "X") == before
    assert [(one.order, one.status) for one in latest_orders(instance)] == [("X", status)]


def test_published_order_is_published_when_only_a_withdrawn_run_is_left(
    instance: dg.DagsterInstance, new_run: Callable[..., None]
) -> None:
    ordered(instance, "X")
    instance.report_runless_asset_event(
        dg.AssetMaterialization("published_item", partition="X", metadata=METADATA)
    )
    new_run(dg.DagsterRunStatus.CANCELED)
    standing = standing_of(instance, "X")
    assert (standing.status, standing.when) == ("published", None)


def drop(instance: dg.DagsterInstance) -> None:
    instance.delete_dynamic_partition(str(safe_items.name), "X")
    tell_of(instance, "X", DROPPED, "It was given up.")


def test_dropped_order_says_so_and_not_why_it_failed(instance: dg.DagsterInstance) -> None:
    ordered(instance, "X")
    run(instance, failing)
    drop(instance)
    standing = standing_of(instance, "X")
    assert (standing.status, standing.error, standing.source) == ("dropped", None, ORDER.derived_from)
    assert [one.status for one in latest_orders(instance)] == ["dropped"]


def test_order_is_dropped_until_it_is_ordered_published_or_fails_again(instance: dg.DagsterInstance) -> None:
    ordered(instance, "X")
    run(instance, failing)
    drop(instance)
    ordered(instance, "X")
    assert standing_of(instance, "X").status == "failed"
    run(instance, staged_safe_item, published_item)
    assert standing_of(instance, "X").status == "published"
    instance.delete_dynamic_partition(str(safe_items.name), "X")
    assert standing_of(instance, "X").status == "retired"
    ordered(instance, "X")
    run(instance, failing)
    drop(instance)
    standing = standing_of(instance, "X")
    assert (standing.status, standing.item) == ("dropped", METADATA["item"])
    instance.report_runless_asset_event(dg.AssetMaterialization(QUARANTINED_ORDER, partition="X"))
    assert standing_of(instance, "X").status == "failed"


def test_key_that_was_not_added_yet_is_not_dropped(instance: dg.DagsterInstance) -> None:
    ordered(instance, "X")
    instance.delete_dynamic_partition(str(safe_items.name), "X")
    assert standing_of(instance, "X").status == "ordered"


def test_order_in_quarantine_says_what_shows_it_and_where_the_evidence_is(
    instance: dg.DagsterInstance,
) -> None:
    ordered(instance, "X")
    standing = standing_of(instance, "X")
    assert standing.with_quarantine(None) == standing
    found = standing.with_quarantine(record("X", evidence={"copy": "/q/X", "moved from": "/staging/X"}))
    assert found.quarantine == "conversion-assets quarantine show X"
    assert found.evidence == "now in /q/X, moved there from /staging/X"


def test_run_of_some_assets_alone_does_not_publish(instance: dg.DagsterInstance) -> None:
    ordered(instance, "X")
    run(instance, staged_safe_item)
    assert standing_of(instance, "X").status == "ordered"


@pytest.mark.parametrize(
    ("run_status", "shown"),
    [
        (dg.DagsterRunStatus.STARTING, "in progress"),
        (dg.DagsterRunStatus.STARTED, "in progress"),
        (dg.DagsterRunStatus.CANCELED, "canceled"),
    ],
)
def test_state_of_a_run_is_shown(
    run_status: dg.DagsterRunStatus, shown: str, instance: dg.DagsterInstance, new_run: Callable[..., None]
) -> None:
    ordered(instance, "X")
    new_run(run_status)
    assert standing_of(instance, "X").status == shown
    assert [standing.status for standing in latest_orders(instance)] == [shown]


@pytest.fixture
def new_run(instance: dg.DagsterInstance) -> Callable[..., None]:
    @dg.job
    def a_job() -> None:
        """Do nothing."""

    def create(status: dg.DagsterRunStatus) -> None:
        instance.create_run_for_job(a_job, tags={"dagster/partition": "X"}, status=status)

    return create


def test_latest_orders_are_listed_once_each_newest_first(instance: dg.DagsterInstance) -> None:
    ordered(instance, "X", "Y", "Z")
    run(instance, failing, key="X")
    run(instance, staged_safe_item, published_item, key="Y")
    run(instance, staged_safe_item, published_item, key="X")
    found = [(standing.order, standing.status) for standing in latest_orders(instance)]
    assert found == [("X", "published"), ("Y", "published")]


def test_unknown_order_is_told(instance: dg.DagsterInstance) -> None:
    with pytest.raises(OrderError, match="nothing was ordered"):
        standing_of(instance, "X")
