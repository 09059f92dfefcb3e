"""Upkeep by schedule: catalogue and store compared, old keys retired, old runs pruned, one at a time."""

# Dagster looks at the annotations of ops: they have to be the types themselves, not their names.

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from conversion_assets.backfilling import ABOVE_ORDERS, PRIORITY_TAG
from conversion_assets.errors import OrderError
from conversion_assets.resources.bucket_rules import BucketRules
from conversion_assets.resources.catalogue import Catalogue
from conversion_assets.resources.object_store import ObjectStore
from conversion_assets.resources.quarantine import Quarantine
from conversion_assets.resources.staging import Staging
from conversion_assets.run_marks import mark_run
from conversion_assets.settings import PREFIX, Settings
from conversion_assets.upkeep.findings import Findings, Outcome
from conversion_assets.upkeep.live_orders import UNFINISHED, LiveOrders
from conversion_assets.upkeep.mending import mend
from conversion_assets.upkeep.pruning import prune
from conversion_assets.upkeep.retiring import retire
from conversion_assets.upkeep.surveying import House, survey

RECONCILE, RETIRE, PRUNE = "reconcile", "retire_published", "prune_history"
STEPS = {RECONCILE: "compare", RETIRE: "retire", PRUNE: "prune"}
"""The one step of each job: Dagster lets no two things have one name."""
UPKEEP_TAG = "conversion_assets/upkeep"
TAGS = {UPKEEP_TAG: "true", PRIORITY_TAG: ABOVE_ORDERS}
"""Nothing grows older in the queue: behind orders, upkeep would wait as long as there are any."""
SCHEDULE_TAG = "dagster/schedule_name"
RETIRES = "Retires the partition keys of orders published long ago."
PRUNES = "Prunes the history of runs."
MOST_SHOWN = 1000
MOST_AT_ONCE = 50_000


class ReconcileOptions(dg.Config):
    """Run configuration of the comparison."""

    dry_run: bool = Field(default=True, description="Tell what is found, and change nothing.")
    deep: bool = Field(default=False, description="Compare the metadata of each product, too.")
    settle_hours: float = Field(default=24, ge=0, description="What changed within it is left alone.")


class LimitOptions(dg.Config):
    """Run configuration of retirement and pruning."""

    days: float = Field(gt=0, description="What is older goes.")
    most: int = Field(default=MOST_AT_ONCE, ge=1, description="How many go at most.")


@dg.op(
    name=STEPS[RECONCILE],
    description="Compares catalogue, store and this machine, and mends what is found unless it is a dry run.",
)
def reconcile_op(
    config: ReconcileOptions,
    catalogue: Catalogue,
    object_store: ObjectStore,
    staging: Staging,
    quarantine: Quarantine,
    bucket_rules: BucketRules,
) -> None:
    """Tell every finding in the log, and all of them in the metadata."""
    context = dg.OpExecutionContext.get()
    now, settle = datetime.now(UTC), timedelta(hours=config.settle_hours)
    orders = LiveOrders(context.instance, Path(object_store.root) / "records", now)
    house = House(catalogue, object_store, staging, quarantine, bucket_rules, orders)
    with _alone(context, object_store) as is_alone:
        if not is_alone:
            return
        findings = survey(house, now, settle, is_deep=config.deep)
        outcomes = () if config.dry_run else mend(house, findings, now, settle)
    for finding in findings.found if config.dry_run else ():
        context.log.info("%s: %s: %s", finding.kind.value, finding.subject, finding.why)
    for outcome in outcomes:
        tell = context.log.info if outcome.is_mended else context.log.warning
        tell("%s: %s: %s", outcome.finding.kind.value, outcome.finding.subject, outcome.said)
    context.add_output_metadata(_metadata(findings, outcomes))


@dg.op(name=STEPS[RETIRE], description="Lets partition keys go whose orders were published long ago.")
def retire_op(config: LimitOptions, object_store: ObjectStore, quarantine: Quarantine) -> None:
    """See ``retiring.retire``."""
    context = dg.OpExecutionContext.get()
    now = datetime.now(UTC)
    with _alone(context, object_store) as is_alone:
        if not is_alone:
            return
        gone = retire(context.instance, quarantine, now - timedelta(days=config.days), now, config.most)
    shown = "\n".join(f"- {key}" for key in gone[:MOST_SHOWN])
    context.add_output_metadata({"retired": len(gone), "keys": dg.MetadataValue.md(shown)})


