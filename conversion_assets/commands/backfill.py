"""``conversion-assets backfill``: many orders again, chosen by what they are, and how that goes."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from conversion_assets.commands.options import home_option, settings_for

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from conversion_assets.backfilling import BackfillStanding
    from conversion_assets.catalogue_query import Chosen
    from conversion_assets.selecting import History
    from conversion_assets.settings import Settings

SECONDS_BETWEEN_LOOKS = 2
MOST_SHOWN = 10


class _StartIsDefault(click.Group):
    """Takes what is not the name of a command as what ``start`` is to do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {*self.commands, *ctx.help_option_names}
        return super().parse_args(ctx, args if not args or args[0] in known else ["start", *args])


@click.group(cls=_StartIsDefault)
def backfill() -> None:
    """Convert many products again, below the priority of orders.

    What follows is meant for START unless it is one of the commands: 'conversion-assets backfill --stale'.
    Dagster's daemon does the work: it runs with 'conversion-assets ui', and a backfill survives its restarts.
    """


@dataclass(frozen=True)
class Asked:
    """What a person chose on the command line."""

    keys: tuple[str, ...]
    keys_from: TextIO | None
    product_types: tuple[str, ...]
    time: str | None
    older_than_eopf: str | None
    stale: bool
    failed: bool
    everything: bool
    collection: str | None
    bbox: str | None
    catalogue_query: str | None

    @property
    def is_of_the_catalogue(self) -> bool:
        """Whether items of the catalogue are asked for."""
        return any((self.collection, self.bbox, self.catalogue_query))

    @property
    def is_nothing(self) -> bool:
        """Whether nothing is asked for at all."""
        chosen = (self.keys, self.keys_from, self.product_types, self.time, self.older_than_eopf)
        return not any((*chosen, self.stale, self.failed, self.everything, self.is_of_the_catalogue))

    def named(self) -> tuple[str, ...] | None:
        """Give the keys that were named; None where none were."""
        if not self.keys and self.keys_from is None:
            return None
        lines = (line.strip() for line in self.keys_from or ())
        return (*self.keys, *(line for line in lines if line and not line.startswith("#")))


@backfill.command()
@click.argument("keys", nargs=-1, metavar="[ORDER...]")
@click.option(
    "--keys-from", type=click.File(), metavar="FILE", help="Orders by line; '-' for standard input."
)
@click.option(
    "--type",
    "product_types",
    multiple=True,
    metavar="TYPE",
    help="EOPF product type, or an older name of it.",
)
@click.option("--time", metavar="START/END", help="Start of the acquisition, such as 2024-06-01/2024-06-30.")
@click.option(
    "--older-than-eopf", metavar="VERSION", help="Converted by an older eopf; 'current': than today's."
)
@click.option("--stale", is_flag=True, help="Made by another eopf or row of product types than today's.")
@click.option("--failed", is_flag=True, help="Latest run failed, or never published.")
@click.option("--all", "everything", is_flag=True, help="All orders, if nothing else is said.")
@click.option("--collection", metavar="ID", help="Published in this collection of the catalogue.")
@click.option(
    "--bbox", metavar="W,S,E,N", help="Published, with a footprint that touches the box, in degrees."
)
@click.option(
    "--catalogue-query", metavar="CQL2", help="Published, and found by the STAC API, as text or JSON."
)
@click.option(
    "--from", "first", metavar="ASSET", help="This asset and all after it.  [default: staged_safe_item]"
)
@click.option("--only", metavar="ASSET,...", help="These assets only, such as stac_item,published_item.")
@click.option("--reconvert", is_flag=True, help="Convert again what the same eopf converted before.")
@click.option("--title", help="For people.")
@click.option("--dry-run", is_flag=True, help="Show what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output; implies --yes.")
@home_option
def start(
    first: str | None,
    only: str | None,
    reconvert: bool,
    title: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    home: Path | None,
    **asked: Any,  # noqa: ANN401 - the fields of Asked
) -> None:
    """Make a backfill of the orders that meet all that is said."""
    from conversion_assets.backfilling import Request, keys_under_way, launch  # noqa: PLC0415 - see the package
    from conversion_assets.instance import open_instance  # noqa: PLC0415
    from conversion_assets.partitions import record_order  # noqa: PLC0415
    from conversion_assets.selecting import History  # noqa: PLC0415

    wanted = Asked(**asked)
    if wanted.is_nothing:
        raise click.UsageError("Say which orders: name them, describe them, or --all.")
    settings = settings_for(home)
    with open_instance(settings) as instance:
        history = History(instance)
        chosen = _choose(settings, history, wanted)
        request = Request(chosen.all_keys, _assets(first, only), reconvert, title)
        doubled = len(keys_under_way(instance).intersection(chosen.all_keys))
        _show_chosen(history, chosen, request.assets, doubled, as_json=as_json and dry_run)
        if dry_run:
            return
        if chosen.all_keys and not (yes or as_json):
            click.confirm("Make the backfill?", abort=True, err=True)
        for order in chosen.lost:
            record_order(instance, order)
        made = launch(instance, request)
        click.echo(json.dumps({"id": made, "orders": len(chosen.all_keys)}) if as_json else made)
        click.echo(f"See 'conversion-assets backfill status {made}'.{_daemon_remark(instance)}", err=True)


