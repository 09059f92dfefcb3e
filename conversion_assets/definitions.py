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
from conversion_assets.ordering import Wishes
from conversion_assets.resources.archive_limits import ArchiveLimits
from conversion_assets.resources.bucket_rules import CsvBucketRules
from conversion_assets.resources.catalogue import StaticCatalogue
from conversion_assets.resources.converter import ChildProcessConverter
from conversion_assets.resources.facility import Facility
from conversion_assets.resources.input_source import InboxFolder
from conversion_assets.resources.object_store import FolderObjectStore
from conversion_assets.resources.order_defaults import OrderDefaults
from conversion_assets.resources.record_store import RecordStore
from conversion_assets.resources.staging import CopyStaging
from conversion_assets.running import PROGRESS_LOGGER, progress_logger
from conversion_assets.settings import Settings

ASSETS = (input_item, staged_safe_item, unzipped_safe, zarr_product, stac_item, published_item)


def build_definitions(settings: Settings, **resource_overrides: Any) -> dg.Definitions:  # noqa: ANN401 - any resource
    """Assemble the code location.

    Args:
        settings: where everything is and what it may use.
        resource_overrides: resources to use instead of the embedded default, by name.
    """
    wishes = Wishes(owner=settings.owner, default_owner=settings.owner, schemes=settings.schemes)
    return dg.Definitions(
        assets=ASSETS,
        jobs=[convert],
        sensors=[inbox_sensor(wishes, settings.inbox_max_orders)],
        resources=embedded_resources(settings) | resource_overrides,
        # The default executor starts a process per step; the five steps of an order are a line anyway.
        executor=dg.in_process_executor,
        loggers={"console": dg.colored_console_logger, PROGRESS_LOGGER: progress_logger},
    )


def embedded_resources(settings: Settings) -> dict[str, Any]:
    """Give the embedded default of every service: folders below the home, a child process, no server."""
    home = settings.home
    return {
        "records": RecordStore(root=str(home / "records")),
        "object_store": FolderObjectStore(root=str(home)),
        "order_defaults": OrderDefaults(owner=settings.owner, schemes=list(settings.schemes)),
        "staging": CopyStaging(schemes=list(settings.schemes)),
        "archive_limits": ArchiveLimits(
            max_entries=settings.archive_max_entries,
            max_bytes=settings.archive_max_bytes,
            max_ratio=settings.archive_max_ratio,
        ),
        "bucket_rules": CsvBucketRules(path=str(settings.bucket_rules) if settings.bucket_rules else None),
        "converter": ChildProcessConverter(
            threads=settings.threads,
            memory_limit_bytes=settings.memory_limit_bytes,
            time_limit_seconds=settings.time_limit_seconds,
        ),
        "facility": Facility(name=settings.facility),
        "catalogue": StaticCatalogue(root=str(home / "catalogue")),
        "input_source": InboxFolder(folder=str(home / "inbox"), stable_seconds=settings.inbox_stable_seconds),
    }


defs = build_definitions(Settings())
