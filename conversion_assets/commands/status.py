"""``conversion-assets status``: where orders stand."""

from __future__ import annotations

import json
from pathlib import Path

import click

from conversion_assets.commands.options import home_option, settings_for


@click.command()
@click.argument("order", required=False)
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
@home_option
def status(order: str | None, as_json: bool, home: Path | None) -> None:
    """Show the latest orders, or one ORDER in detail."""
    from conversion_assets.console import Console  # noqa: PLC0415 - see the package
    from conversion_assets.instance import close_abandoned_runs, open_instance  # noqa: PLC0415
    from conversion_assets.standing import latest_orders, standing_of  # noqa: PLC0415

    settings = settings_for(home)
    with open_instance(settings) as instance:
        close_abandoned_runs(instance)
        found = [standing_of(instance, order)] if order else latest_orders(instance)
    if as_json:
        for entry in found:
            click.echo(json.dumps(entry.model_dump(mode="json")))
    else:
        Console(as_json=False).show_standing(found, detailed=order is not None)
