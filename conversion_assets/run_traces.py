"""Runs and steps as traces and logs see them: what Dagster knows of them becomes spans and log fields."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from conversion_assets.tracing import TracedRun, current_trace_id, enabled, logs_of, order_span, step_span

TRACEPARENT_TAG = "conversion_assets/traceparent"
PARTITION_TAG = "dagster/partition"
TRACEPARENT = re.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
CONSOLE_FORMAT = "%(asctime)s - %(levelname)s - %(order_key)s - %(order_trace_id)s - %(message)s"


@contextmanager
def order_traced(context: dg.InitResourceContext) -> Iterator[None]:
    """Trace the run that a resource is made for as one order, from the run's creation to its end.

    Its log records carry the order, in any case.
    """
    run = context.run
    if run is None:
        yield
        return
    key = run.tags.get(PARTITION_TAG, "")
    traced = _traced(run, _created(context, run.run_id) if enabled() else None)
    with order_span(traced, partition=key, run_id=run.run_id), logs_of(key, run.run_id):
        yield


@contextmanager
def step_traced(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Trace one attempt at a step, and let its log records carry the order."""
    run, name = context.run, context.asset_key.to_user_string()
    key = context.partition_key if context.has_partition_key else ""
    attempt = context.op_execution_context.retry_number
    traced = step_span(name, _traced(run), partition=key, run_id=run.run_id, attempt=attempt)
    with traced, logs_of(key, run.run_id):
        if enabled():
            context.log.debug("order %s, trace %s", key, current_trace_id())
        yield


def caller_tags() -> dict[str, str]:
    """Give the tag that makes a run a part of the trace that the variable ``TRACEPARENT`` names, if any."""
    traceparent = os.environ.get("TRACEPARENT", "")
    return {TRACEPARENT_TAG: traceparent} if enabled() and TRACEPARENT.fullmatch(traceparent) else {}


def _created(context: dg.InitResourceContext, run_id: str) -> float | None:
    record = context.instance.get_run_record_by_id(run_id) if context.instance else None
    return record.create_timestamp.timestamp() if record else None


def _traced(run: dg.DagsterRun, created: float | None = None) -> TracedRun:
    return TracedRun(run.root_run_id or run.run_id, run.tags.get(TRACEPARENT_TAG), created)


@dg.logger(
    {"log_level": dg.Field(str, default_value="DEBUG", is_required=False)},
    description="Lines on standard error that begin with the order, and its trace where tracing is on.",
)
def order_console_logger(context: dg.InitLoggerContext) -> logging.Logger:
    """Build the console logger of runs whose lines are read outside Dagster."""
    logger = logging.Logger("dagster", level=context.logger_config["log_level"])  # noqa: LOG001 - private to one run
    handler = logging.StreamHandler()
    handler.addFilter(_named_by_its_run)
    handler.setFormatter(logging.Formatter(CONSOLE_FORMAT, defaults={"order_trace_id": ""}))
    logger.addHandler(handler)
    return logger


def _named_by_its_run(record: logging.LogRecord) -> bool:
    """Name the order also where the run has not begun to work, or has ended."""
    tags = vars(record).get("dagster_meta", {}).get("job_tags", {})
    vars(record)["order_key"] = tags.get(PARTITION_TAG, "")
    return True
