"""What the five assets have in common: partitions, records, retries, and failures told by class."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dagster as dg

from conversion_assets.checks.specs import check_specs
from conversion_assets.failures import failures_told_by_class, transient_errors_retried
from conversion_assets.instance import mark_run
from conversion_assets.partitions import safe_items
from conversion_assets.records import Record
from conversion_assets.run_traces import step_traced
from conversion_assets.tracing import note

GROUP = "conversion"

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
    raises fails the step with its class in the metadata; only transient errors are retried.

    Args:
        kinds: what the UI shows on the asset.
        pool: which of the pools of ``Settings.slots`` it takes a slot of.
        code_version: changes when the asset's result for the same input changes.
        deps: external assets it follows.
    """

    def decorate(body: Body) -> dg.AssetsDefinition:
        @functools.wraps(body)
        def classified_body(*args: object, **kwargs: object) -> Result:
            context = dg.AssetExecutionContext.get()
            mark_run(context.instance, context.run)
            attempt = context.op_execution_context.retry_number
            with failures_told_by_class(), transient_errors_retried(attempt), step_traced(context):
                yield from body(*args, **kwargs)

        # Dagster looks the names of the annotations up in the wrapper's module: give it the types.
        vars(classified_body)["__signature__"] = inspect.signature(body, eval_str=True)
        classified_body.__annotations__ = inspect.get_annotations(body, eval_str=True)
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
