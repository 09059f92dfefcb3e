"""Materializations of another day, as a run of that day would have left them."""

from __future__ import annotations

import logging
from datetime import datetime

import dagster as dg
from dagster._core.events import StepMaterializationData

RUNLESS = ""  # what Dagster writes for events that no run made


def materialized_at(instance: dg.DagsterInstance, event: dg.AssetMaterialization, when: datetime) -> None:
    """Store a materialization with the time at which it happened."""
    instance.event_log_storage.store_event(
        dg.EventLogEntry(  # type: ignore[no-untyped-call] # a record class, typed at run time
            error_info=None,
            level=logging.INFO,
            user_message="",
            run_id=RUNLESS,
            timestamp=when.timestamp(),
            dagster_event=dg.DagsterEvent(
                event_type_value=dg.DagsterEventType.ASSET_MATERIALIZATION.value,
                job_name=RUNLESS,
                event_specific_data=StepMaterializationData(event),
            ),
        )
    )
