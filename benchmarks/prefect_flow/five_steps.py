"""The five steps as a Prefect 3 flow, with trivial work: what Prefect itself takes for an order.

Usage, in the environment that ``benchmarks.prefect_comparison`` makes:
``python -m benchmarks.prefect_flow.five_steps ORDERS FOLDER``. Prints the wall seconds of each order.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from prefect import flow, task

from benchmarks.prefect_flow.work import NAMES, pass_on

STEPS = [task(pass_on, name=name, retries=2) for name in NAMES]


@flow(log_prints=False)  # type: ignore[untyped-decorator] # Prefect is in another environment
def convert(folder: str, key: str) -> dict[str, Any]:
    """Take one order through the line."""
    record: dict[str, Any] = {"key": key}
    for name, step in zip(NAMES, STEPS, strict=True):
        record = step(folder, name, record)
    return record


def main(orders: int, folder: Path) -> None:
    """Run the flow once for each order."""
    for number in range(orders):
        started = time.perf_counter()
        convert(str(folder), f"order-{number}")
        print(time.perf_counter() - started)  # noqa: T201 - a program's output


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