def _assets(first: str | None, only: str | None) -> tuple[str, ...]:
    from conversion_assets.standing import ASSETS  # noqa: PLC0415 - see the package

    if first and only:
        raise click.UsageError("Say --from or --only.")
    named = tuple(only.split(",")) if only else (first,) if first else ASSETS
    if unknown := [name for name in named if name not in ASSETS]:
        raise click.UsageError(f"There is no asset {unknown[0]!r}; there are {', '.join(ASSETS)}.")
    return ASSETS[ASSETS.index(first) :] if first else tuple(name for name in ASSETS if name in named)


def _choose(settings: Settings, history: History, asked: Asked) -> Chosen:
    import dagster as dg  # noqa: PLC0415 - see the package

    from conversion_assets.catalogue_query import CatalogueQuery, Chosen, choose_published  # noqa: PLC0415
    from conversion_assets.criteria import (  # noqa: PLC0415
        CodeVersions,
        Criteria,
        TimeRange,
        eopf_version_called,
        product_types_called,
    )
    from conversion_assets.ordering import Wishes  # noqa: PLC0415
    from conversion_assets.orders import valid_key  # noqa: PLC0415
    from conversion_assets.safe.product_types import type_versions  # noqa: PLC0415
    from conversion_assets.selecting import select  # noqa: PLC0415
    from conversion_assets.services import order_defaults_now, resources_for, type_names  # noqa: PLC0415

    now = CodeVersions(settings.converter_eopf_version or _installed_eopf(), type_versions())
    criteria = Criteria(
        product_types=product_types_called(asked.product_types, type_names(settings)),
        time=TimeRange.parse(asked.time) if asked.time else None,
        older_than_eopf=eopf_version_called(asked.older_than_eopf, now.eopf)
        if asked.older_than_eopf
        else None,
        stale=asked.stale,
        failed=asked.failed,
    )
    named = asked.named()
    if not asked.is_of_the_catalogue:
        if named is not None:
            _require_known(history, [valid_key(key) for key in named])
        return Chosen(select(history, criteria, now, named))
    if named is not None:
        raise click.UsageError("Name orders, or describe items of the catalogue.")
    query = CatalogueQuery.parse(
        collection=asked.collection, bbox=asked.bbox, time=criteria.time, expression=asked.catalogue_query
    )
    defaults = order_defaults_now(settings)
    wishes = Wishes(
        owner=settings.owner,
        default_owner=settings.owner,
        rules=defaults.rules,
        credentials=defaults.credentials,
    )
    with dg.build_resources({"catalogue": resources_for(settings)["catalogue"]}) as ready:
        return choose_published(query.found_in(ready.catalogue), history, criteria, now, wishes)


def _installed_eopf() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - for one command only

    return version("eopf")


def _require_known(history: History, keys: list[str]) -> None:
    """Refuse keys under which nothing was ordered: their runs could only fail."""
    from conversion_assets.errors import OrderError  # noqa: PLC0415 - see the package

    known = frozenset(history.keys)
    missing = [key for key in keys if key not in known]
    missing = [key for key in missing if key not in history.orders(missing)]
    if missing:
        raise OrderError(
            ", ".join(missing[:MOST_SHOWN]),
            "nothing was ordered under "
            + ("this key" if len(missing) == 1 else f"these keys ({len(missing)})"),
            "Order the product with 'conversion-assets convert SOURCE', or correct the key.",
        )


def _show_chosen(
    history: History, chosen: Chosen, assets: tuple[str, ...], doubled: int, *, as_json: bool
) -> None:
    keys = chosen.all_keys
    products = history.products(keys)
    types = Counter(products[key].product_type if key in products else "unknown" for key in keys)
    retired = len(set(chosen.keys).difference(history.live))
    if as_json:
        counts = {"orders": len(keys), "retired": retired, "lost": len(chosen.lost), "under_way": doubled}
        facts = {"types": dict(types), "assets": assets, "keys": keys, "refusals": chosen.refusals}
        click.echo(json.dumps(counts | facts))
        return
    click.echo(f"{len(keys)} orders, each from {assets[0]} to {assets[-1]} ({len(assets)} assets)", err=True)
    for product_type, count in sorted(types.items()):
        click.echo(f"  {count:>7}  {product_type}", err=True)
    if retired:
        click.echo(f"  {retired} of them have retired and are registered again", err=True)
    if chosen.lost:
        click.echo(f"  {len(chosen.lost)} of them are ordered anew from where the catalogue says", err=True)
    if doubled:
        click.echo(
            f"  {doubled} of them are in a backfill that goes on: see 'conversion-assets backfill list'",
            err=True,
        )
    for key in keys[:MOST_SHOWN]:
        click.echo(f"  {key}", err=True)
    if len(keys) > MOST_SHOWN:
        click.echo(f"  and {len(keys) - MOST_SHOWN} more", err=True)
    for refusal in chosen.refusals:
        click.echo(f"  left out: {refusal}", err=True)


