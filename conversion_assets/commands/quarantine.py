"""``conversion-assets quarantine``: orders that failed for good, and what is to become of them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conversion_assets.commands.options import ends_politely, exit_code_of, home_option, settings_for
from conversion_assets.errors import ErrorClass, OrderError, OrderInterruptedError
from conversion_assets.settings import Settings

if TYPE_CHECKING:
    from conversion_assets.resources.quarantine import QuarantinedOrder

AGE = re.compile(r"(\d+)\s*([mhdw])")
NOTHING_MEETS = "Nothing in quarantine meets this."
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Age(click.ParamType):
    """A length of time such as ``90m``, ``12h``, ``3d`` or ``2w``."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:  # noqa: ANN401 - click's
        """Read it; see ``click.ParamType.convert``."""
        if isinstance(value, timedelta):
            return value
        read = AGE.fullmatch(str(value))
        if read is None:
            self.fail(f"{value!r} is no age; write it as 90m, 12h, 3d or 2w", param, ctx)
        try:
            return timedelta(**{UNITS[read[2]]: int(read[1])})
        except OverflowError:
            self.fail(f"{value!r} is too long", param, ctx)


@dataclass(frozen=True)
class Selection:
    """Which orders are meant.

    Attributes:
        keys: these orders; empty for any.
        error_class: of this class only.
        product_type: of this EOPF product type only.
        older_than: whose last failure is so long ago.
    """

    keys: tuple[str, ...] = ()
    error_class: str | None = None
    product_type: str | None = None
    older_than: timedelta | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing was said."""
        return self == Selection()

    def of(self, records: Iterable[QuarantinedOrder], now: datetime) -> list[QuarantinedOrder]:
        """Choose among the records.

        Raises:
            OrderError: an order that was named is not in quarantine.
        """
        found = list(records)
        for key in self.keys:
            if key not in {record.key for record in found}:
                raise not_there(key)
        return [record for record in found if self._holds(record, now)]

    def _holds(self, record: QuarantinedOrder, now: datetime) -> bool:
        return (
            (not self.keys or record.key in self.keys)
            and self.error_class in (None, record.error_class.value)
            and self.product_type in (None, record.product_type)
            and (self.older_than is None or now - record.when >= self.older_than)
        )


def not_there(key: str) -> OrderError:
    """Give the error for an order that is not in quarantine."""
    return OrderError(
        f"order {key}", "it is not in quarantine", "See 'conversion-assets quarantine list' for what is."
    )


def selecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--class``, ``--type`` and ``--older-than``."""
    for option in (
        click.option("--older-than", type=Age(), help="Whose last failure is so long ago: 90m, 12h, 3d, 2w."),
        click.option(
            "--type",
            "product_type",
            metavar="TYPE",
            help="Of this EOPF product type; an older name of it will do.",
        ),
        click.option(
            "--class", "error_class", type=click.Choice(list(ErrorClass)), help="Of this class of error."
        ),
    ):
        command = option(command)
    return command


@click.group()
def quarantine() -> None:
    """Show, replay or drop orders that failed for good."""


@quarantine.command("list")
@selecting
@click.option("--json", "as_json", is_flag=True, help="One JSON object per order on standard output.")
@home_option
def list_orders(
    error_class: str | None,
    product_type: str | None,
    older_than: timedelta | None,
    as_json: bool,
    home: Path | None,
) -> None:
    """List the orders in quarantine, those that failed last first."""
    settings = settings_for(home)
    selection = _selection(settings, (), error_class, product_type, older_than)
    records = _chosen(settings, selection)
    if as_json:
        for record in records:
            click.echo(record.model_dump_json())
    elif not records and not selection.is_everything:
        click.echo(NOTHING_MEETS)
    else:
        _console().show_quarantine(records)


@quarantine.command()
@click.argument("key")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
@home_option
def show(key: str, as_json: bool, home: Path | None) -> None:
    """Show one order: why it failed, since when, what is kept of it, and the way out."""
    (record,) = _chosen(settings_for(home), Selection((key,)))
    if as_json:
        click.echo(record.model_dump_json())
    else:
        _console().show_quarantined(record)


@quarantine.command()
@click.argument("keys", nargs=-1, metavar="[KEY...]")
@selecting
@click.option("--all", "is_all", is_flag=True, help="All orders in quarantine.")
@click.option("--submit", is_flag=True, help="Leave it to the daemon of a running 'ui'.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per order on standard output.")
@home_option
def replay(
    keys: tuple[str, ...],
    error_class: str | None,
    product_type: str | None,
    older_than: timedelta | None,
    is_all: bool,
    submit: bool,
    as_json: bool,
    home: Path | None,
) -> None:
    """Run orders again, in this process unless it is submitted; what is published leaves the quarantine.

    Exit code: 0 all published or submitted, 2 bad order or input, 1 failed.
    """
    settings = settings_for(home)
    selection = _selection(settings, keys, error_class, product_type, older_than)
    _require_choice(selection, is_all=is_all)
    records = _chosen(settings, selection)
    _remark_on_nothing(records)
    if submit:
        _submit(settings, records, as_json=as_json)
    else:
        sys.exit(_replay_here(settings, records, as_json=as_json))


