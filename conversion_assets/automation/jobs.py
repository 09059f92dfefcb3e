"""The one job: the whole line for one order."""

from __future__ import annotations

import dagster as dg

from conversion_assets.assets.step import GROUP
from conversion_assets.partitions import safe_items

CONVERT = "convert"

convert = dg.define_asset_job(
    name=CONVERT,
    selection=dg.AssetSelection.groups(GROUP),
    partitions_def=safe_items,
    description="Takes one ordered product through the whole line, from its source to the catalogue.",
)