def _daemon_remark(instance: DagsterInstance) -> str:
    from conversion_assets.backfilling import has_daemon  # noqa: PLC0415 - see the package

    return "" if has_daemon(instance) else " No daemon is running: start 'conversion-assets ui'."


@backfill.command(name="list")
@click.option("--most", type=click.IntRange(1), default=10, show_default=True, help="How many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per backfill on standard output.")
@home_option
def list_(most: int, as_json: bool, home: Path | None) -> None:
    """Show the latest backfills, those made in the web interface too."""
    from conversion_assets.backfilling import latest_backfills  # noqa: PLC0415 - see the package

    with _instance(home) as instance:
        found = latest_backfills(instance, most)
    for standing in found:
        click.echo(standing.model_dump_json() if as_json else _line(standing))
    if not found and not as_json:
        click.echo("There is no backfill yet.")


@backfill.command()
@click.argument("backfill_id", metavar="ID")
@click.option("--watch", is_flag=True, help="Look again until it is over.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
@home_option
def status(backfill_id: str, watch: bool, as_json: bool, home: Path | None) -> None:
    """Show where a backfill stands."""
    from conversion_assets.backfilling import standing_of_backfill  # noqa: PLC0415 - see the package

    with _instance(home) as instance:
        shown = None
        while True:
            standing = standing_of_backfill(instance, backfill_id)
            if standing != shown:
                click.echo(standing.model_dump_json() if as_json else _details(standing))
            shown = standing
            if not watch or standing.is_over:
                break
            time.sleep(SECONDS_BETWEEN_LOOKS)
        if not standing.is_over:
            click.echo(_daemon_remark(instance).strip(), err=True, nl=False)
    sys.exit(1 if standing.failed or standing.error else 0)


@backfill.command()
@click.argument("backfill_id", metavar="ID")
@home_option
def pause(backfill_id: str, home: Path | None) -> None:
    """Withdraw what waits; what runs is finished, and 'resume' does the rest."""
    from conversion_assets.backfilling import pause as paused  # noqa: PLC0415 - see the package

    with _instance(home) as instance:
        click.echo(_details(paused(instance, backfill_id)))


@backfill.command()
@click.argument("backfill_id", metavar="ID")
@click.option("--failed", "failed_too", is_flag=True, help="Try again what failed, too.")
@home_option
def resume(backfill_id: str, failed_too: bool, home: Path | None) -> None:
    """Do the rest of a paused or cancelled backfill, as a backfill of its own."""
    from conversion_assets.backfilling import resume as resumed  # noqa: PLC0415 - see the package

    with _instance(home) as instance:
        made = resumed(instance, backfill_id, failed_too=failed_too)
        click.echo(made)
        click.echo(f"See 'conversion-assets backfill status {made}'.{_daemon_remark(instance)}", err=True)


@backfill.command()
@click.argument("backfill_id", metavar="ID")
@home_option
def cancel(backfill_id: str, home: Path | None) -> None:
    """End a backfill: the daemon cancels its runs, those that work too."""
    from conversion_assets.backfilling import cancel as canceled  # noqa: PLC0415 - see the package

    with _instance(home) as instance:
        canceled(instance, backfill_id)
        click.echo(f"It is being cancelled.{_daemon_remark(instance)}", err=True)


def _instance(home: Path | None) -> DagsterInstance:
    from conversion_assets.instance import open_instance  # noqa: PLC0415 - see the package

    return open_instance(settings_for(home))


def _line(standing: BackfillStanding) -> str:
    created = standing.created.strftime("%Y-%m-%d %H:%M:%S")
    share = f"{standing.done}/{standing.total}"
    failed = f", {standing.failed} failed" if standing.failed else ""
    return f"{created}  {standing.id}  {standing.state:<19}  {share}{failed}  {standing.title or ''}".rstrip()


def _details(standing: BackfillStanding) -> str:
    counts = ", ".join(_counts(standing))
    lines = [_line(standing), f"  {counts}"]
    if standing.per_hour:
        left = timedelta(seconds=standing.seconds_left) if standing.seconds_left else None
        lines.append(f"  {standing.per_hour:g} an hour" + (f", {left} left at this rate" if left else ""))
    if standing.continues:
        lines.append(f"  continues {standing.continues}")
    if standing.continued_by:
        lines.append(f"  continued by {standing.continued_by}")
    if standing.error:
        lines.append(f"  {standing.error}")
    return "\n".join(lines)


def _counts(standing: BackfillStanding) -> Iterator[str]:
    for name in ("done", "failed", "running", "queued", "waiting", "withdrawn"):
        if count := getattr(standing, name):
            yield f"{count} {name}"
