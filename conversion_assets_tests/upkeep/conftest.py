from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from conversion_assets.instance import open_instance
from conversion_assets.orders import Order
from conversion_assets.partitions import record_order, safe_items
from conversion_assets.settings import Settings

Line = Callable[..., str]
PICTURE = "![Quicklook](data:image/png;base64,AAAA)"


@dg.asset(partitions_def=safe_items)
def unzipped_safe() -> dg.MaterializeResult[None]:
    """Stand for a step whose data version tells what is stale."""
    return dg.MaterializeResult(data_version=dg.DataVersion("files-types-abc"))


@dg.asset(
    partitions_def=safe_items,
    deps=[unzipped_safe],
    check_specs=[dg.AssetCheckSpec("whole", asset="zarr_product")],
)
def zarr_product() -> Iterator[dg.MaterializeResult[None]]:
    """Stand for the conversion."""
    yield dg.MaterializeResult(
        data_version=dg.DataVersion("files-eopf-2.8.1"),
        metadata={"quicklook": dg.MetadataValue.md(PICTURE), "arrays": 3},
        check_results=[dg.AssetCheckResult(passed=True, check_name="whole")],
    )


@dg.asset(partitions_def=safe_items, deps=[zarr_product])
def published_item() -> dg.MaterializeResult[None]:
    """Stand for the publication."""
    key = dg.AssetExecutionContext.get().partition_key
    print(f"publishing {key}")  # noqa: T201 - what a step prints is kept as its log
    return dg.MaterializeResult(metadata={"item": f"file:///catalogue/{key}.json"})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as in_memory:
        yield in_memory


@pytest.fixture
def of_home(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Open the instance of a home, with its databases and files."""
    with open_instance(settings) as opened:
        yield opened


@pytest.fixture
def line() -> Line:
    """Order something and take it through a line that does nothing; give the id of the run."""

    def run(instance: dg.DagsterInstance, key: str, *assets: dg.AssetsDefinition) -> str:
        order = Order(
            key=key, item_id=key, href="s3://b/X.zip", derived_from="https://source.test/X", owner="me"
        )
        record_order(instance, order)
        chosen = assets or (unzipped_safe, zarr_product, published_item)
        return dg.materialize(chosen, instance=instance, partition_key=key).run_id

    return run
