"""The report of a day: numbers that the web interface plots over days, and its checks.

Without ``from __future__ import annotations``: Dagster reads the type of ``context`` as it stands.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from conversion_assets.assets.quarantined_order import OPERATIONS
from conversion_assets.checks.findings import completeness_finding, daily_timeliness_finding
from conversion_assets.checks.specs import check_specs, judged
from conversion_assets.criteria import TimeRange
from conversion_assets.figures import MEGABYTE, Row, by_day_and_type, everything
from conversion_assets.partitions import DAILY_REPORT, report_days
from conversion_assets.reporting import tally_of
from conversion_assets.resources.thresholds import Thresholds
from conversion_assets.run_marks import mark_run

GIGABYTE = 1_000_000_000
SECONDS_PER_HOUR = 3600

Metadata = dict[str, Any]


@dg.asset(
    key=DAILY_REPORT,
    partitions_def=report_days,
    group_name=OPERATIONS,
    kinds={"report"},
    check_specs=check_specs(DAILY_REPORT.to_user_string()),
)
def daily_report(
    context: dg.AssetExecutionContext, thresholds: Thresholds
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """What was ordered on a day (UTC), published, and used: to be plotted over days.

    Orders, failures and completeness are of what was ordered that day, as it stands now; the rest is of what
    was published that day, converted again or for the first time. Made anew for three days each morning.
    """
    mark_run(context.instance, context.run)
    day = context.partition_key
    tally = tally_of(context.instance, TimeRange.parse(day), everything, by_day_and_type)
    rows = tally.rows(1)
    findings = (
        daily_timeliness_finding(rows, thresholds.timeliness_hours),
        completeness_finding(rows, thresholds.completeness_percent),
    )
    yield from judged(DAILY_REPORT.to_user_string(), day, findings)
    yield dg.MaterializeResult(metadata=report_metadata(next(iter(tally.rows()), Row()), rows))


def report_metadata(whole: Row, rows: list[Row]) -> Metadata:
    """Give the numbers of a day, and a table of them by product type."""
    numbers: Metadata = {
        "orders": whole.orders,
        "published": whole.published,
        "failed": whole.failed,
        "completeness %": whole.completeness_percent,
        "publications": whole.publications,
        "minutes to publication p50": _shared(whole.order_seconds_p50, 60),
        "minutes to publication p95": _shared(whole.order_seconds_p95, 60),
        "hours since source p50": _shared(whole.source_seconds_p50, SECONDS_PER_HOUR),
        "hours since source p95": _shared(whole.source_seconds_p95, SECONDS_PER_HOUR),
        "cpu hours": _shared(whole.cpu_seconds, SECONDS_PER_HOUR),
        "peak memory MB": _shared(whole.peak_memory_bytes, MEGABYTE),
        "GB read": _shared(whole.bytes_read, GIGABYTE),
        "GB written": _shared(whole.bytes_written, GIGABYTE),
        "GB of products": _shared(whole.product_bytes, GIGABYTE),
        "objects": whole.objects,
    }
    known = {name: number for name, number in numbers.items() if number is not None}
    return {**known, **({"by product type": _table(rows)} if rows else {})}


def _shared(number: float | None, unit: float) -> float | None:
    return None if number is None else round(number / unit, 3)


def _table(rows: list[Row]) -> dg.TableMetadataValue:
    """Give a row for each product type, in the units of the command line's JSON."""
    records = [row.model_dump(mode="json", exclude={"day", "order"}) for row in rows]
    columns = [
        dg.TableColumn(name, "string" if name == "product_type" else "float")
        for name in Row.model_fields
        if name not in {"day", "order"}
    ]
    return dg.MetadataValue.table(
        [dg.TableRecord(record) for record in records], schema=dg.TableSchema(columns)
    )
