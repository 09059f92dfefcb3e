"""The command line: ``conversion-assets``, put together from its commands."""

from __future__ import annotations

import click

from conversion_assets.commands.backfill import backfill
from conversion_assets.commands.convert import convert
from conversion_assets.commands.options import ToldGroup
from conversion_assets.commands.quarantine import quarantine
from conversion_assets.commands.reconcile import reconcile
from conversion_assets.commands.report import report
from conversion_assets.commands.status import status
from conversion_assets.commands.ui import ui


@click.group(cls=ToldGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="conversion-assets")
def main() -> None:
    """Turn Sentinel SAFE products into EOPF Zarr products and publish them to a STAC catalogue."""


for command in (backfill, convert, quarantine, reconcile, report, status, ui):
    main.add_command(command)

if __name__ == "__main__":
    main()
