"""The front door: the only place where everything meets."""

from __future__ import annotations

from typing import Any

import dagster as dg

from conversion_assets.assets.input_item import input_item
from conversion_assets.assets.published_item import published_item
from conversion_assets.assets.stac_item import stac_item
from conversion_assets.assets.staged_safe_item import staged_safe_item
from conversion_assets.assets.unzipped_safe import unzipped_safe
from conversion_assets.assets.zarr_product import zarr_product
from conversion_assets.automation.inbox_sensor import inbox_sensor
from conversion_assets.automation.jobs import convert
from conversion_assets.run_traces import order_console_logger
from conversion_assets.running import PROGRESS_LOGGER, progress_logger
from conversion_assets.services import resources_for
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
    return dg.Definitions(
        assets=ASSETS,
        jobs=[convert],
        sensors=[inbox_sensor(settings.inbox_max_orders)],
        resources=resources_for(settings) | resource_overrides,
        # The default executor starts a process per step; the five steps of an order are a line anyway.
        executor=dg.in_process_executor,
        loggers={
            "console": order_console_logger,
            "json": dg.json_console_logger,
            PROGRESS_LOGGER: progress_logger,
        },
    )


defs = build_definitions(Settings())
