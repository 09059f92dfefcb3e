"""The same five steps as Dagster assets by our rules: dynamic partitions, one process, a history on disk.

Usage: ``python -m benchmarks.prefect_flow.dagster_steps ORDERS FOLDER``. Prints the wall
seconds of each order.
"""

import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.prefect_flow.work import NAMES, pass_on
from conversion_assets.instance import open_instance
from conversion_assets.settings import Settings

KEYS = dg.DynamicPartitionsDefinition(name="orders")
RETRY = dg.RetryPolicy(max_retries=2)


def assets(folder: Path) -> list[dg.AssetsDefinition]:
    """Give the line; each asset has the one before it as its input."""
    return [_asset(folder, name, before) for before, name in zip(("", *NAMES), NAMES, strict=False)]


def _asset(folder: Path, name: str, before: str) -> dg.AssetsDefinition:
    ins = {"record": dg.AssetIn(before)} if before else {}

    @dg.asset(name=name, partitions_def=KEYS, retry_policy=RETRY, ins=ins)
    def step(context: dg.AssetExecutionContext, **given: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
        return pass_on(str(folder), name, given.get("record", {"key": context.partition_key}))

    return step


def main(orders: int, folder: Path) -> None:
    """Run the line once for each order."""
    job = dg.define_asset_job("convert")
    definitions = dg.Definitions(assets(folder), jobs=[job], executor=dg.in_process_executor)
    with open_instance(Settings(home=folder / "home")) as instance:
        for number in range(orders):
            started = time.perf_counter()
            instance.add_dynamic_partitions(str(KEYS.name), [f"order-{number}"])
            line = definitions.resolve_job_def("convert")
            line.execute_in_process(instance=instance, partition_key=f"order-{number}")
            print(time.perf_counter() - started)  # noqa: T201 - a program's output


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
