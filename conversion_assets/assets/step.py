"""What the five assets have in common: partitions, records, retries, failures told by class and kept."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from conversion_assets.checks.specs import check_specs
from conversion_assets.errors import ConversionAssetsError, OrderInterruptedError, PoisonedInputError
from conversion_assets.failures import classed, failures_told_by_class, transient_errors_retried
from conversion_assets.partitions import safe_items
from conversion_assets.quarantining import PUBLISHED_ITEM, keep_failure, tell_of
from conversion_assets.records import Record
from conversion_assets.resources.object_store import ObjectStore
from conversion_assets.resources.quarantine import EVIDENCE_COPY, Quarantine
from conversion_assets.run_failures import RunFailure
from conversion_assets.run_traces import step_traced
from conversion_assets.tracing import note

GROUP = "conversion"
NEEDS_QUARANTINE = inspect.Parameter("quarantine", inspect.Parameter.KEYWORD_ONLY, annotation=Quarantine)
"""What every step asks for besides what its function asks for."""

Result = Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]
Body = Callable[..., Result]


def step(
    *,
    kinds: set[str],
    pool: str | None = None,
    code_version: str = "1",
    deps: Sequence[dg.AssetKey] = (),
) -> Callable[[Body], dg.AssetsDefinition]:
    """Turn a function into one asset of the line.

    The function yields its check results and its materialization, whose value is a record. What it
    raises fails the step with its class in the metadata; only transient errors are retried. What fails for
    good comes into quarantine, and leaves it when the item is published.

    Args:
        kinds: what the UI shows on the asset.
        pool: which of the pools of ``Settings.slots`` it takes a slot of.
        code_version: changes when the asset's result for the same input changes.
        deps: external assets it follows.
    """

    def decorate(body: Body) -> dg.AssetsDefinition:
        @functools.wraps(body)
        def classified_body(*args: object, **kwargs: Any) -> Result:  # noqa: ANN401 - records, resources
            context = dg.AssetExecutionContext.get()
            quarantine: Quarantine = kwargs.pop("quarantine")
            attempt = context.op_execution_context.retry_number
            with (
                failures_told_by_class(),
                _failures_kept(context, quarantine, kwargs.get("object_store")),
                transient_errors_retried(attempt),
                step_traced(context),
            ):
                yield from body(*args, **kwargs)
            if context.asset_key == PUBLISHED_ITEM and quarantine.resolve(context.partition_key):
                tell_of(context.instance, context.partition_key, "published", "It was published.")

        # Dagster looks the names of the annotations up in the wrapper's module: give it the types.
        signature = inspect.signature(body, eval_str=True)
        vars(classified_body)["__signature__"] = signature.replace(
            parameters=[*signature.parameters.values(), NEEDS_QUARANTINE]
        )
        classified_body.__annotations__ = {
            **inspect.get_annotations(body, eval_str=True),
            NEEDS_QUARANTINE.name: NEEDS_QUARANTINE.annotation,
        }
        return dg.asset(
            partitions_def=safe_items,
            group_name=GROUP,
            io_manager_key="records",
            dagster_type=dg.Any,
            check_specs=check_specs(body.__name__),
            kinds=kinds,
            pool=pool,
            code_version=code_version,
            deps=deps,
        )(classified_body)

    return decorate


@contextmanager
def _failures_kept(
    context: dg.AssetExecutionContext, quarantine: Quarantine, store: ObjectStore | None
) -> Iterator[None]:
    """Put the order into quarantine when its step fails for good; who interrupts it has no such wish."""
    try:
        yield
    except (dg.Failure, dg.RetryRequested, OrderInterruptedError):
        raise
    except Exception as error:
        try:
            _keep(context, quarantine, store, classed(error))
        except Exception as trouble:  # noqa: BLE001 - it must not hide why the step failed
            context.log.warning("the order is not in quarantine yet: %s", trouble)
        raise


def _keep(
    context: dg.AssetExecutionContext,
    quarantine: Quarantine,
    store: ObjectStore | None,
    error: ConversionAssetsError,
) -> None:
    evidence = None
    if isinstance(error, PoisonedInputError) and store is not None:
        evidence = quarantine.take_evidence(
            context.partition_key, store.staging_folder(context.partition_key)
        )
        if copy := evidence.get(EVIDENCE_COPY):
            context.log.info("the input was moved to %s, as evidence", copy)
    failure = RunFailure.of(error, context.asset_key.to_user_string())
    keep_failure(context.instance, quarantine, context.run, failure, evidence)


def materialized(
    record: Record, metadata: dict[str, Any], data_version: str | None = None
) -> dg.MaterializeResult[Any]:
    """Give the materialization of a record.

    Args:
        record: what the next asset receives.
        metadata: what a person sees.
        data_version: the same for the same content, so that Dagster can tell what is stale.
    """
    note(product_type=getattr(getattr(record, "safe", record), "product_type", None))
    version = dg.DataVersion(data_version) if data_version else None
    return dg.MaterializeResult(value=record, metadata=metadata, data_version=version)
