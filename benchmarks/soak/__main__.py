"""The inbox and a STAC source are watched for an hour while everything around the orders fails now and then.

Usage: ``python -m benchmarks.soak --minutes 60 --products 200 --seed 1``. ``conversion-assets ui`` runs on
a home of its own and is started again whenever it ends. Small synthetic products come through two watches,
some of them flawed, twice or updated. Runs, converters, code servers and the daemon are killed, runs are
cancelled, the source is unwell, the staging folder is closed for a while. Then an operator replays once what
was not the input's fault, and orders again what was cancelled. What happens is told on standard error; what
was measured goes to standard output as Markdown. Exit code 1 if a product is not published exactly once or,
where it is flawed, in quarantine, if something is left behind, or if the memory of a server grows.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import dagster as dg

from benchmarks.machine import load, machine
from benchmarks.soak.aftermath import drain, faults_of, operate, reconcile
from benchmarks.soak.arriving import Arrivals
from benchmarks.soak.memory import growths
from benchmarks.soak.plan import SECONDS_PER_MINUTE, FaultKind, Plan, plan_of
from benchmarks.soak.platform import Platform, interface_command, make_home, variables_of
from benchmarks.soak.products import KINDS, make
from benchmarks.soak.results import Results, table
from benchmarks.soak.source import Source
from benchmarks.soak.striking import Striker
from benchmarks.soak.watching import Watched
from conversion_assets.instance import open_instance
from conversion_assets.settings import Settings
from conversion_assets_tests.peers.serving import serving

SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class Asked:
    """What is asked of the platform.

    Attributes:
        minutes: how long products come and faults are done.
        products: how many different products come.
        seed: of the plan.
        null: whether there is nothing to convert.
        warm: whether runs are copies of a warm process.
        drain_minutes: how long it may take until nothing is under way any more, twice.
        most_growth: megabytes an hour by which a server may grow in the second half.
    """

    minutes: float
    products: int
    seed: int
    null: bool
    warm: bool
    drain_minutes: float
    most_growth: float


@click.command(help=__doc__)
@click.option(
    "--minutes", default=60.0, show_default=True, help="How long products come and faults are done."
)
@click.option("--products", default=200, show_default=True, help="How many different products come.")
@click.option("--seed", default=1, show_default=True, help="Of the plan.")
@click.option("--null", is_flag=True, help="Nothing to convert.")
@click.option("--warm", is_flag=True, help="Runs as copies of a warm process.")
@click.option("--drain-minutes", default=30.0, show_default=True, help="For what is under way at the end.")
@click.option("--most-growth", default=30.0, show_default=True, help="MB an hour that a server may grow.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Kept, with the home; a temporary one if none."
)
def main(folder: Path | None, **asked: object) -> None:
    """Measure, print, and fail where something is not as it should be."""
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        folder.mkdir(parents=True, exist_ok=True)
        results = soak(Asked(**asked), folder.absolute())  # type: ignore[arg-type] # click has checked them
    click.echo(table(results))
    sys.exit(0 if results.is_good else 1)


def soak(asked: Asked, folder: Path) -> Results:
    """Do it all.

    Args:
        asked: what.
        folder: takes everything.
    """
    before, began = load(), time.monotonic()

    def tell(text: str) -> None:
        click.echo(f"{time.monotonic() - began:7.0f} s  {text}", err=True)

    plan = plan_of(asked.minutes, asked.products, asked.seed, [FaultKind.CONVERTER] if asked.null else ())
    kinds = KINDS[:1] if asked.null else KINDS
    made = [make(product, folder / "products", kinds) for product in plan.products]
    tell(f"{len(made)} products made")
    with ExitStack() as stack:
        source = stack.enter_context(serving(Source(folder / "products")))
        settings = make_home(folder, source.url, is_warm=asked.warm)
        instance = stack.enter_context(open_instance(settings))
        command = interface_command(folder, is_null=asked.null)
        platform = Platform(command, variables_of(settings), folder / "ui.log")
        watched = Watched(platform)
        draw = random.Random(asked.seed)  # noqa: S311 - a plan, no secret
        striker = Striker(platform, instance, source, settings.home / "staging", draw, tell, plan.faults)
        arrivals = Arrivals(settings.home / "inbox", source, {one.product.number: one for one in made})
        try:
            platform.start()
            tell(f"the platform serves at {platform.url}")
            _go_through(plan, arrivals, striker, watched)
            striker.end()
            is_drained, done = _settle(asked, settings, instance, watched, tell)
        finally:
            striker.end()
            outlived = platform.end()
        mended, left = reconcile(settings, tell)
        faults = [
            *([] if is_drained else ["not all runs have ended in time"]),
            *(f"outlived the platform: {line}" for line in outlived),
            *(f"still found after reconcile --mend: {line}" for line in left),
            *faults_of(settings, instance, made),
        ]
        return Results(
            asked=asdict(asked),
            plan=plan,
            runs=instance.get_runs(),
            hit=striker.hit,
            starts=platform.starts,
            done=done,
            mended=mended,
            growths=growths(watched.samples, plan.seconds / 2),
            most_growth=asked.most_growth,
            faults=faults,
            minutes=(time.monotonic() - began) / SECONDS_PER_MINUTE,
            machine={**machine(), "load before": before},
        )


def _go_through(plan: Plan, arrivals: Arrivals, striker: Striker, watched: Watched) -> None:
    """Let everything happen that is planned, each at its time."""
    waiting = list(plan.arrivals)
    watched.begin()
    while watched.now < plan.seconds:
        watched.look()
        while waiting and waiting[0].at <= watched.now:
            arrivals.bring(waiting.pop(0))
        striker.look(watched.now)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _settle(
    asked: Asked,
    settings: Settings,
    instance: dg.DagsterInstance,
    watched: Watched,
    tell: Callable[[str], None],
) -> tuple[bool, dict[str, int]]:
    """Wait until nothing is under way, do what an operator does, and wait again."""
    seconds = asked.drain_minutes * SECONDS_PER_MINUTE
    tell("no more products and faults; waiting for what is under way")
    first = drain(instance, seconds, watched.look)
    done = operate(settings, instance, tell)
    tell(f"the operator: {done}")
    return drain(instance, seconds, watched.look) and first, done


if __name__ == "__main__":
    main()
