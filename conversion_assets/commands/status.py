"""``conversion-assets status``: where orders stand."""

from __future__ import annotations

import json
from pathlib import Path

import click

from conversion_assets.commands.options import home_option, settings_for


@click.command()
@click.argument("order", required=False)
@click.option("--skipped", is_flag=True, help="What watches saw last and did not order, and why.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
@home_option
def status(order: str | None, skipped: bool, as_json: bool, home: Path | None) -> None:
    """Show the latest orders, or one ORDER in detail."""
    from conversion_assets.console import Console  # noqa: PLC0415 - see the package
    from conversion_assets.instance import close_abandoned_runs, open_instance  # noqa: PLC0415
    from conversion_assets.quarantining import quarantine_of  # noqa: PLC0415
    from conversion_assets.standing import latest_orders, latest_skipped, standing_of  # noqa: PLC0415

    if order and skipped:
        raise click.UsageError("--skipped shows all watches; leave ORDER out.")
    settings = settings_for(home)
    quarantine = quarantine_of(settings)
    with open_instance(settings) as instance:
        close_abandoned_runs(instance, quarantine)
        if skipped:
            Console(as_json=as_json).show_skipped(latest_skipped(instance))
            return
        if order:
            found = [standing_of(instance, order).with_quarantine(quarantine.find(order))]
        else:
            found = latest_orders(instance)
    if as_json:
        for entry in found:
            click.echo(json.dumps(entry.model_dump(mode="json")))
    else:
        Console(as_json=False).show_standing(found, detailed=order is not None)
