"""A STAC source with many items, drained by the real sensor of a watch, with a restart in the middle.

Usage: ``python -m benchmarks.sensor --items 100000``. A STAC API in a process of its own answers over HTTP
on 127.0.0.1; the sensor is evaluated tick by tick as Dagster's daemon does it, with a real instance. What it
asks for is counted, and not run. Half-way its process ends, and a new one goes on with the cursor. What was
measured goes to standard output as a Markdown table. Exit code 1 if an item was lost or found twice.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median, quantiles
from typing import Any, ClassVar

import click
import dagster as dg
import psutil
import yaml

from benchmarks.machine import machine
from conversion_assets.definitions import build_definitions
from conversion_assets.instance import open_instance
from conversion_assets.settings import Settings

WATCH = "source"
COLLECTION = "sentinel-2-l1c"
START = datetime(2026, 1, 1, tzinfo=UTC)
SECONDS_BETWEEN_ITEMS = 86_400 / 32_000
"""Copernicus publishes 32 000 products a day."""
ITEMS_AT_ONE_TIME = 5
MOST = 100
SAMPLES = 20
MEGABYTE = 1_000_000


# --- the source ---------------------------------------------------------------------------------------


class _Api(BaseHTTPRequestHandler):
    """A STAC API that filters, orders and pages like the usual ones; its items are made when asked for."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    times: ClassVar[list[str]]

    def do_GET(self) -> None:
        search = "https://api.stacspec.org/v1.0.0/item-search"
        self._answer({"conformsTo": [search, f"{search}#filter", f"{search}#sort", f"{search}#fields"]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        since = _since(body.get("filter"))
        if since is None:  # for items without 'updated', of which there are none
            self._answer({"type": "FeatureCollection", "features": [], "links": []})
            return
        first = body.get("token", bisect_left(self.times, since))
        if body["sortby"][0]["direction"] == "desc":
            first = max(first, len(self.times) - body["limit"])
        end = min(first + body["limit"], len(self.times))
        following = {"rel": "next", "method": "POST", "href": "/search", "body": {**body, "token": end}}
        features = [_item(number, self.times[number]) for number in range(first, end)]
        links = [following] if end < len(self.times) else []
        self._answer({"type": "FeatureCollection", "features": features, "links": links})

    def _answer(self, document: Mapping[str, Any]) -> None:
        content = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _since(condition: Mapping[str, Any] | None) -> str | None:
    if condition is None:
        return ""
    found: str | None = condition["args"][1]["timestamp"] if condition["op"] == ">=" else None
    return found


def _item(number: int, updated: str) -> dict[str, Any]:
    name = f"S2B_MSIL1C_20260101T102559_N0510_R108_T32TLR_{number:08}"
    return {
        "type": "Feature",
        "id": name,
        "collection": COLLECTION,
        "geometry": {"type": "Polygon", "coordinates": [[[5, 44], [6, 44], [6, 45], [5, 45], [5, 44]]]},
        "bbox": [5, 44, 6, 45],
        "links": [],
        "properties": {"datetime": updated, "updated": updated, "product:type": "S2MSI1C"},
        "assets": {
            "Product": {"href": f"https://products.example.org/{name}.zip", "type": "application/zip"},
            **{f"B{band:02}": {"href": f"s3://eodata/{name}.SAFE/B{band:02}.jp2"} for band in range(1, 13)},
        },
    }


def serve(items: int) -> None:
    """Serve so many items on a free port, which is written to standard output."""
    moments = [number - number % ITEMS_AT_ONE_TIME for number in range(items)]
    texts = [START + timedelta(seconds=round(number * SECONDS_BETWEEN_ITEMS)) for number in moments]
    _Api.times = [moment.isoformat().replace("+00:00", "Z") for moment in texts]
    with ThreadingHTTPServer(("127.0.0.1", 0), _Api) as server:
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()


# --- the sensor ---------------------------------------------------------------------------------------


def drain(url: str, home: Path, most_ticks: int) -> None:
    """Evaluate ticks until nothing new is found, or so many; write what happened to standard output."""
    watches = home / "watches.yaml"
    watch = {"name": WATCH, "kind": "stac", "url": url, "collections": [COLLECTION], "most": MOST}
    watches.write_text(yaml.safe_dump({"watches": [watch]}))
    settings = Settings(home=home, watches=watches)
    definitions = build_definitions(settings)
    repository = definitions.get_repository_def()
    sensor = repository.get_sensor_def(WATCH)
    resources = {name: (definitions.resources or {})[name] for name in sensor.required_resource_keys}
    kept, process = home / "cursor.json", psutil.Process()
    seconds: list[float] = []
    resident: list[int] = []
    cursor = kept.read_text() if kept.exists() else None
    with open_instance(settings) as instance:
        reference = instance.get_ref()
    with (home / "run_keys").open("a") as run_keys:
        while len(seconds) < most_ticks:
            began = time.perf_counter()
            with dg.build_sensor_context(
                instance_ref=reference, cursor=cursor, repository_def=repository, resources=resources
            ) as context:
                result = sensor.evaluate_tick(context)
            seconds.append(time.perf_counter() - began)
            resident.append(process.memory_info().rss)
            requests = result.run_requests or ()
            run_keys.writelines(f"{request.run_key}\n" for request in requests)
            cursor = result.cursor or ""
            kept.write_text(cursor)
            if not requests:
                break
    json.dump({"seconds": seconds, "resident": resident, "cursor": len(cursor or "")}, sys.stdout)


# --- the whole ----------------------------------------------------------------------------------------


@contextmanager
def _served(items: int) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.sensor", "--items", str(items), "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 - ourselves
        try:
            port = server.stdout.readline().strip() if server.stdout else ""
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


def _drained(url: str, home: Path, ticks: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.sensor", "--drain", url, "--home", str(home)]
    ran = subprocess.run([*command, "--ticks", str(ticks)], stdout=subprocess.PIPE, check=True)  # noqa: S603
    measured: dict[str, Any] = json.loads(ran.stdout)
    return measured


def _table(items: int, parts: list[dict[str, Any]], found: list[str]) -> str:
    seconds = [one for part in parts for one in part["seconds"]]
    resident = [one / MEGABYTE for one in parts[-1]["resident"]]
    settled = resident[len(resident) // SAMPLES :] or resident
    rows = {
        "items": f"{items:,}",
        "run requests": f"{len(found):,}",
        "lost": f"{items - len(set(found)):,}",
        "twice": f"{len(found) - len(set(found)):,}",
        "ticks to drain (100 items a tick)": f"{len(seconds):,}",
        "ticks before the restart": f"{len(parts[0]['seconds']):,}",
        "seconds to drain": f"{sum(seconds):,.0f}",
        "seconds a tick, median": f"{median(seconds):.3f}",
        "seconds a tick, p95": f"{quantiles(seconds, n=20)[-1]:.3f}",
        "seconds a tick, longest": f"{max(seconds):.3f}",
        "seconds a tick, first and last tenth": " and ".join(
            f"{median(part):.3f}"
            for part in (seconds[: len(seconds) // 10 + 1], seconds[-len(seconds) // 10 :])
        ),
        "resident memory, largest": f"{max(resident):.0f} MB",
        "its growth in the second process": f"{settled[-1] - settled[0]:+.1f} MB over {len(settled)} ticks",
        "cursor at the end": f"{parts[-1]['cursor']:,} bytes",
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(
        [", ".join(f"{name} {value}" for name, value in machine().items()), "", "| | |", "|---|---|", *lines]
    )


@click.command(help=__doc__)
@click.option("--items", default=100_000, show_default=True, help="How many items the source has.")
@click.option("--serve", "serves", is_flag=True, hidden=True)
@click.option("--drain", "drained", hidden=True)
@click.option("--home", type=click.Path(path_type=Path), hidden=True)
@click.option("--ticks", default=0, hidden=True)
def main(items: int, serves: bool, drained: str | None, home: Path | None, ticks: int) -> None:
    """Measure, or be one of the processes that are measured."""
    if serves:
        serve(items)
    elif drained and home:
        drain(drained, home, ticks)
    else:
        sys.exit(_measured(items))


def _measured(items: int) -> int:
    with tempfile.TemporaryDirectory() as folder, _served(items) as url:
        home = Path(folder)
        half = max(items // MOST // 2, 1)
        parts = [_drained(url, home, half), _drained(url, home, items)]
        found = (home / "run_keys").read_text().splitlines()
    click.echo(_table(items, parts, found))
    return 0 if len(found) == len(set(found)) == items else 1


if __name__ == "__main__":
    main()
