"""After the faults: what an operator does, and whether all that came is published or quarantined."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import zarr

from benchmarks.soak.plan import Flaw
from benchmarks.soak.products import Made
from conversion_assets.backfilling import latest_backfills
from conversion_assets.errors import ErrorClass
from conversion_assets.partitions import safe_items
from conversion_assets.quarantining import quarantine_of
from conversion_assets.records import PublishedProduct, ZarrProduct
from conversion_assets.settings import Settings
from conversion_assets.stac.versions import earlier_version
from conversion_assets.standing import latest_skipped, order_key
from conversion_assets_tests.end_to_end.command import Ended, run
from conversion_assets_tests.end_to_end.test_killed import left_behind, visible_products
from conversion_assets_tests.faults.wholeness import product_of, require_whole_for_readers, unfinished

QUIET_SECONDS = 60.0
"""Longer than any sensor, retry or backfill waits until it makes a run."""
SECONDS_BETWEEN_LOOKS = 3.0
MOST_BACKFILLS = 100
UNFINISHED = dg.RunsFilter(
    statuses=[
        status
        for status in dg.DagsterRunStatus
        if status
        not in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
    ]
)


def drain(instance: dg.DagsterInstance, seconds: float, meanwhile: Callable[[], None]) -> bool:
    """Wait until nothing has been under way for a while.

    Args:
        instance: whose runs and backfills.
        seconds: at most.
        meanwhile: called again and again.

    Returns:
        Whether that was so in time.
    """
    deadline, quiet_since = time.monotonic() + seconds, time.monotonic()
    while time.monotonic() < deadline:
        meanwhile()
        if _is_busy(instance):
            quiet_since = time.monotonic()
        elif time.monotonic() > quiet_since + QUIET_SECONDS:
            return True
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return False


def _is_busy(instance: dg.DagsterInstance) -> bool:
    if instance.get_runs_count(UNFINISHED):
        return True
    return not all(standing.is_over for standing in latest_backfills(instance, MOST_BACKFILLS))


def operate(settings: Settings, instance: dg.DagsterInstance, tell: Callable[[str], None]) -> dict[str, int]:
    """Do what an operator does once: replay what was not the input's fault, order again what was cancelled.

    Returns:
        How many orders were replayed, by class of error, and how many were ordered again.
    """
    done: Counter[str] = Counter()
    for kind in (ErrorClass.TRANSIENT, ErrorClass.PERMANENT):
        ended = _command(settings, tell, "quarantine", "replay", "--class", kind, "--submit", "--json")
        done[f"replayed, {kind}"] = len(ended.orders)
    if keys := _canceled(instance):
        _command(settings, tell, "backfill", *keys, "--yes")
    done["ordered again, cancelled"] = len(keys)
    return dict(done)


def _canceled(instance: dg.DagsterInstance) -> list[str]:
    """Give the keys whose latest run was cancelled."""
    latest: dict[str, dg.DagsterRunStatus] = {}
    for record in instance.get_runs():
        if key := order_key(record):
            latest.setdefault(key, record.status)
    return [key for key, status in latest.items() if status is dg.DagsterRunStatus.CANCELED]


def reconcile(settings: Settings, tell: Callable[[str], None]) -> tuple[Counter[str], list[str]]:
    """Let upkeep mend what it finds, whatever its age.

    Returns:
        How much it found by kind, and what it finds afterwards.
    """
    mended = _findings(_command(settings, tell, "reconcile", "--mend", "--json"))
    left = _findings(_command(settings, tell, "reconcile", "--deep", "--json"))
    found = Counter(str(finding["kind"]) for finding in mended)
    return found, [f"{finding['kind']}: {finding['subject']}: {finding['why']}" for finding in left]


def _findings(ended: Ended) -> list[dict[str, Any]]:
    if not ended.stdout:
        return [{"kind": "no answer", "subject": "reconcile", "why": ended.stderr}]
    findings: list[dict[str, Any]] = json.loads(ended.stdout)["findings"]
    return findings


def _command(settings: Settings, tell: Callable[[str], None], *arguments: str) -> Ended:
    ended = run(*arguments, home=settings.home, upkeep_settle_hours="0")
    for line in ended.stderr.splitlines():
        tell(f"conversion-assets {arguments[0]}: {line}")
    return ended


def faults_of(settings: Settings, instance: dg.DagsterInstance, made: Sequence[Made]) -> Iterator[str]:
    """Tell what is wrong at the end, nothing if all that came is published once or quarantined.

    Args:
        settings: of the home.
        instance: of the home.
        made: all that came.
    """
    refused = {one.key for one in made if one.product.flaw is Flaw.HOSTILE_ID}
    sound = {one.key for one in made if one.product.flaw is Flaw.NONE}
    poisoned = {one.key for one in made} - refused - sound
    yield from _of_orders(instance, sound | poisoned, refused)
    yield from _of_quarantine(settings, poisoned)
    try:
        yield from _of_catalogue(settings.home, [one for one in made if one.key in sound])
    except Exception as error:  # noqa: BLE001 - what readers would stumble over, too; the rest is told
        yield f"for readers: {type(error).__name__}: {error}"
    yield from (f"left behind: {path}" for path in (*left_behind(settings.home), *unfinished(settings.home)))


def _of_orders(instance: dg.DagsterInstance, ordered: set[str], refused: set[str]) -> Iterator[str]:
    yield from _unlike("partition", ordered, instance.get_dynamic_partitions(str(safe_items.name)))
    skipped = {one.name.rpartition("/")[2] for one in latest_skipped(instance)}
    yield from (f"not told as skipped: {key}" for key in refused - skipped)
    yield from (f"run {run.run_id} is {run.status.value}" for run in instance.get_runs(UNFINISHED))


def _of_quarantine(settings: Settings, poisoned: set[str]) -> Iterator[str]:
    records = quarantine_of(settings).records()
    yield from _unlike("quarantined order", poisoned, [record.key for record in records])
    for record in records:
        if record.key in poisoned and not (record.error_class is ErrorClass.POISONED and record.rule):
            yield f"{record.key} is in quarantine as {record.error_class}: {record.subject}: {record.rule}"


def _of_catalogue(home: Path, sound: Sequence[Made]) -> Iterator[str]:
    items = require_whole_for_readers(home)
    current = {str(item.get_self_href()): item for item in items if earlier_version(item.to_dict()) is None}
    records = {one.key: home / "records" / "published_item" / f"{one.key}.json" for one in sound}
    published = {
        key: PublishedProduct.model_validate_json(path.read_bytes())
        for key, path in records.items()
        if path.exists()
    }
    yield from _unlike("published order", set(records), published)
    hrefs = [urlsplit(record.item_href).path for record in published.values()]
    yield from _unlike("current item", set(current), hrefs)
    yield from _unlike("product", {product_of(item) for item in items}, visible_products(home))
    products = {href: product_of(item).as_uri() for href, item in current.items()}
    for one in sound:
        if one.key in published:
            href = urlsplit(published[one.key].item_href).path
            yield from _of_product(home, one, products.get(href))
    for item in items:
        if not list(zarr.open_consolidated(str(product_of(item)), mode="r").groups()):
            yield f"{product_of(item)} is empty"


def _of_product(home: Path, made: Made, uri: str | None) -> Iterator[str]:
    """See that the product of the item was made of the content that came last."""
    path = home / "records" / "zarr_product" / f"{made.key}.json"
    record = ZarrProduct.model_validate_json(path.read_bytes())
    if record.uri != uri:
        yield f"{made.key}: its item leads to {uri}, its product is {record.uri}"
    if record.safe.fingerprint != made.contents[-1].fingerprint:
        yield f"{made.key}: its product is not of the content that came last"


def _unlike(what: str, wanted: set[Any], found: Iterable[Any]) -> Iterator[str]:
    counted = Counter(list(found))
    yield from (f"no {what}: {one}" for one in sorted(wanted - set(counted)))
    yield from (f"unexpected {what}: {one}" for one in sorted(set(counted) - wanted))
    yield from (f"{times} times {what}: {one}" for one, times in counted.items() if times > 1)
