"""The quarantined order: one that failed for good. Not made here, only recorded."""

from __future__ import annotations

import dagster as dg

from conversion_assets.partitions import safe_items
from conversion_assets.quarantining import QUARANTINED_ORDER

OPERATIONS = "operations"

quarantined_order = dg.AssetSpec(
    key=QUARANTINED_ORDER,
    partitions_def=safe_items,
    group_name=OPERATIONS,
    kinds={"quarantine"},
    description=(
        "An order that failed for good, with its class, the reason and the way out. Each failure is recorded"
        " here as an event of its partition; an observation tells when it was replayed, published or dropped."
        " Mend what the way out names, then materialize the partition's assets again, or say"
        " `conversion-assets quarantine replay KEY`. What is never to be published:"
        " `conversion-assets quarantine drop KEY`."
    ),
)
