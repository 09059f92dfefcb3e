"""The sensors of failures: into quarantine with what nobody else could tell, and to the webhook."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import dagster as dg

from conversion_assets.errors import ConversionAssetsError
from conversion_assets.instance import close_abandoned_runs
from conversion_assets.quarantining import (
    WILL_RETRY_TAG,
    evidence_told,
    keep_failed_run,
    will_be_tried_again,
)
from conversion_assets.resources.alerts import Alert, Alerts
from conversion_assets.resources.quarantine import Quarantine
from conversion_assets.run_failures import RunFailure, failure_of
from conversion_assets.standing import order_key

SECONDS_BETWEEN_TICKS = 10
SECONDS_BETWEEN_SEARCHES = 60
MOST_FAILURES = 50
MOST_ALERTS = 50
SECONDS_TO_ALERT = 20
SECONDS_TO_DECIDE = 60
"""Dagster notes on a failed run whether it will be tried again an instant after it notes the failure."""
ALERT_AGE_SECONDS = 86_400
"""Older failures are put into quarantine without an alert: those of a home that had no daemon so far."""


@dg.sensor(
    name="failures",
    minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Puts the orders of failed runs into quarantine that could not do so themselves, such as those of"
        " killed processes, and notes an alert of each failure."
    ),
)
def failures(context: dg.SensorEvaluationContext, quarantine: Quarantine, alerts: Alerts) -> dg.SkipReason:
    """Look at the runs that failed since the last tick, of all jobs and of the command line.

    A run-failure sensor of Dagster's own moves its cursor also past a failure that it could not handle.
    This one stays before it: the tick fails and is repeated. What was done before is not done again.
    """
    changes = context.instance.fetch_run_status_changes(
        dg.RunStatusChangeRecordsFilter(
            dg.DagsterEventType.RUN_FAILURE, after_storage_id=int(context.cursor or 0)
        ),
        ascending=True,
        limit=MOST_FAILURES,
    ).records
    kept = 0
    for change in changes:
        run = context.instance.get_run_by_id(change.event_log_entry.run_id)
        if run is not None:
            if _is_undecided(context.instance, run, change.timestamp):
                break
            kept += _handle(context, run, change.timestamp, quarantine, alerts)
        context.update_cursor(str(change.storage_id))
    return dg.SkipReason(f"{len(changes)} failed runs looked at, {kept} orders put into quarantine.")


def _is_undecided(instance: dg.DagsterInstance, run: dg.DagsterRun, failed: float) -> bool:
    is_repeatable = instance.run_retries_enabled and run.remote_job_origin is not None
    return is_repeatable and WILL_RETRY_TAG not in run.tags and time.time() - failed < SECONDS_TO_DECIDE


def _handle(
    context: dg.SensorEvaluationContext,
    run: dg.DagsterRun,
    failed: float,
    quarantine: Quarantine,
    alerts: Alerts,
) -> bool:
    if will_be_tried_again(run):
        return False
    failure = failure_of(context.instance, run.run_id)
    if failure.is_interruption:
        return False
    kept, evidence = None, ""
    try:
        kept = keep_failed_run(context.instance, quarantine, run.run_id)
        evidence = _evidence(run, quarantine)
    except ConversionAssetsError as error:  # the order or its record cannot be read: others go on
        context.log.error("run %s: %s", run.run_id, error)  # noqa: TRY400 - it says all itself
    if time.time() - failed < ALERT_AGE_SECONDS:
        alerts.note(_alert(run, failure, failed, alerts.url_of_run(run.run_id), evidence))
    return kept is not None


def _evidence(run: dg.DagsterRun, quarantine: Quarantine) -> str:
    """Say where the evidence of a run's failure is now; its reason names where it was."""
    key = order_key(run)
    record = quarantine.find(key) if key else None
    return evidence_told(record) if record is not None and record.run_id == run.run_id else ""


def _alert(run: dg.DagsterRun, failure: RunFailure, failed: float, url: str | None, evidence: str) -> Alert:
    key = order_key(run)
    what = f"Order {key}" if key else f"Job {run.job_name}"
    text = f"{what} failed ({failure.error_class.value}): {failure.error}{evidence}"
    return Alert(
        text=f"{text} {url}" if url else text,
        order=key,
        error_class=failure.error_class.value,
        reason=failure.error,
        job=run.job_name,
        run_id=run.run_id,
        when=datetime.fromtimestamp(failed, UTC),
        url=url,
    )


@dg.sensor(
    name="alerts",
    minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells the webhook of CONVERSION_ASSETS_ALERT_WEBHOOK of each failure until it has taken it.",
)
def alert_sensor(context: dg.SensorEvaluationContext, alerts: Alerts) -> dg.SkipReason:
    """Deliver what is pending; the first that is refused ends the tick, and the next one begins with it."""
    if not alerts.webhook:
        return dg.SkipReason("No webhook is configured.")
    deadline, told = time.monotonic() + SECONDS_TO_ALERT, 0
    for alert in alerts.pending(datetime.now(UTC)):
        if told == MOST_ALERTS or time.monotonic() > deadline:
            break
        try:
            alerts.deliver(alert)
        except ConversionAssetsError as error:
            context.log.error("the alert of run %s has to wait: %s", alert.run_id, error)  # noqa: TRY400 - as above
            return dg.SkipReason(f"{told} alerts told; the next has to wait: {error}")
        told += 1
    return dg.SkipReason(f"{told} alerts told.")


@dg.sensor(
    name="abandoned_runs",
    minimum_interval_seconds=SECONDS_BETWEEN_SEARCHES,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Closes runs whose process was killed together with the server that watched it.",
)
def abandoned_runs(context: dg.SensorEvaluationContext, quarantine: Quarantine) -> dg.SkipReason:
    """Look for runs that nobody works on."""
    closed = close_abandoned_runs(context.instance, quarantine)
    return dg.SkipReason(f"{len(closed)} abandoned runs closed.")
