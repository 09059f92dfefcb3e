"""``conversion-assets report``: what was ordered, published and used, by day, product type or order."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conversion_assets.commands.options import home_option, settings_for
from conversion_assets.settings import PREFIX, Settings

if TYPE_CHECKING:
    from conversion_assets.criteria import TimeRange
    from conversion_assets.figures import Row
    from conversion_assets.zarr.verification import CheckOutcome

DAYS = 7
DAY = click.DateTime(["%Y-%m-%d"])
MISSED = 1


@click.command()
@click.option("--day", type=DAY, help="One day, UTC.")
@click.option("--from", "first", type=DAY, help=f"First day; {DAYS} days up to the last one when left out.")
@click.option("--to", "last", type=DAY, help="Last day; today when left out.")
@click.option(
    "--by",
    "grouping",
    type=click.Choice(["day", "type", "product"]),
    default="day",
    show_default=True,
    help="What each row is about.",
)
@click.option("--json", "as_json", is_flag=True, help="A JSON object per row on standard output.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV on standard output.")
@click.option(
    "--check", is_flag=True, help="Exit with 1 where a day that is over misses a configured threshold."
)
@home_option
def report(
    day: datetime | None,
    first: datetime | None,
    last: datetime | None,
    *,
    grouping: str,
    as_json: bool,
    as_csv: bool,
    check: bool,
    home: Path | None,
) -> None:
    """Show what was ordered and published, how soon, and what it took.

    Orders, failures and completeness count on the day of the order, everything else on that of publication.
    """
    from conversion_assets.console import Console  # noqa: PLC0415 - see the package
    from conversion_assets.figures import by_day, by_day_and_type, by_order, by_type  # noqa: PLC0415
    from conversion_assets.instance import open_instance  # noqa: PLC0415
    from conversion_assets.reporting import tally_of  # noqa: PLC0415

    if as_json and as_csv:
        raise click.UsageError("Choose one of --json and --csv.")
    time, settings = _time(day, first, last), settings_for(home)
    if check and settings.timeliness_hours is None and settings.completeness_percent is None:
        raise click.UsageError(
            f"There is nothing to check: set {PREFIX}TIMELINESS_HOURS or {PREFIX}COMPLETENESS_PERCENT."
        )
    chosen = {"day": by_day, "type": by_type, "product": by_order}[grouping]
    with open_instance(settings) as instance:
        tally = tally_of(instance, time, chosen, by_day_and_type)
    rows = tally.rows()
    if as_csv:
        _write_csv([row.model_dump(mode="json") for row in rows])
    else:
        Console(as_json=as_json).show_report(rows)
    if check and (missed := _missed(tally.rows(1), settings)):
        for finding in missed:
            click.echo(f"{finding.name}: {finding.detail}", err=True)
        sys.exit(MISSED)


def _time(day: datetime | None, first: datetime | None, last: datetime | None) -> TimeRange:
    from conversion_assets.criteria import TimeRange  # noqa: PLC0415 - see the package

    if day and (first or last):
        raise click.UsageError("Say --day, or --from and --to.")
    end = (day or last or datetime.now(UTC)).date()
    begin = day or first
    start = begin.date() if begin else end - timedelta(days=DAYS - 1)
    if start > end:
        raise click.UsageError(f"--from {start} is after --to {end}.")
    return TimeRange.parse(f"{start}/{end}")


def _missed(rows: list[Row], settings: Settings) -> list[CheckOutcome]:
    """Judge days that are over: of a day that is not, orders are still under way."""
    from conversion_assets.checks.findings import (  # noqa: PLC0415 - see the package
        completeness_finding,
        daily_timeliness_finding,
    )

    today = datetime.now(UTC).date()
    over = [row for row in rows if row.day and row.day < today]
    findings = (
        daily_timeliness_finding(over, settings.timeliness_hours),
        completeness_finding(over, settings.completeness_percent),
    )
    return [finding for finding in findings if not finding.passed]


def _write_csv(rows: Sequence[Mapping[str, object]]) -> None:
    from conversion_assets.figures import Row  # noqa: PLC0415 - see the package

    writer = csv.DictWriter(sys.stdout, fieldnames=list(Row.model_fields))
    writer.writeheader()
    writer.writerows(rows)
