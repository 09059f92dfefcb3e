"""What the runs of a home did: which converted, and in what order they began."""

from __future__ import annotations

from collections import Counter

import dagster as dg

from conversion_assets.backfilling import SOURCE_TAG
from conversion_assets.instance import open_instance
from conversion_assets.partitions import safe_items
from conversion_assets.selecting import ZARR
from conversion_assets.settings import Settings

MOST_RECORDS = 100


def conversions(settings: Settings) -> Counter[str]:
    """Count how often each order was converted; a run that found its product converted does not count."""
    with open_instance(settings) as instance:
        keys = instance.get_dynamic_partitions(str(safe_items.name))
        chosen = dg.AssetRecordsFilter(asset_key=ZARR, asset_partitions=list(keys))
        records = instance.fetch_materializations(chosen, limit=MOST_RECORDS).records
    events = [event for record in records if (event := record.asset_materialization)]
    return Counter(str(event.partition) for event in events if "already converted" not in event.metadata)


def statuses(settings: Settings) -> Counter[dg.DagsterRunStatus]:
    """Count runs by their status."""
    with open_instance(settings) as instance:
        return Counter(run.status for run in instance.get_runs())


def sources_in_turn(settings: Settings) -> list[str]:
    """Tell who asked for each run, in the order in which they began."""
    with open_instance(settings) as instance:
        records = instance.get_run_records()
    began = sorted(records, key=lambda record: record.start_time or 0)
    return [record.dagster_run.tags[SOURCE_TAG] for record in began]
