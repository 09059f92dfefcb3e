"""``conversion-assets convert``: order products, and take each to the catalogue in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from conversion_assets.commands.options import ends_politely, exit_code_of, home_option, settings_for
from conversion_assets.errors import ConversionAssetsError, OrderInterruptedError
from conversion_assets.settings import Settings


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--owner", help="For whom.  [default: local]")
@click.option(
    "--collection",
    metavar="[TYPE=]COLLECTION",
    help="Target collection, for one EOPF product type or any.  [default: by product type]",
)
@click.option("--asset", "assets", multiple=True, metavar="KEY", help="Asset of the STAC item to convert.")
@click.option("--reconvert", is_flag=True, help="Convert again what was converted before.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per order on standard output.")
@home_option
def convert(
    sources: Sequence[str],
    owner: str | None,
    collection: str | None,
    assets: tuple[str, ...],
    reconvert: bool,
    as_json: bool,
    home: Path | None,
) -> None:
    """Convert products and publish them.

    SOURCE is the path or URL (file, s3, https) of a .SAFE or .SEN3 folder, of an archive of one, or of
    a STAC item or feature collection. Exit code: 0 all published, 2 bad order or input, 1 failed.
    """
    from conversion_assets.console import Console  # noqa: PLC0415 - Dagster is loaded only when it is needed

    settings = settings_for(home)
    ends_politely()
    console = Console(as_json=as_json)
    results = _converted(
        settings, sources, owner or settings.owner, collection, assets, reconvert=reconvert, console=console
    )
    sys.exit(exit_code_of(result.exit_code for result in results))


def _converted(
    settings: Settings,
    sources: Sequence[str],
    owner: str,
    collection: str | None,
    assets: tuple[str, ...],
    *,
    reconvert: bool,
    console: Any,  # noqa: ANN401 - imported late
) -> Iterator[Any]:
    from conversion_assets.definitions import build_definitions  # noqa: PLC0415 - see the package
    from conversion_assets.instance import close_abandoned_runs, open_instance  # noqa: PLC0415
    from conversion_assets.ordering import Wishes, order_each  # noqa: PLC0415
    from conversion_assets.orders import TargetRule  # noqa: PLC0415
    from conversion_assets.quarantining import quarantine_of  # noqa: PLC0415
    from conversion_assets.running import refused, run_order  # noqa: PLC0415
    from conversion_assets.services import order_defaults_now  # noqa: PLC0415
    from conversion_assets.web.addresses import redacted  # noqa: PLC0415

    definitions = build_definitions(settings)
    defaults = order_defaults_now(settings)
    with open_instance(settings) as instance:
        close_abandoned_runs(instance, quarantine_of(settings))
        for source in sources:
            try:
                wishes = Wishes(
                    owner=owner,
                    default_owner=settings.owner,
                    target=TargetRule.parse(collection, defaults.type_names),
                    assets=assets,
                    rules=defaults.rules,
                    credentials=defaults.credentials,
                    remark=console.remark,
                )
                orders = order_each(source, wishes)
            except ConversionAssetsError as error:
                yield console.show(refused(redacted(source), error))
                continue
            for order in orders:
                if isinstance(order, ConversionAssetsError):
                    yield console.show(refused(redacted(source), order))
                    continue
                with console.working_on(order.key) as listener:
                    result = run_order(definitions, instance, order, reconvert=reconvert, listener=listener)
                yield console.show(result)
                if result.exit_code == OrderInterruptedError.exit_code:
                    return
