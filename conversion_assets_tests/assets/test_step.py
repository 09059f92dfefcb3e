from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from conversion_assets import assets
from conversion_assets.assets.step import Result, materialized, step
from conversion_assets.errors import (
    ConversionAssetsError,
    OrderError,
    OrderInterruptedError,
    PermanentError,
    PoisonedInputError,
    TransientError,
)
from conversion_assets.failures import RETRIES, failures_told_by_class
from conversion_assets.orders import Order
from conversion_assets.partitions import record_order
from conversion_assets.records import StagedSafe
from conversion_assets.resources.quarantine import QuarantineFolder
from conversion_assets.resources.record_store import RecordStore
from conversion_assets.settings import Settings

ERRORS = (TransientError, PermanentError, OrderError, PoisonedInputError)
RECORD = StagedSafe(
    order=Order(key="X", item_id="X", href="s3://b/X.zip", derived_from="s3://b/X.zip", owner="someone"),
    path=Path("/staging/X.zip"),
    files=1,
    total_bytes=7,
)


def told(error: BaseException) -> dg.Failure:
    with pytest.raises(dg.Failure) as caught, failures_told_by_class():
        raise error
    return caught.value


@pytest.mark.parametrize("kind", ERRORS)
def test_class_of_an_error_reaches_the_failure(kind: type[ConversionAssetsError]) -> None:
    failure = told(kind("X.zip", "it is bad", "Mend it."))
    assert failure.description == "X.zip: it is bad. Mend it."
    assert failure.metadata["error_class"].value == kind.error_class.value
    assert failure.metadata["exit_code"].value == kind.exit_code
    assert [failure.metadata[name].value for name in ("subject", "rule", "way_out")] == [
        "X.zip",
        "it is bad",
        "Mend it.",
    ]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_told_as_such(number: int) -> None:
    failure = told(OSError(number, "no space", "/data/x"))
    assert failure.description == "/data/x: there is no space left. Free some space, then order again."
    assert not failure.allow_retries


@pytest.mark.parametrize("error", [RuntimeError("never seen"), KeyError(), OSError("odd"), ValueError("")])
def test_unknown_error_is_permanent_and_named(error: Exception) -> None:
    failure = told(error)
    assert str(failure.description).startswith(type(error).__name__)
    assert failure.metadata["error_class"].value == "permanent"
    assert not failure.allow_retries


def test_failures_and_retries_pass_as_they_are() -> None:
    failure = dg.Failure("as it is")
    assert told(failure) is failure
    with pytest.raises(dg.RetryRequested), failures_told_by_class():
        raise dg.RetryRequested(max_retries=1)


def asset_that(body: Callable[[int], None]) -> tuple[dg.AssetsDefinition, list[int]]:
    attempts: list[int] = []

    @step(kinds={"file"})
    def a_step(context: dg.AssetExecutionContext) -> Result:
        """Do what a test asks for."""
        attempts.append(context.op_execution_context.retry_number)
        body(len(attempts))
        yield materialized(RECORD, {"answer": 42}, data_version="v1")

    return a_step, attempts


def run(asset: dg.AssetsDefinition, home: Path) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        record_order(instance, RECORD.order)
        return dg.materialize(
            [asset],
            instance=instance,
            partition_key="X",
            resources={"records": RecordStore(root=str(home)), "quarantine": quarantine(home)},
            raise_on_error=False,
        )


def quarantine(home: Path) -> QuarantineFolder:
    return QuarantineFolder(root=str(home / "quarantine"))


def test_step_leaves_a_record_and_metadata(tmp_path: Path) -> None:
    asset, attempts = asset_that(lambda _: None)
    result = run(asset, tmp_path)
    assert result.success
    assert result.asset_value("a_step") == RECORD
    (event,) = result.asset_materializations_for_node("a_step")
    assert event.metadata["answer"].value == 42
    assert event.partition == "X"
    assert (event.tags or {})["dagster/data_version"] == "v1"
    assert (tmp_path / "a_step" / "X.json").is_file()
    assert attempts == [0]


def test_transient_error_is_tried_again_until_it_passes(tmp_path: Path) -> None:
    def fail_once(attempt: int) -> None:
        if attempt == 1:
            raise TransientError("https://server.test", "it is busy", "It is tried again.")

    asset, attempts = asset_that(fail_once)
    assert run(asset, tmp_path).success
    assert attempts == [0, 1]


@pytest.mark.parametrize("kind", [PermanentError, OrderError, PoisonedInputError])
def test_other_errors_end_the_step_at_once(kind: type[ConversionAssetsError], tmp_path: Path) -> None:
    def fail(_: int) -> None:
        raise kind("X", "bad", "Mend.")

    asset, attempts = asset_that(fail)
    result = run(asset, tmp_path)
    assert not result.success
    assert attempts == [0]
    failure = result.failure_data_for_node("a_step")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert failure.user_failure_data.metadata["error_class"].value == kind.error_class.value
    assert [path.name for path in tmp_path.iterdir()] == ["quarantine"]
    (kept,) = quarantine(tmp_path).records()
    assert (kept.key, kept.order, kept.error_class) == ("X", RECORD.order, kind.error_class)
    assert (kept.subject, kept.rule, kept.way_out) == ("X", "bad", "Mend.")
    assert (kept.step, kept.run_id, kept.attempts) == ("a_step", result.run_id, 1)


@pytest.mark.parametrize("interruption", [OrderInterruptedError, KeyboardInterrupt])
def test_interrupted_order_is_not_kept(interruption: type[BaseException], tmp_path: Path) -> None:
    def interrupt(_: int) -> None:
        raise interruption

    asset, attempts = asset_that(interrupt)
    assert not run(asset, tmp_path).success
    assert attempts == [0]
    assert quarantine(tmp_path).records() == []


def test_full_disk_does_not_hide_why_the_step_failed(tmp_path: Path) -> None:
    def fail(_: int) -> None:
        (tmp_path / "quarantine").write_text("no folder can be made here")
        raise PermanentError("X", "bad", "Mend.")

    asset, _ = asset_that(fail)
    failure = run(asset, tmp_path).failure_data_for_node("a_step")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert failure.user_failure_data.description == "X: bad. Mend."


def test_retries_grow_and_scatter() -> None:
    assert (RETRIES.max_retries, RETRIES.backoff, RETRIES.jitter) == (
        3,
        dg.Backoff.EXPONENTIAL,
        dg.Jitter.PLUS_MINUS,
    )


def test_every_pool_of_the_settings_limits_one_asset() -> None:
    pools = [
        asset.op.pool
        for asset in dg.load_assets_from_package_module(assets)
        if isinstance(asset, dg.AssetsDefinition)
    ]
    assert sorted(filter(None, pools)) == sorted(Settings().slots)
