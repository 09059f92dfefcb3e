"""What a killed process did and what is done again: orders and upkeep as the commands do them."""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus

from conversion_assets.automation.upkeep import PRUNE, STEPS
from conversion_assets.backfilling import (
    SOURCE_TAG,
    Request,
    cancel,
    latest_backfills,
    launch,
    pause,
    resume,
)
from conversion_assets.definitions import build_definitions
from conversion_assets.instance import close_abandoned_runs, open_instance
from conversion_assets.ordering import Wishes, orders_from
from conversion_assets.partitions import safe_items
from conversion_assets.publishing import release_superseded
from conversion_assets.quarantining import quarantine_of
from conversion_assets.replaying import Keepers, begin_replay, drop_order
from conversion_assets.resources import s3_object_store  # noqa: F401 - heavy: imported once for all copies
from conversion_assets.resources.object_store import ObjectStore
from conversion_assets.running import OrderResult, run_order
from conversion_assets.selecting import PARTITION_TAG, History
from conversion_assets.services import house_now, order_defaults_now
from conversion_assets.settings import PREFIX, Settings
from conversion_assets.stac.assets import PRODUCT_KEY
from conversion_assets.stac.versions import VERSION_LINKS
from conversion_assets.standing import latest_orders, order_key, standing_of
from conversion_assets.storage import transfer
from conversion_assets.upkeep.mending import mend
from conversion_assets.upkeep.pruning import LASTING
from conversion_assets.upkeep.retiring import retire
from conversion_assets.upkeep.surveying import survey
from conversion_assets.zarr.verification import check_completeness
from conversion_assets_tests.faults.converter import NamingConverter
from conversion_assets_tests.faults.sabotage import Place, install
from conversion_assets_tests.faults.sources import make_sources

YEAR, AT_ONCE = timedelta(days=365), timedelta(0)
MOMENT = timedelta(microseconds=100) / timedelta(days=1)
"""In days, as pruning takes it; 0 it refuses."""
MOST_RECORDS = 100
OURS = (PREFIX, "DAGSTER_", "AWS_", "S3_")

Work = Callable[[Settings], Any]


@dataclass(frozen=True)
class Task:
    """What one process is to do.

    Attributes:
        work: a function of this module, or a ``functools.partial`` of one.
        variables: its settings.
        result: file that takes what the function gives.
        faults: folder of what is armed; None where nothing is.
        place: where the process is killed.
    """

    work: Work
    variables: Mapping[str, str]
    result: Path
    faults: Path | None = None
    place: Place | None = field(default=None)


def serve(tasks: Connection) -> None:
    """Do each task in a copy of this process, whose exit code is the answer."""
    _warm_up()
    while True:
        try:
            task: Task = tasks.recv()
        except EOFError:
            return
        pid = os.fork()
        if not pid:
            _perform_and_exit(task)
        _, status = os.waitpid(pid, 0)
        tasks.send(os.waitstatus_to_exitcode(status))


def _warm_up() -> None:
    """Take an order through, so that copies need not import and compile again what all of them use."""
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = _settings_of({f"{PREFIX}HOME": name})
        order(settings, make_sources(Path(name)).archive)
    gc.freeze()


def _settings_of(variables: Mapping[str, str]) -> Settings:
    """Give the settings of this process, which takes nothing over from the one that started it."""
    for name in [name for name in os.environ if name.startswith(OURS)]:
        del os.environ[name]
    os.environ.update(variables)
    settings = Settings()
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    return settings


def _perform_and_exit(task: Task) -> None:
    code = 1
    try:
        settings = _settings_of(task.variables)
        if task.faults is not None and task.place is not None:
            install(task.faults, [task.place.target])
        task.result.write_text(json.dumps(task.work(settings)))
        code = 0
    except BaseException:  # noqa: BLE001 - a copy must not go on with what its original does
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def order(
    settings: Settings, source: Path, *, reconvert: bool = False, is_real: bool = False
) -> dict[str, Any]:
    """Order a product as ``conversion-assets convert`` does; give its result.

    Args:
        settings: of the home.
        source: archive or folder.
        reconvert: convert again what was converted before.
        is_real: with eopf in a process of its own, else with nothing to convert.
    """
    definitions = _definitions(settings, is_real=is_real)
    with open_instance(settings) as instance:
        close_abandoned_runs(instance, quarantine_of(settings))
        (one,) = orders_from(str(source), _wishes(settings))
        result = run_order(definitions, instance, one, reconvert=reconvert, listener=_ignore)
    return _told(result)


