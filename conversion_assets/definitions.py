"""The front door: the only place where everything meets."""

from __future__ import annotations

from typing import Any

import dagster as dg

from conversion_assets.assets.daily_report import daily_report
from conversion_assets.assets.input_item import input_item
from conversion_assets.assets.published_item import published_item
from conversion_assets.assets.quarantined_order import quarantined_order
from conversion_assets.assets.stac_item import stac_item
from conversion_assets.assets.staged_safe_item import staged_safe_item
from conversion_assets.assets.unzipped_safe import unzipped_safe
from conversion_assets.assets.zarr_product import zarr_product
from conversion_assets.automation.daily_report import daily_reports, report_of_a_day
from conversion_assets.automation.failure_sensor import abandoned_runs, alert_sensor, failures
from conversion_assets.automation.jobs import convert
from conversion_assets.automation.replay_sensor import replays
from conversion_assets.automation.upkeep import upkeep_jobs, upkeep_schedules
from conversion_assets.automation.watch_sensor import source_of, watch_sensor
from conversion_assets.run_traces import order_console_logger
from conversion_assets.running import PROGRESS_LOGGER, progress_logger
from conversion_assets.services import input_source, resources_for, watches_of
from conversion_assets.settings import Settings
from conversion_assets.web.client import keep_addresses_out_of_logs

ASSETS = (input_item, staged_safe_item, unzipped_safe, zarr_product, stac_item, published_item)


def build_definitions(settings: Settings, **resource_overrides: Any) -> dg.Definitions:  # noqa: ANN401 - any resource
    """Assemble the code location.

    Args:
        settings: where everything is and what it may use.
        resource_overrides: resources to use instead of those that the settings choose, by name.
    """
    keep_addresses_out_of_logs()
    watches = watches_of(settings)
    sources = {source_of(watch): input_source(watch, settings) for watch in watches}
    return dg.Definitions(
        assets=[*ASSETS, quarantined_order, daily_report],
        jobs=[convert, report_of_a_day, *upkeep_jobs(settings)],
        sensors=[*map(watch_sensor, watches), failures, abandoned_runs, alert_sensor, replays],
        schedules=[daily_reports, *upkeep_schedules(settings)],
        resources=resources_for(settings) | sources | resource_overrides,
        # The default executor starts a process per step; the five steps of an order are a line anyway.
        executor=dg.in_process_executor,
        loggers={
            "console": order_console_logger,
            "json": dg.json_console_logger,
            PROGRESS_LOGGER: progress_logger,
        },
    )


defs = build_definitions(Settings())
