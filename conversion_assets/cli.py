"""The command line: ``conversion-assets convert | status | ui``."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from conversion_assets.errors import ConversionAssetsError, OrderError, OrderInterruptedError
from conversion_assets.settings import PREFIX, Settings

Command = Callable[..., Any]


def home_option(command: Command) -> Command:
    """Add ``--home``."""
    return click.option(
        "--home",
        type=click.Path(file_okay=False, path_type=Path),
        help="The folder that holds everything  [env: CONVERSION_ASSETS_HOME].",
    )(command)


def settings_for(home: Path | None) -> Settings:
    """Read the settings, with the home of the command line before that of the environment."""
    try:
        settings = Settings() if home is None else Settings(home=home)
    except ValidationError as error:
        raise click.UsageError("; ".join(_faults(error))) from error
    os.environ["CONVERSION_ASSETS_HOME"] = str(settings.home)
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    return settings


def _faults(error: ValidationError) -> Iterator[str]:
    """Name the variable of each fault; its value is not repeated."""
    for fault in error.errors():
        name = str(fault["loc"][0]).upper() if fault["loc"] else ""
        variable = name if not name or name.startswith(PREFIX) else PREFIX + name
        yield f"{variable}: {fault['msg']}" if variable else fault["msg"]


class ToldGroup(click.Group):
    """Commands whose failures are told in a sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; see ``click.Group.invoke``."""
        try:
            return super().invoke(ctx)
        except ConversionAssetsError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(error.exit_code)


@click.group(cls=ToldGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="conversion-assets")
def main() -> None:
    """Turn Sentinel SAFE products into EOPF Zarr products and publish them to a STAC catalogue."""


@main.command()
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
    # Ended politely, the order ends as with Ctrl-C: the converting process first, then the run.
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell may have started us with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    console = Console(as_json=as_json)
    results = _converted(
        settings, sources, owner or settings.owner, collection, assets, reconvert=reconvert, console=console
    )
    codes = [result.exit_code for result in results if result.exit_code]
    sys.exit(0 if not codes else 2 if all(code == OrderError.exit_code for code in codes) else 1)


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
    from conversion_assets.definitions import build_definitions  # noqa: PLC0415 - see convert
    from conversion_assets.instance import close_abandoned_runs, open_instance  # noqa: PLC0415
    from conversion_assets.ordering import Wishes, order_each  # noqa: PLC0415
    from conversion_assets.orders import TargetRule  # noqa: PLC0415
    from conversion_assets.running import refused, run_order  # noqa: PLC0415
    from conversion_assets.services import order_defaults_now  # noqa: PLC0415
    from conversion_assets.web.addresses import redacted  # noqa: PLC0415

    definitions = build_definitions(settings)
    defaults = order_defaults_now(settings)
    with open_instance(settings) as instance:
        close_abandoned_runs(instance)
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


@main.command()
@click.argument("order", required=False)
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
@home_option
def status(order: str | None, as_json: bool, home: Path | None) -> None:
    """Show the latest orders, or one ORDER in detail."""
    from conversion_assets.console import Console  # noqa: PLC0415 - see convert
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


@main.command()
@click.option("--port", type=click.IntRange(0, 65535), default=3000, show_default=True, help="0: any free.")
@home_option
def ui(port: int, home: Path | None) -> None:
    """Run Dagster's web interface and daemon on 127.0.0.1 until interrupted."""
    from conversion_assets.servers import serve  # noqa: PLC0415 - see convert

    sys.exit(serve(settings_for(home), port))


if __name__ == "__main__":
    main()
