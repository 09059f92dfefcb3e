"""``conversion-assets ui``: Dagster's web interface and daemon."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from conversion_assets.commands.options import home_option, settings_for


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=3000, show_default=True, help="0: any free.")
@home_option
def ui(port: int, home: Path | None) -> None:
    """Run Dagster's web interface and daemon on 127.0.0.1 until interrupted."""
    from conversion_assets.definitions import build_definitions  # noqa: PLC0415 - see the package
    from conversion_assets.servers import serve  # noqa: PLC0415

    settings = settings_for(home)
    build_definitions(settings)  # what the code location cannot be made of is told here, not in a log
    sys.exit(serve(settings, port))
