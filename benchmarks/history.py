"""The web interface and a selection for a backfill over a long history: how long they take.

Usage: ``python -m benchmarks.history --live 50000 --retired 1000000 --storage postgres``. One order is made
by the real way, the others are copies of its rows (``past_orders``). Then Chromium opens the asset graph, the
partitions of an asset and the list of runs in a real ``dagster-webserver``; what it asked for is asked again,
several times, by one client. Before the retired orders are written, the command chooses the live ones for a
backfill: none of them is stale, then, for another version of eopf, all. What was measured goes to standard
output as JSON.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import dagster as dg
import httpx
from playwright.sync_api import Page, Request

from benchmarks.machine import load, machine
from benchmarks.null_conversion import NullConverter
from benchmarks.past_orders import Model, write_past
from benchmarks.rig import CODE, ROOT, fill, history_in
from benchmarks.spreads import spread
from conversion_assets.definitions import build_definitions
from conversion_assets.instance import environment, open_instance
from conversion_assets.ordering import Wishes, order_each
from conversion_assets.orders import Order
from conversion_assets.running import run_order
from conversion_assets.services import order_defaults_now
from conversion_assets.settings import Settings
from conversion_assets_tests.end_to_end.browser import chromium, open_page
from conversion_assets_tests.services.processes import HOST, answers, free_port, serving

WEBSERVER = Path(sys.executable).with_name("dagster-webserver")
COMMAND = Path(sys.executable).with_name("conversion-assets")
ORDERS = re.compile(r"^(\d+) orders, ", re.MULTILINE)
STALE = {"none is stale": {}, "all are stale": {"CONVERSION_ASSETS_CONVERTER_EOPF_VERSION": "99"}}
KIBIBYTE, MEGABYTE = 1024, 1_000_000
PAGES = {
    "asset graph": "/locations/benchmarks.code_location/asset-groups/conversion",
    "partition status": "/assets/zarr_product?view=partitions",
    "run list": "/runs",
}
LONGEST_ANSWER = 600.0
QUIET_MILLISECONDS = 1500


@click.command(help=__doc__)
@click.option("--live", default=50_000, show_default=True, help="How many keys are partitions now.")
@click.option("--retired", default=1_000_000, show_default=True, help="How many were, and are no more.")
@click.option("--storage", type=click.Choice(["sqlite", "postgres"]), default="sqlite", show_default=True)
@click.option("--repeats", default=20, show_default=True, help="How often each query is asked again.")
def main(live: int, retired: int, storage: str, repeats: int) -> None:
    """Measure and print."""
    before = load()
    with tempfile.TemporaryDirectory(prefix="history-") as name, history_in(storage, Path(name)):
        settings = Settings(home=Path(name) / "home")
        with open_instance(settings) as instance:
            model = _real_order(instance, settings)
            started = time.monotonic()
            write_past(instance, model, range(live), live=True)
            seconds = time.monotonic() - started
            chosen = _choose_stale(settings)
            started = time.monotonic()
            write_past(instance, model, range(live, live + retired), live=False)
            seconds += time.monotonic() - started
            runs = instance.get_runs_count()
        found = _ask(settings, repeats)
    asked = {"live": live, "retired": retired, "storage": storage, "repeats": repeats, "runs": runs}
    loads = {"load before and after": [before, load()]}
    click.echo(
        json.dumps(
            {
                "asked": asked,
                "s to write": round(seconds, 1),
                "backfill --stale --dry-run": chosen,
                **found,
                **loads,
                "machine": machine(),
            },
            indent=1,
        )
    )


def _real_order(instance: dg.DagsterInstance, settings: Settings) -> Model:
    inbox = settings.home / "inbox"
    fill(inbox, orders=1)
    defaults = order_defaults_now(settings)
    wishes = Wishes(
        owner=defaults.owner,
        default_owner=defaults.owner,
        rules=defaults.rules,
        credentials=defaults.credentials,
    )
    (order,) = [found for found in order_each(str(next(inbox.iterdir())), wishes) if isinstance(found, Order)]
    definitions = build_definitions(settings, converter=NullConverter())
    run_order(definitions, instance, order, reconvert=False, listener=lambda *_: None)
    (run,) = instance.get_runs()
    return Model(run.run_id, order.key)


def _choose_stale(settings: Settings) -> dict[str, dict[str, float]]:
    """Let the command choose the stale orders, when none is and when all are; a process each time."""
    return {name: _chosen(settings, told) for name, told in STALE.items()}


def _chosen(settings: Settings, told: Mapping[str, str]) -> dict[str, float]:
    command = [str(COMMAND), "backfill", "--stale", "--dry-run", "--home", str(settings.home)]
    started = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - our own command, no shell
        command, env={**environment(settings), **told}, stderr=subprocess.PIPE, text=True
    ) as process:
        said = process.stderr.read() if process.stderr else ""
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode or not (found := ORDERS.search(said)):
        raise click.ClickException(said)
    peak = used.ru_maxrss * KIBIBYTE / MEGABYTE
    return {"orders": int(found[1]), "s": round(seconds, 2), "peak MB": round(peak, 1)}


def _ask(settings: Settings, repeats: int) -> dict[str, Any]:
    """Serve the web interface, see what it asks for on each page, and ask for it again."""
    port = free_port()
    url = f"http://{HOST}:{port}"
    with serving(
        [WEBSERVER, "-h", HOST, "-p", str(port), *CODE],
        log=settings.home / "webserver.log",
        ready=answers(f"{url}/server_info"),
        env={**environment(settings), "PYTHONPATH": str(ROOT)},
    ):
        with chromium() as browser:
            page = open_page(browser)
            seen = {name: _visit(page, url + path) for name, path in PAGES.items()}
        with httpx.Client(base_url=url, timeout=LONGEST_ANSWER) as client:
            return {
                name: {operation: _timed(client, body, repeats) for operation, body in queries.items()}
                for name, queries in seen.items()
            }


def _visit(page: Page, url: str) -> dict[str, str]:
    """Open a page until it asks for nothing new; give the queries it sent, by the name of the operation."""
    queries: dict[str, str] = {}
    note = _noting(queries)
    page.on("request", note)
    with page.expect_request(_is_query, timeout=LONGEST_ANSWER * 1000):
        page.goto(url)
    known = -1
    while known < len(queries):
        known = len(queries)
        page.wait_for_load_state("networkidle", timeout=LONGEST_ANSWER * 1000)
        page.wait_for_timeout(QUIET_MILLISECONDS)
    page.remove_listener("request", note)
    return queries


def _noting(queries: dict[str, str]) -> Callable[[Request], None]:
    def note(request: Request) -> None:
        if _is_query(request) and (body := request.post_data):
            queries.setdefault(str(json.loads(body).get("operationName")), body)

    return note


def _is_query(request: Request) -> bool:
    return request.method == "POST" and urlsplit(request.url).path == "/graphql"


def _timed(client: httpx.Client, body: str, repeats: int) -> dict[str, float]:
    """Ask again and again, the first time told apart; the answers must be without errors."""
    milliseconds, kilobytes = [], 0.0
    for _ in range(repeats):
        started = time.perf_counter()
        answer = client.post("/graphql", content=body, headers={"Content-Type": "application/json"})
        milliseconds.append((time.perf_counter() - started) * 1000)
        kilobytes = len(answer.content) / 1000
        if "errors" in answer.raise_for_status().json():
            raise click.ClickException(answer.text[:500])
    first, *others = milliseconds
    return {"first ms": round(first, 1), **spread(others or [first], 1), "kB": round(kilobytes, 1)}


if __name__ == "__main__":
    main()
