"""The five steps one at a time: the functions of the real assets, called as Dagster calls them, without runs.

What is driven is the function that Dagster would call for an asset (``compute_fn``): the whole of
``assets/step.py`` and of the asset's body, with the real resources, records and instance. Left out is
Dagster's own machinery around it, which takes a second for five steps and is the same for each of them: the
execution plan, the events of a run, its log. What that machinery does for ours is done here: one run at a
time holds the order's turn, a step that asks for it is tried again, a record is written after its step, and
the publication is told as a materialization.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import dagster as dg
from dagster._core.events import DagsterEventType
from dagster._core.execution.context.compute import current_execution_context

from conversion_assets.assets.overrides import OrderOverrides
from conversion_assets.assets.published_item import published_item
from conversion_assets.assets.stac_item import stac_item
from conversion_assets.assets.staged_safe_item import staged_safe_item
from conversion_assets.assets.unzipped_safe import unzipped_safe
from conversion_assets.assets.zarr_product import ConversionOptions, zarr_product
from conversion_assets.errors import ErrorClass, OrderError
from conversion_assets.failures import RETRIES
from conversion_assets.quarantining import PUBLISHED_ITEM
from conversion_assets.records import Record
from conversion_assets.run_traces import PARTITION_TAG

LINE = (staged_safe_item, unzipped_safe, zarr_product, stac_item, published_item)
STAGE, UNZIP, CONVERT, DESCRIBE, PUBLISH = range(len(LINE))
LOG = logging.getLogger(__name__)
LOG.addHandler(logging.NullHandler())
LOG.propagate = False


@dataclass(frozen=True)
class Failed:
    """How a step failed.

    Attributes:
        error_class: of the failure.
        text: what a person is told.
        is_foreseen: whether the error is one of ours.
        is_refusal: whether the order cannot be served, or its input is bad: what is staged of it goes.
    """

    error_class: ErrorClass
    text: str
    is_foreseen: bool
    is_refusal: bool


@dataclass(frozen=True)
class _Step:
    """What a step sees of Dagster."""

    asset_key: dg.AssetKey
    run: dg.DagsterRun
    instance: dg.DagsterInstance
    retry_number: int
    log: logging.Logger = LOG
    has_partition_key: bool = True

    @property
    def partition_key(self) -> str:
        return self.run.tags[PARTITION_TAG]

    @property
    def op_execution_context(self) -> _Step:
        return self


@dataclass(frozen=True)
class _Stored:
    """What the record store sees of Dagster; Dagster's own build an instance each time they are made."""

    asset_key: dg.AssetKey
    partition_key: str
    dagster_type: dg.DagsterType | None = None


@dataclass(frozen=True)
class Line:
    """The steps with what they work on.

    Attributes:
        instance: knows the orders.
        resources: those of the code location, ready, by name.
        records: keeps what a step hands to the next.
    """

    instance: dg.DagsterInstance
    resources: Mapping[str, Any]
    records: Any = field(repr=False)

    def run(self, key: str, step: int, *, reconvert: bool = False) -> Record | Failed:
        """Materialize one asset of an order.

        Args:
            key: of the order.
            step: which of ``LINE``.
            reconvert: convert again what was converted before.

        Returns:
            The record, or why there is none.
        """
        tags = {PARTITION_TAG: key}
        run = dg.DagsterRun("convert", str(uuid4()), tags=tags, status=dg.DagsterRunStatus.STARTED)
        self.instance.run_storage.add_run(run)
        ended = DagsterEventType.RUN_CANCELED
        try:
            with self.resources["object_store"].turn(key):
                outcome = self._tried(run, LINE[step], reconvert=reconvert)
            is_failure = isinstance(outcome, Failed)
            ended = DagsterEventType.RUN_FAILURE if is_failure else DagsterEventType.RUN_SUCCESS
        finally:
            event = dg.DagsterEvent(ended.value, "convert")
            self.instance.run_storage.handle_run_event(run.run_id, event, datetime.now(UTC))
        return outcome

    def has_input(self, key: str, step: int) -> bool:
        """Say whether the step before has left its record."""
        return step == STAGE or self._path_of(key, step - 1).is_file()

    def record_of(self, key: str, step: int) -> Any:  # noqa: ANN401 - the record of that step
        """Read what a step left."""
        after = LINE[step + 1]
        return self._loaded(after, _name(LINE[step]), key)

    def _path_of(self, key: str, step: int) -> Any:  # noqa: ANN401 - of the record store
        return self.records._path(LINE[step].key, key)

    def _tried(self, run: dg.DagsterRun, asset: dg.AssetsDefinition, *, reconvert: bool) -> Record | Failed:
        for attempt in range(RETRIES.max_retries + 1):
            context = _Step(asset.key, run, self.instance, attempt)
            try:
                return self._done(context, asset, reconvert=reconvert)
            except dg.RetryRequested:
                continue
            except dg.Failure as failure:
                return _failed(failure)
        raise AssertionError("a step asks to be tried again more often than it may be")

    def _done(self, context: _Step, asset: dg.AssetsDefinition, *, reconvert: bool) -> Record:
        made = None
        with _current(context):
            for told in self._call(context, asset, reconvert=reconvert):
                made = told if isinstance(told, dg.MaterializeResult) else made
        assert made is not None, "a step ended without a record"
        record: Record = made.value
        self.records.handle_output(_Stored(asset.key, context.partition_key), record)
        if asset.key == PUBLISHED_ITEM:
            event = dg.AssetMaterialization(
                asset.key, partition=context.partition_key, metadata=made.metadata
            )
            self.instance.report_runless_asset_event(event)
        return record

    def _call(self, context: _Step, asset: dg.AssetsDefinition, *, reconvert: bool) -> Iterator[Any]:
        function: Any = asset.op.compute_fn
        parameters = list(inspect.signature(function.decorated_fn).parameters)
        positional = [context] if parameters[0] == "context" else []
        named = {
            name: self._argument(name, asset, context.partition_key, reconvert=reconvert)
            for name in parameters[len(positional) :]
        }
        yield from function.decorated_fn(*positional, **named)

    def _argument(self, name: str, asset: dg.AssetsDefinition, key: str, *, reconvert: bool) -> Any:  # noqa: ANN401 - what the step asks for
        if name in map(_name, LINE):
            return self._loaded(asset, name, key)
        if name == "config":
            return ConversionOptions(reconvert=reconvert) if asset is zarr_product else OrderOverrides()
        return self.resources[name]

    def _loaded(self, asset: dg.AssetsDefinition, name: str, key: str) -> Any:  # noqa: ANN401 - the record of that step
        kind = asset.op.input_dict[name].dagster_type
        return self.records.load_input(_Stored(dg.AssetKey(name), key, kind))


@contextmanager
def _current(context: Any) -> Iterator[None]:  # noqa: ANN401 - stands for Dagster's
    token = current_execution_context.set(context)
    try:
        yield
    finally:
        current_execution_context.reset(token)


def _name(asset: dg.AssetsDefinition) -> str:
    return asset.key.to_user_string()


def _failed(failure: dg.Failure) -> Failed:
    told = {name: value.value for name, value in failure.metadata.items()}
    return Failed(
        ErrorClass(str(told["error_class"])),
        str(failure.description),
        is_foreseen=told["way_out"] != "Report it with the log of this run.",
        is_refusal=told["exit_code"] == OrderError.exit_code,
    )
