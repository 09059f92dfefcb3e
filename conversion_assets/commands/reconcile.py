"""``conversion-assets reconcile``: catalogue and store compared, and what is left behind."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conversion_assets.commands.options import home_option, settings_for
from conversion_assets.errors import TransientError

if TYPE_CHECKING:
    from conversion_assets.upkeep.findings import Findings, Outcome


@click.command()
@click.option("--mend", "mends", is_flag=True, help="Put right what can be; without it nothing is changed.")
@click.option("--deep", is_flag=True, help="Compare the metadata of each product, too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@home_option
def reconcile(mends: bool, deep: bool, as_json: bool, home: Path | None) -> None:
    """Compare catalogue, store and this machine, and tell what is missing or left behind.

    Ends with 1 when something is left to be done.
    """
    from conversion_assets.instance import close_abandoned_runs, open_instance  # noqa: PLC0415 - see the package
    from conversion_assets.services import house_now, resources_for  # noqa: PLC0415
    from conversion_assets.upkeep.mending import mend  # noqa: PLC0415
    from conversion_assets.upkeep.surveying import survey  # noqa: PLC0415

    settings = settings_for(home)
    now, settle = datetime.now(UTC), timedelta(hours=settings.upkeep_settle_hours)
    with (
        open_instance(settings) as instance,
        house_now(resources_for(settings), instance, now) as house,
        house.store.sole_upkeep() as is_alone,
    ):
        if not is_alone:
            raise TransientError(settings.home, "other upkeep is going on here", "Try again later.")
        close_abandoned_runs(instance, house.quarantine)
        findings = survey(house, now, settle, is_deep=deep)
        outcomes = mend(house, findings, now, settle) if mends else ()
    left = [outcome for outcome in outcomes if not outcome.is_mended] if mends else findings.found
    if as_json:
        click.echo(json.dumps(_summary(findings, outcomes)))
    else:
        _show(findings, outcomes)
    sys.exit(1 if left else 0)


def _summary(findings: Findings, outcomes: tuple[Outcome, ...]) -> dict[str, object]:
    return {
        "findings": [entry.told() for entry in outcomes or findings.found],
        "foreign": findings.foreign,
        "unused locks": findings.locks,
    }


def _show(findings: Findings, outcomes: tuple[Outcome, ...]) -> None:
    for finding in findings.found if not outcomes else ():
        click.echo(f"{finding.kind.value}: {finding.subject}: {finding.why}")
    for outcome in outcomes:
        state = "mended" if outcome.is_mended else "left"
        click.echo(f"{state}: {outcome.finding.kind.value}: {outcome.finding.subject}: {outcome.said}")
    if not findings.found:
        click.echo("Everything is in order.")
    if findings.foreign:
        click.echo(f"{findings.foreign} items, products or copies are not ours; they were left alone.")