@dg.op(name=STEPS[PRUNE], description="Removes old runs and backfills; what orders made last stays known.")
def prune_op(config: LimitOptions, object_store: ObjectStore, quarantine: Quarantine) -> None:
    """See ``pruning.prune``."""
    context = dg.OpExecutionContext.get()
    now = datetime.now(UTC)
    with _alone(context, object_store) as is_alone:
        if not is_alone:
            return
        pruned = prune(
            context.instance,
            object_store,
            quarantine,
            now - timedelta(days=config.days),
            now,
            most=config.most,
            jobs=tuple(STEPS),
        )
    context.add_output_metadata(
        {"runs": pruned.runs, "carried over": pruned.carried_over, "backfills": pruned.backfills}
    )


@contextmanager
def _alone(context: dg.OpExecutionContext, store: ObjectStore) -> Iterator[bool]:
    """Keep other upkeep of this home out, and let the run be closed should its process be killed."""
    mark_run(context.instance, context.run)
    with store.sole_upkeep() as is_alone:
        if not is_alone:
            context.log.warning("other upkeep is going on here; this run leaves it to that one")
        yield is_alone


def _metadata(findings: Findings, outcomes: tuple[Outcome, ...]) -> dict[str, Any]:
    told = [outcome.told() for outcome in outcomes] or [finding.told() for finding in findings.found]
    mended = sum(outcome.is_mended for outcome in outcomes)
    return {
        "found": len(findings.found),
        "mended": mended,
        "left": len(findings.found) - mended,
        "foreign": findings.foreign,
        "unused locks": findings.locks,
        **findings.counts(),
        "findings": dg.MetadataValue.json(told[:MOST_SHOWN]),
    }


@dg.graph(name=RECONCILE)
def reconcile() -> None:
    """Do the one thing."""
    reconcile_op()


@dg.graph(name=RETIRE)
def retire_published() -> None:
    """Do the one thing."""
    retire_op()


@dg.graph(name=PRUNE)
def prune_history() -> None:
    """Do the one thing."""
    prune_op()


def upkeep_jobs(settings: Settings) -> tuple[dg.JobDefinition, ...]:
    """Give the jobs of all upkeep; what nobody configures is as the settings say, and comparison is dry."""
    settle = {"settle_hours": settings.upkeep_settle_hours}
    return (
        _job(reconcile, settle, "Compares catalogue and store; dry unless told otherwise."),
        _job(retire_published, {"days": settings.retire_days}, RETIRES),
        _job(prune_history, {"days": settings.history_days}, PRUNES),
    )


def _job(graph: dg.GraphDefinition, config: dict[str, Any], says: str) -> dg.JobDefinition:
    return graph.to_job(description=says, tags=TAGS, config=_run_config(graph.name, config))


def upkeep_schedules(settings: Settings) -> tuple[dg.ScheduleDefinition, ...]:
    """Give the schedules of all upkeep, in UTC.

    Args:
        settings: say when, what is old, and whether the schedule mends.

    Raises:
        OrderError: a time is none.
    """
    mends = settings.upkeep_mends
    compares = "Compares catalogue and store, and " + ("mends" if mends else "only tells") + " what it finds."
    options = {"dry_run": not mends, "settle_hours": settings.upkeep_settle_hours}
    return (
        _schedule(RECONCILE, "reconcile_cron", settings, options, compares),
        _schedule(RETIRE, "retire_cron", settings, {"days": settings.retire_days}, RETIRES),
        _schedule(PRUNE, "prune_cron", settings, {"days": settings.history_days}, PRUNES),
    )


def _schedule(
    job: str, setting: str, settings: Settings, config: dict[str, Any], says: str
) -> dg.ScheduleDefinition:
    cron: str = getattr(settings, setting)

    def requested(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if _has_unfinished(context.instance, job):
            return dg.SkipReason("The run that this schedule requested before has not finished.")
        return dg.RunRequest(run_config=_run_config(job, config))

    try:
        return dg.ScheduleDefinition(
            name=job,
            job_name=job,
            cron_schedule=cron,
            execution_fn=requested,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=says,
        )
    except dg.DagsterInvalidDefinitionError as error:
        raise OrderError(
            f"{PREFIX}{setting.upper()}",
            f"{cron!r} is no time that a schedule can have",
            "Write five fields such as '17 1 * * *'.",
        ) from error


def _has_unfinished(instance: dg.DagsterInstance, schedule: str) -> bool:
    """Tell whether a run of a schedule is queued or running; they would pile up where none is worked on."""
    return instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED, tags={SCHEDULE_TAG: schedule})) > 0


def _run_config(job: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"ops": {STEPS[job]: {"config": config}}}
