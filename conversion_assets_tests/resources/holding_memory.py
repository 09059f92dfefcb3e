"""Reserves memory, says so, and holds it until standard input closes.

``python -m conversion_assets_tests.resources.holding_memory FOLDER TOTAL NEEDED``
"""

from __future__ import annotations

import sys
from pathlib import Path

from conversion_assets.resources.memory_budget import MemoryBudget


def tell(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the test reads it


def main() -> None:
    folder, total, needed = sys.argv[1:]
    with MemoryBudget(Path(folder), int(total)).reserved(int(needed), tell):
        tell("admitted")
        sys.stdin.read()


if __name__ == "__main__":
    main()
