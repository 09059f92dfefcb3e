"""The job and the schedule of daily reports."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, timedelta

import dagster as dg

from conversion_assets.backfilling import OF_ORDERS, PRIORITY_TAG
from conversion_assets.partitions import DAILY_REPORT, REPORT_JOB, report_days

EVERY_MORNING = "0 6 * * *"
DAYS_AGAIN = 3
"""Reports are made again for so many days: what was late is published meanwhile."""

report_of_a_day = dg.define_asset_job(
    name=REPORT_JOB,
    selection=dg.AssetSelection.assets(DAILY_REPORT),
    partitions_def=report_days,
    description="Adds up what was ordered, published and used on a day, and judges it.",
)


@dg.schedule(
    name="daily_reports",
    job=report_of_a_day,
    cron_schedule=EVERY_MORNING,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Reports each morning on the three days before, of which the last is over for six hours.",
)
def daily_reports(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
    """Request the reports of the last days."""
    today = context.scheduled_execution_time.astimezone(UTC).date()
    for age in range(DAYS_AGAIN, 0, -1):
        day = (today - timedelta(days=age)).isoformat()
        yield dg.RunRequest(
            partition_key=day, run_key=f"{day}@{today.isoformat()}", tags={PRIORITY_TAG: OF_ORDERS}
        )