def order_all(settings: Settings, sources: Sequence[Path], *, reconvert: bool = False) -> list[str]:
    """Order products one after the other; give their keys."""
    return [str(order(settings, source, reconvert=reconvert)["order"]) for source in sources]


def replay(settings: Settings) -> dict[str, Any]:
    """Replay the one quarantined order as ``conversion-assets quarantine replay`` does."""
    definitions, quarantine = _definitions(settings), quarantine_of(settings)
    with open_instance(settings) as instance:
        close_abandoned_runs(instance, quarantine)
        (record,) = quarantine.records()
        one = begin_replay(instance, quarantine, record, print)
        result = run_order(definitions, instance, one, reconvert=False, listener=_ignore)
    return _told(result)


def close(settings: Settings) -> list[str]:
    """Close the runs of killed processes as every command does; give their ids."""
    with open_instance(settings) as instance:
        return close_abandoned_runs(instance, quarantine_of(settings))


def drop(settings: Settings) -> int:
    """Drop what is in quarantine as ``conversion-assets quarantine drop`` does; give how many orders."""
    definitions = _definitions(settings)
    records = quarantine_of(settings).records()
    with open_instance(settings) as instance, Keepers.opened(definitions.resources or {}) as keepers:
        for record in records:
            drop_order(instance, keepers, record)
    return len(records)


def release(settings: Settings, *, objects_at_once: int = transfer.MOST_DELETED) -> int:
    """Take away all superseded versions; give how many.

    Args:
        settings: of the home.
        objects_at_once: how many S3 is asked to remove with one request.
    """
    transfer.MOST_DELETED = objects_at_once
    resources = _definitions(settings).resources or {}
    names = ("catalogue", "object_store")
    now = datetime.now(UTC) + YEAR
    with dg.build_resources({name: resources[name] for name in names}) as ready:
        released = [
            one
            for collection in ready.catalogue.collections()
            for one in release_superseded(ready.catalogue, ready.object_store, collection, now)
        ]
    return len(released)


def reconcile(settings: Settings) -> dict[str, list[Any]]:
    """Mend as ``conversion-assets reconcile --mend`` does; give what is found then, and unfinished runs."""
    resources, now = _definitions(settings).resources or {}, datetime.now(UTC)
    with open_instance(settings) as instance, house_now(resources, instance, now) as house:
        close_abandoned_runs(instance, house.quarantine)
        mend(house, survey(house, now, AT_ONCE), now, AT_ONCE)
    with open_instance(settings) as instance, house_now(resources, instance, datetime.now(UTC)) as house:
        left = survey(house, datetime.now(UTC), AT_ONCE)
        runs = [run.run_id for run in instance.get_runs() if not run.is_finished]
    return {"findings": [finding.told() for finding in left.found], "unfinished": runs}


def retire_published(settings: Settings, *, most: int = 1) -> list[str]:
    """Retire the oldest keys of published orders as the schedule does; give those that are left."""
    now = datetime.now(UTC)
    with open_instance(settings) as instance:
        close_abandoned_runs(instance, quarantine_of(settings))
        retire(instance, quarantine_of(settings), now + YEAR, now, most=most)
        return live_keys(instance)


def prune(settings: Settings) -> None:
    """Let all history go that is not needed, as the schedule does."""
    job = _definitions(settings).resolve_job_def(PRUNE)
    config = {"ops": {STEPS[PRUNE]: {"config": {"days": MOMENT}}}}
    with open_instance(settings) as instance:
        close_abandoned_runs(instance, quarantine_of(settings))
        job.execute_in_process(instance=instance, run_config=config)


def history(settings: Settings) -> dict[str, Any]:
    """Tell what is known of orders, and the runs and backfills by which it is known."""
    with open_instance(settings) as instance:
        known = History(instance)
        keys, versions = known.keys, known.data_versions()
        return {
            "standings": {key: standing_of(instance, key).model_dump() for key in keys},
            "versions": {key: astuple(versions(key)) for key in keys},
            "without a run": {key: [_without_run(instance, asset, key) for asset in LASTING] for key in keys},
            "runs": [[run.run_id, order_key(run)] for run in reversed(instance.get_runs())],
            "backfills": len(instance.get_backfills()),
        }


def standings(settings: Settings) -> list[dict[str, Any]]:
    """Tell where the latest orders stand, as ``conversion-assets status`` does."""
    with open_instance(settings) as instance:
        return [standing.model_dump() for standing in latest_orders(instance)]


