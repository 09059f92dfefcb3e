"""The input item: what was ordered, where it came from. Not made here, only recorded."""

from __future__ import annotations

import dagster as dg

from conversion_assets.assets.step import GROUP
from conversion_assets.partitions import INPUT_ITEM, safe_items

input_item = dg.AssetSpec(
    key=INPUT_ITEM,
    partitions_def=safe_items,
    group_name=GROUP,
    kinds={"sentinel"},
    description=(
        "A Sentinel product that somebody ordered, where it is published. Each order is recorded here as"
        " an event of its partition, with source, owner and target collection."
    ),
)