@quarantine.command()
@click.argument("keys", nargs=-1, metavar="[KEY...]")
@selecting
@click.option("--all", "is_all", is_flag=True, help="All orders in quarantine.")
@home_option
def drop(
    keys: tuple[str, ...],
    error_class: str | None,
    product_type: str | None,
    older_than: timedelta | None,
    is_all: bool,
    home: Path | None,
) -> None:
    """Give orders up: remove them from quarantine, with all that is kept of their input and their keys.

    Exit code: 0 all dropped, 2 where an order belongs to a backfill that goes on.
    """
    from conversion_assets.instance import open_instance  # noqa: PLC0415 - see the package
    from conversion_assets.replaying import Keepers, drop_order  # noqa: PLC0415
    from conversion_assets.services import resources_for  # noqa: PLC0415

    settings = settings_for(home)
    selection = _selection(settings, keys, error_class, product_type, older_than)
    _require_choice(selection, is_all=is_all)
    records, codes = _chosen(settings, selection), list[int]()
    _remark_on_nothing(records)
    with open_instance(settings) as instance, Keepers.opened(resources_for(settings)) as keepers:
        for record in records:
            try:
                drop_order(instance, keepers, record)
            except OrderError as error:
                click.echo(f"Error: {error}", err=True)
                codes.append(error.exit_code)
            else:
                click.echo(f"dropped {record.key}")
    sys.exit(exit_code_of(codes))


def _selection(
    settings: Settings,
    keys: tuple[str, ...],
    error_class: str | None,
    product_type: str | None,
    older_than: timedelta | None,
) -> Selection:
    from conversion_assets.criteria import product_types_called  # noqa: PLC0415 - see the package
    from conversion_assets.services import type_names  # noqa: PLC0415

    if product_type is not None:
        (product_type,) = product_types_called([product_type], type_names(settings))
    return Selection(keys, error_class, product_type, older_than)


def _remark_on_nothing(records: Sequence[QuarantinedOrder]) -> None:
    if not records:
        click.echo(NOTHING_MEETS, err=True)


def _require_choice(selection: Selection, *, is_all: bool) -> None:
    if selection.is_everything and not is_all:
        raise click.UsageError("Name orders, or say --class, --type, --older-than or --all.")
    if is_all and selection.keys:
        raise click.UsageError("Name orders, or say --all.")


def _chosen(settings: Settings, selection: Selection) -> list[QuarantinedOrder]:
    from conversion_assets.instance import close_abandoned_runs, open_instance  # noqa: PLC0415 - see the package
    from conversion_assets.quarantining import quarantine_of  # noqa: PLC0415

    place = quarantine_of(settings)
    with open_instance(settings) as instance:
        close_abandoned_runs(instance, place)
    return selection.of(place.records(), datetime.now(UTC))


def _submit(settings: Settings, records: Sequence[QuarantinedOrder], *, as_json: bool) -> None:
    from conversion_assets.instance import open_instance  # noqa: PLC0415 - see the package
    from conversion_assets.quarantining import quarantine_of  # noqa: PLC0415
    from conversion_assets.replaying import begin_replay  # noqa: PLC0415

    console = _console(as_json=as_json)
    with open_instance(settings) as instance:
        for record in records:
            begin_replay(instance, quarantine_of(settings), record, console.remark, is_submitted=True)
            if as_json:
                click.echo(json.dumps({"order": record.key, "status": "submitted"}))
            else:
                click.echo(f"submitted {record.key}")


def _replay_here(settings: Settings, records: Sequence[QuarantinedOrder], *, as_json: bool) -> int:
    from conversion_assets.definitions import build_definitions  # noqa: PLC0415 - see the package
    from conversion_assets.instance import open_instance  # noqa: PLC0415
    from conversion_assets.quarantining import quarantine_of  # noqa: PLC0415
    from conversion_assets.replaying import begin_replay  # noqa: PLC0415
    from conversion_assets.running import run_order  # noqa: PLC0415

    ends_politely()
    console, codes = _console(as_json=as_json), []
    definitions = build_definitions(settings)
    with open_instance(settings) as instance:
        for record in records:
            order = begin_replay(instance, quarantine_of(settings), record, console.remark)
            with console.working_on(order.key) as listener:
                result = run_order(definitions, instance, order, reconvert=False, listener=listener)
            codes.append(console.show(result).exit_code)
            if result.exit_code == OrderInterruptedError.exit_code:
                break
    return exit_code_of(codes)


def _console(*, as_json: bool = False) -> Any:  # noqa: ANN401 - imported late
    from conversion_assets.console import Console  # noqa: PLC0415 - Dagster is loaded only when it is needed

    return Console(as_json=as_json)
