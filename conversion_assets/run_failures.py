"""Why a run failed, read from its events: the class, the error's own parts, and whether it failed at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import dagster as dg

from conversion_assets.errors import (
    ConversionAssetsError,
    ErrorClass,
    OrderError,
    OrderInterruptedError,
    PermanentError,
    PoisonedInputError,
    TransientError,
)

INTERRUPTS = frozenset({"KeyboardInterrupt", "DagsterExecutionInterruptedError"})
CLASSES = {kind.__name__: kind for kind in (TransientError, PermanentError, OrderError, PoisonedInputError)}
REPORT = "Report it with the log of the run."


@dataclass(frozen=True)
class RunFailure:
    """Why a run failed.

    Attributes:
        error: what a person is told.
        error_class: how the failure is to be treated.
        exit_code: of a command that ends with it.
        subject: what it is about.
        rule: what was expected and what was found instead.
        way_out: what can be done about it.
        step: in which step; empty where it was outside all steps.
    """

    error: str
    error_class: ErrorClass
    exit_code: int
    subject: str
    rule: str
    way_out: str
    step: str = ""

    @classmethod
    def of(cls, error: ConversionAssetsError, step: str = "") -> RunFailure:
        """Tell of an error."""
        return cls(
            error=str(error),
            error_class=error.error_class,
            exit_code=error.exit_code,
            subject=error.subject,
            rule=error.rule,
            way_out=error.way_out,
            step=step,
        )

    @property
    def is_interruption(self) -> bool:
        """Whether somebody ended the run; nothing is wrong with the order then."""
        return self.exit_code == OrderInterruptedError.exit_code


def failure_in(events: Iterable[dg.DagsterEvent]) -> RunFailure:
    """Find out why a run failed; the first step that failed counts before the run's own end."""
    for event in events:
        if event.is_step_failure:
            return _of_step(event)
        if event.is_failure or event.event_type_value == "PIPELINE_CANCELED":
            return _of_run(event)
    return RunFailure.of(PermanentError("the run", "it ended early", "Report it with its log."))


def failure_of(instance: dg.DagsterInstance, run_id: str) -> RunFailure:
    """Find out the same from Dagster's history."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    kinds |= {dg.DagsterEventType.RUN_CANCELED}
    records = instance.get_records_for_run(run_id, of_type=kinds).records
    return failure_in(event for record in records if (event := record.event_log_entry.dagster_event))


def _of_step(event: dg.DagsterEvent) -> RunFailure:
    data: Any = event.step_failure_data
    step = str(event.step_key)
    if data.error_source is not None and data.error_source.value == "INTERRUPT":
        return RunFailure.of(OrderInterruptedError(), step)
    told = data.user_failure_data
    if told is None or "error_class" not in told.metadata:
        return _of_error(data.error, step)
    parts = {name: told.metadata[name].value for name in ("exit_code", "subject", "rule", "way_out")}
    error_class = ErrorClass(told.metadata["error_class"].value)
    return RunFailure(error=told.description, error_class=error_class, step=step, **parts)


def _of_run(event: dg.DagsterEvent) -> RunFailure:
    error = getattr(event.event_specific_data, "error", None)
    if error is not None or event.event_type_value == "PIPELINE_CANCELED":
        return _of_error(error, "")
    # Whoever found the process gone says so in the event; with it went everything that could tell more.
    return RunFailure.of(
        TransientError("the run", (event.message or "it ended early").rstrip("."), "Order it again.")
    )


def _of_error(error: Any, step: str) -> RunFailure:  # noqa: ANN401 - Dagster does not export the type
    """Tell of an error that no step has classed, such as that of a resource that could not be made."""
    causes = [error] if error is not None else []
    while causes and causes[-1].cause is not None:
        causes.append(causes[-1].cause)
    if not causes or any(cause.cls_name in INTERRUPTS for cause in causes):
        return RunFailure.of(OrderInterruptedError(), step)
    kind = next((CLASSES[cause.cls_name] for cause in causes if cause.cls_name in CLASSES), PermanentError)
    text = causes[-1].message.strip()
    return RunFailure(
        error=text,
        error_class=kind.error_class,
        exit_code=kind.exit_code,
        subject="the run",
        rule=text,
        way_out=REPORT,
        step=step,
    )
