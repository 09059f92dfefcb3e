"""The sensor of replays: what ``quarantine replay --submit`` asked for goes through the run queue."""

from __future__ import annotations

from datetime import datetime
from itertools import islice

import dagster as dg

from conversion_assets.automation.jobs import convert
from conversion_assets.backfilling import OF_ORDERS, PRIORITY_TAG, SOURCE_TAG
from conversion_assets.partitions import safe_items
from conversion_assets.resources.quarantine import Quarantine, QuarantineStatus

SECONDS_BETWEEN_TICKS = 15
MOST_REPLAYS = 50
RUN_KEY_TAG = "dagster/run_key"


@dg.sensor(
    name="replays",
    job=convert,
    minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Runs quarantined orders again for which that was asked on the command line.",
)
def replays(context: dg.SensorEvaluationContext, quarantine: Quarantine) -> dg.SensorResult | dg.SkipReason:
    """Request the runs, oldest wish first. A wish that has its run, however that ended, is met."""
    wishes = sorted(
        (record.replay_asked, record.key)
        for record in quarantine.records()
        if record.status is QuarantineStatus.REPLAYED and record.replay_asked is not None
    )
    unmet = (wish for wish in wishes if not _is_met(context.instance, *wish))
    taken = list(islice(unmet, MOST_REPLAYS))
    if not taken:
        return dg.SkipReason("No replay was asked for.")
    return dg.SensorResult(
        run_requests=[_run_request(asked, key) for asked, key in taken],
        dynamic_partitions_requests=[safe_items.build_add_request([key for _, key in taken])],
    )


def _is_met(instance: dg.DagsterInstance, asked: datetime, key: str) -> bool:
    named = dg.RunsFilter(tags={RUN_KEY_TAG: _run_key(asked, key)})
    return instance.get_runs_count(named) > 0


def _run_key(asked: datetime, key: str) -> str:
    return f"{key}@{asked.isoformat()}"


def _run_request(asked: datetime, key: str) -> dg.RunRequest:
    return dg.RunRequest(
        partition_key=key,
        run_key=_run_key(asked, key),
        run_config={"loggers": {"console": {}}},  # nobody watches: each line is to name its order
        tags={SOURCE_TAG: "replay", PRIORITY_TAG: OF_ORDERS},
    )
