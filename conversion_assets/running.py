"""One order through the whole line in this process, and the result as people and programs want it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import dagster as dg
from pydantic import BaseModel, ConfigDict

from conversion_assets.automation.jobs import CONVERT
from conversion_assets.errors import ConversionAssetsError, ErrorClass, printable
from conversion_assets.orders import Order
from conversion_assets.partitions import record_order
from conversion_assets.quarantining import keep_failed_run
from conversion_assets.records import PublishedProduct
from conversion_assets.run_failures import failure_in
from conversion_assets.run_marks import PROCESS_TAG, process_mark
from conversion_assets.run_traces import caller_tags
from conversion_assets.web.addresses import redacted

PUBLISHED, FAILED = "published", "failed"
PROGRESS_LOGGER = "progress"

Listener = Callable[[str, str], None]


class OrderResult(BaseModel):
    """How an order ended.

    Attributes:
        order: partition key; None where the source was refused before there was an order.
        source: what was asked for.
        status: ``published`` or ``failed``.
        product_type: EOPF product type.
        product: URI of the Zarr.
        item: href of the published STAC item.
        derived_from: link to the original source.
        seconds: wall seconds of each asset that was made.
        checks: how many checks passed of those that stop the line.
        error: why it failed.
        error_class: ``permanent``, ``transient`` or ``poisoned``.
        exit_code: 0 published, 2 bad order or input, 1 failed otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: str | None
    source: str
    status: str
    product_type: str | None = None
    product: str | None = None
    item: str | None = None
    derived_from: str | None = None
    seconds: dict[str, float] = {}
    checks: int = 0
    error: str | None = None
    error_class: ErrorClass | None = None
    exit_code: int = 0


def refused(source: str, error: ConversionAssetsError) -> OrderResult:
    """Give the result of a source that could not be ordered."""
    return OrderResult(
        order=None,
        source=printable(source),
        status=FAILED,
        error=str(error),
        error_class=error.error_class,
        exit_code=error.exit_code,
    )


def run_order(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    order: Order,
    *,
    reconvert: bool,
    listener: Listener,
) -> OrderResult:
    """Take one order from its source to the catalogue, in this process.

    Args:
        definitions: the code location, whose loggers include ``progress_logger``.
        instance: where order, run and history are kept.
        order: what to do.
        reconvert: convert again what was converted before.
        listener: receives the step and a sentence whenever something happens.

    Returns:
        The result; failures are values, not exceptions.
    """
    record_order(instance, order)
    run_id = str(uuid4())
    with _listening(listener):
        result = definitions.resolve_job_def(CONVERT).execute_in_process(
            instance=instance,
            partition_key=order.key,
            run_id=run_id,
            run_config={
                "ops": {"zarr_product": {"config": {"reconvert": reconvert}}},
                "loggers": {PROGRESS_LOGGER: {}},
            },
            tags={
                PROCESS_TAG: process_mark(run_id),
                "conversion_assets/source": "command line",
                **caller_tags(),
            },
            raise_on_error=False,
        )
    if not result.success:  # what failed outside the steps, they could not tell
        keep_failed_run(instance, (definitions.resources or {})["quarantine"], run_id)
    return result_of(order, result)


def result_of(order: Order, result: dg.ExecuteInProcessResult) -> OrderResult:
    """Read a run's events."""
    facts: dict[str, Any] = {
        "order": order.key,
        "source": redacted(order.href),
        "derived_from": order.derived_from,
        "seconds": dict(_seconds(result.all_events)),
        "checks": _passed(result.get_asset_check_evaluations()),
    }
    if not result.success:
        failure = failure_in(result.all_events)
        return OrderResult(
            **facts,
            status=FAILED,
            error=failure.error,
            error_class=failure.error_class,
            exit_code=failure.exit_code,
        )
    published: PublishedProduct = result.asset_value("published_item")
    return OrderResult(
        **facts,
        status=PUBLISHED,
        product_type=published.product_type,
        product=published.product_uri,
        item=published.item_href,
    )


def _passed(checks: Iterable[dg.AssetCheckEvaluation]) -> int:
    """Count the checks that stop the line and have passed; a warning may have had nothing to judge by."""
    return sum(check.passed for check in checks if check.severity is dg.AssetCheckSeverity.ERROR)


def _seconds(events: Iterable[dg.DagsterEvent]) -> Iterator[tuple[str, float]]:
    for event in events:
        if event.is_step_success:
            yield str(event.step_key), round(event.step_success_data.duration_ms / 1000, 3)


class _ProgressHandler(logging.Handler):
    """Hands the log of a run to whoever listens in this process."""

    listener: Listener | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.listener is None:
            return
        meta = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        step = str(meta.get("step_key") or "")
        if event is None and logging.INFO <= record.levelno < logging.ERROR:
            self.listener(step, str(meta.get("orig_message", "")))
        elif event is not None and event.event_type_value in ("STEP_START", "STEP_UP_FOR_RETRY"):
            text = "" if event.event_type_value == "STEP_START" else "failed, is tried again"
            self.listener(step, text)


_HANDLER = _ProgressHandler()


@contextmanager
def _listening(listener: Listener) -> Iterator[None]:
    _HANDLER.listener = listener
    try:
        yield
    finally:
        _HANDLER.listener = None


@dg.logger(
    config_schema={},
    description="Tells the command line what happens; other logs are left to Dagster's own storage.",
)
def progress_logger(context: dg.InitLoggerContext) -> logging.Logger:
    """Build the logger that feeds the listener of ``run_order``."""
    del context
    logger = logging.Logger("conversion_assets.progress", level=logging.DEBUG)  # noqa: LOG001 - private to one run
    logger.addHandler(_HANDLER)
    return logger