def _without_run(instance: dg.DagsterInstance, asset: str, key: str) -> int:
    """Count the materializations that are kept without their run."""
    chosen = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[key])
    records = instance.fetch_materializations(chosen, limit=MOST_RECORDS).records
    return sum(not record.run_id for record in records)


def live_keys(instance: dg.DagsterInstance) -> list[str]:
    """Give the partition keys that have not retired."""
    return list(instance.get_dynamic_partitions(str(safe_items.name)))


def backfill(settings: Settings) -> str:
    """Have all orders converted again as ``conversion-assets backfill --all --reconvert``; give its id."""
    with open_instance(settings) as instance:
        return launch(instance, Request(History(instance).keys, reconvert=True))


def end_backfill(settings: Settings) -> None:
    """Cancel the one backfill before it has begun, and let it be ended, as the daemon does."""
    with open_instance(settings) as instance:
        (row,) = instance.get_backfills()
        cancel(instance, row.backfill_id)
        instance.update_backfill(row._replace(status=BulkActionStatus.CANCELED))


def pause_backfill(settings: Settings) -> dict[str, Any]:
    """Pause the latest backfill while no daemon runs; tell where it stands."""
    with open_instance(settings) as instance:
        (latest,) = latest_backfills(instance, 1)
        return pause(instance, latest.id, _at_once).model_dump(mode="json")


def resume_backfill(settings: Settings) -> str:
    """Continue the first backfill; give the id of the continuation."""
    with open_instance(settings) as instance:
        first = latest_backfills(instance, MOST_RECORDS)[-1]
        return resume(instance, first.id)


def backfills(settings: Settings) -> dict[str, Any]:
    """Tell where all backfills stand, the latest first, and which keys there are."""
    with open_instance(settings) as instance:
        standings = [one.model_dump(mode="json") for one in latest_backfills(instance, MOST_RECORDS)]
        return {"standings": standings, "keys": live_keys(instance)}


def runs_by_key(settings: Settings) -> dict[str, list[str]]:
    """Give the statuses of the runs of backfills by order, the oldest first."""
    with open_instance(settings) as instance:
        runs = instance.get_runs(dg.RunsFilter(tags={SOURCE_TAG: "backfill"}))
    found: dict[str, list[str]] = {}
    for run in reversed(runs):
        found.setdefault(run.tags[PARTITION_TAG], []).append(run.status.value)
    return found


def seen(settings: Settings) -> dict[str, Any]:
    """Look at catalogue and store as readers do: items with their products, and all that lies on shelves."""
    resources = build_definitions(settings).resources or {}
    names = ("catalogue", "object_store")
    with dg.build_resources({name: resources[name] for name in names}) as ready:
        items = [
            item for collection in ready.catalogue.collections() for item in ready.catalogue.items(collection)
        ]
        linked = [link["href"] for item in items for link in item["links"] if link["rel"] in VERSION_LINKS]
        return {
            "items": {
                item["id"]: _is_complete(ready.object_store, item["assets"][PRODUCT_KEY]["href"])
                for item in items
            },
            "linked": [ready.catalogue.read(href)["id"] for href in linked],
            "published": sorted({item["assets"][PRODUCT_KEY]["href"] for item in items}),
            "products": {
                product.uri: product.is_complete
                for shelf in ready.object_store.shelves([settings.bucket])
                for product in ready.object_store.products(shelf)
            },
        }


def _is_complete(store: ObjectStore, uri: str) -> bool:
    return check_completeness(store.open_product(uri)).passed


def statuses(settings: Settings) -> list[str]:
    """Give the statuses of all runs, the oldest first."""
    with open_instance(settings) as instance:
        return [run.status.value for run in reversed(instance.get_runs())]


def retries(settings: Settings) -> int:
    """Count the steps of the latest run that were tried again."""
    with open_instance(settings) as instance:
        (run,) = instance.get_runs(limit=1)
        again = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY)
    return len(again.records)


def make_instance(settings: Settings) -> None:
    """Make a home in which nothing was ordered."""
    open_instance(settings).dispose()


def _definitions(settings: Settings, *, is_real: bool = False) -> dg.Definitions:
    return (
        build_definitions(settings) if is_real else build_definitions(settings, converter=NamingConverter())
    )


def _wishes(settings: Settings) -> Wishes:
    defaults = order_defaults_now(settings)
    return Wishes(owner=settings.owner, default_owner=settings.owner, rules=defaults.rules)


def _told(result: OrderResult) -> dict[str, Any]:
    told: dict[str, Any] = result.model_dump(mode="json")
    return told


def _ignore(step: str, text: str) -> None:
    del step, text


def _at_once(seconds: float) -> None:
    del seconds
