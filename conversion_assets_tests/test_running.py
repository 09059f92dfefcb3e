from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from conversion_assets.definitions import build_definitions
from conversion_assets.errors import ErrorClass, OrderError, TransientError
from conversion_assets.instance import open_instance
from conversion_assets.ordering import Wishes, orders_from
from conversion_assets.orders import Order
from conversion_assets.partitions import find_order
from conversion_assets.quarantining import quarantine_of
from conversion_assets.resources.staging import CopyStaging, Progress, StagedCopy
from conversion_assets.running import FAILED, OrderResult, refused, run_order
from conversion_assets.settings import Settings

WISHES = Wishes(owner="local", default_owner="local")
FILES = ["file"]


class BrokenStaging(CopyStaging):
    """Staging with a programming error."""

    def stage(self, order: Order, folder: Path, tell: Progress) -> StagedCopy:
        """Fail as no class of error foresees."""
        tell(f"about to divide {order.key}")
        return StagedCopy(folder, files=1 // 0, total_bytes=0, resumed=False)


class InterruptedStaging(BrokenStaging):
    """Staging during which somebody presses Ctrl-C."""

    def stage(self, order: Order, folder: Path, tell: Progress) -> StagedCopy:
        """Be interrupted."""
        del order, folder, tell
        raise KeyboardInterrupt


class UnreachableStaging(BrokenStaging):
    """Staging from a server that is down."""

    def stage(self, order: Order, folder: Path, tell: Progress) -> StagedCopy:
        """Fail for now."""
        del folder, tell
        raise TransientError(order.href, "the server is down", "It is tried again.")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    with open_instance(settings) as opened:
        yield opened


@pytest.fixture
def order(tmp_path: Path) -> Order:
    path = tmp_path / "letters.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letters/first.txt", "Dear reader")
    (made,) = orders_from(str(path), WISHES)
    return made


def run(
    settings: Settings, instance: dg.DagsterInstance, order: Order, **resources: object
) -> tuple[OrderResult, list[tuple[str, str]]]:
    told: list[tuple[str, str]] = []
    definitions = build_definitions(settings, **resources)
    result = run_order(
        definitions, instance, order, reconvert=False, listener=lambda step, text: told.append((step, text))
    )
    return result, told


def test_failure_is_a_value_with_what_the_error_said(
    settings: Settings, instance: dg.DagsterInstance, order: Order
) -> None:
    result, told = run(settings, instance, order)
    assert (result.order, result.status, result.exit_code) == ("letters", FAILED, 2)
    assert result.error_class is ErrorClass.POISONED
    assert result.error is not None
    assert "must hold one .SAFE or .SEN3 folder" in result.error
    assert list(result.seconds) == ["staged_safe_item"]
    assert (result.product, result.item) == (None, None)
    evidence = settings.home / "quarantine" / "evidence" / "letters"
    assert told == [
        ("staged_safe_item", ""),
        ("staged_safe_item", "copying letters.zip"),
        ("unzipped_safe", ""),
        ("unzipped_safe", "unpacking letters.zip"),
        ("unzipped_safe", f"the input was moved to {evidence}, as evidence"),
    ]


def test_order_is_known_before_it_runs(
    settings: Settings, instance: dg.DagsterInstance, order: Order
) -> None:
    run(settings, instance, order)
    assert find_order(instance, "letters") == order
    assert instance.get_dynamic_partitions("safe_items") == ["letters"]


def test_programming_error_is_told_in_a_sentence_and_not_retried(
    settings: Settings, instance: dg.DagsterInstance, order: Order
) -> None:
    result, told = run(settings, instance, order, staging=BrokenStaging(schemes=FILES))
    assert (result.exit_code, result.error_class) == (1, ErrorClass.PERMANENT)
    assert result.error is not None
    assert result.error.startswith("ZeroDivisionError: ")
    assert told == [("staged_safe_item", ""), ("staged_safe_item", "about to divide letters")]


def test_resource_that_cannot_be_made_is_told(
    settings: Settings, instance: dg.DagsterInstance, order: Order
) -> None:
    (settings.home / "locks").write_text("not a folder")
    result, told = run(settings, instance, order)
    assert (result.status, result.exit_code) == (FAILED, 1)
    assert result.error
    assert told == []
    (kept,) = quarantine_of(settings).records()
    assert (kept.key, kept.error_class, kept.step) == ("letters", ErrorClass.PERMANENT, "")


def test_interrupt_is_not_retried(settings: Settings, instance: dg.DagsterInstance, order: Order) -> None:
    result, told = run(settings, instance, order, staging=InterruptedStaging(schemes=FILES))
    assert (result.exit_code, result.error_class) == (130, ErrorClass.TRANSIENT)
    assert result.error == "the order: it was interrupted. Order it again to continue."
    assert quarantine_of(settings).records() == []
    assert told == [("staged_safe_item", "")]


def test_transient_error_is_retried_three_times_and_said(
    settings: Settings, instance: dg.DagsterInstance, order: Order
) -> None:
    result, told = run(settings, instance, order, staging=UnreachableStaging(schemes=FILES))
    assert (result.exit_code, result.error_class) == (1, ErrorClass.TRANSIENT)
    assert result.error == f"{order.href}: the server is down. It is tried again."
    assert told.count(("staged_safe_item", "failed, is tried again")) == 3
    (kept,) = quarantine_of(settings).records()
    assert (kept.key, kept.error_class, kept.step) == ("letters", ErrorClass.TRANSIENT, "staged_safe_item")


def test_listener_hears_nothing_of_later_runs(
    settings: Settings, instance: dg.DagsterInstance, order: Order
) -> None:
    _, told = run(settings, instance, order)
    heard = len(told)
    run(settings, instance, order)
    assert len(told) == heard


def test_refused_source_has_no_order() -> None:
    result = refused("/nowhere", OrderError("/nowhere", "there is nothing", "Look elsewhere."))
    assert (result.order, result.source, result.status, result.exit_code) == (None, "/nowhere", FAILED, 2)
    assert result.error == "/nowhere: there is nothing. Look elsewhere."
