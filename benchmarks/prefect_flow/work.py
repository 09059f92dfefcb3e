"""The work of both sides of the comparison: each step leaves its record in a file and hands it on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NAMES = ("staged_safe_item", "unzipped_safe", "zarr_product", "stac_item", "published_item")


def pass_on(folder: str, name: str, record: dict[str, Any]) -> dict[str, Any]:
    """Write the record of a step, and give it with the name of the step added.

    Args:
        folder: where the records lie.
        name: of the step.
        record: what the step before it gave; its ``key`` names the order.
    """
    handed = {**record, name: True}
    path = Path(folder) / name / f"{record['key']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(handed))
    return handed
