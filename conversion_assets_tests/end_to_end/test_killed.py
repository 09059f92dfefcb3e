"""An order that is killed in the middle of any asset and repeated ends as if nothing had happened."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import psutil
import pystac
import pytest

from conversion_assets.instance import open_instance
from conversion_assets.settings import Settings
from conversion_assets.zarr.product_folder import local_product
from conversion_assets.zarr.verification import check_completeness
from conversion_assets_tests.safe_products import SMALLEST_SCALE, ProductKind, make_archive, make_product

KIND = ProductKind.S3_OL_ERR
ENGINE = "conversion_assets.zarr.engine"
FINISHED = "published"
SECONDS_TO_END = 60
SUCCESS, FAILURE = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE

# Runs the command line until a named point is reached, and kills the process there. Only the process
# itself: its children are noted, so that the test can see them end on their own.
SABOTAGED = """
import json, os, re, signal, sys, threading, time
from pathlib import Path
import psutil

point, note = json.loads(sys.argv[1]), Path(sys.argv[2])
steps = [(event, re.compile(pattern)) for event, pattern in point["events"]]
remaining, dead = point["times"], threading.Event()

def die():
    dead.set()
    children = psutil.Process().children(recursive=True)
    note.write_text(json.dumps([[c.pid, c.create_time(), c.cmdline()] for c in children if c.is_running()]))
    os.kill(os.getpid(), signal.SIGKILL)

def hook(event, arguments):
    global remaining
    if dead.is_set() or not steps or event != steps[0][0]:
        return
    if not any(steps[0][1].search(str(argument)) for argument in arguments[:2]):
        return
    if len(steps) > 1:
        steps.pop(0)
        return
    remaining -= 1
    if not remaining:
        die()

def poll():
    while sum(1 for _ in Path(point["folder"]).rglob(point["files"])) < point["times"]:
        time.sleep(0.01)
    die()

if steps:
    sys.addaudithook(hook)
else:
    threading.Thread(target=poll, daemon=True).start()

from conversion_assets.cli import main
main(sys.argv[3:])
"""


@dataclass(frozen=True)
class Point:
    """Where the process is killed: when the last of some events has come so many times, or files are there.

    Attributes:
        events: audit events and patterns of their first two arguments, in the order in which they come.
        files: with no events, the pattern of the files to wait for.
        times: how many times the last event must come, or how many files there must be.
        source: what is ordered: an archive or a folder.
    """

    events: tuple[tuple[str, str], ...] = ()
    files: str = ""
    times: int = 1
    source: str = "archive"


ALONE = {
    "staged_safe_item-some-files-copied": Point(
        (("os.rename", r"/\.transfer/.*\.partial$"),), times=20, source="folder"
    ),
    "unzipped_safe-some-members-unpacked": Point((("open", r"/\.extracting-.*\.nc$"),), times=20),
    "zarr_product-engine-writes": Point(files="products/**/.converting-*/**/.zarray", times=20),
    "zarr_product-verified-and-not-recorded": Point((("os.rename", r"/records/zarr_product/"),)),
    "stac_item-product-read": Point(
        (("open", r"/records/zarr_product/[^.].*\.json$"), ("open", r"\.zarr/\.zmetadata$"))
    ),
    "published_item-not-yet-linked": Point((("os.rename", r"/catalogue/.*/\.catalog\.json"),)),
}
IN_TURN = (
    Point((("os.rename", r"/\.transfer/.*\.partial$"),)),  # the archive is copied and not yet named
    Point((("os.rename", r"/records/unzipped_safe/"),)),  # the archive is removed, nothing recorded
    Point((("os.rename", r"/\.converting-[^/]*/[^/]*\.zarr$"),)),  # verified and not yet visible
    Point(
        (("open", r"/\.provenance/products/"),)
    ),  # its name is claimed, and nothing says what it was made of
    Point((("os.rename", r"/records/stac_item/"),)),
    Point((("os.rename", r"/catalogue/\.catalog\.json"),)),  # published but for the root
    Point((("shutil.rmtree", r"/staging/"),)),  # published and not yet released
    Point((("os.rename", r"/records/published_item/"),)),
)
CONVERTED_AGAIN = Point(  # the new product stands beside the old one, and is not recorded
    (("os.rename", r"/\.converting-[^/]*/[^/]*\.zarr$"), ("os.rename", r"/records/zarr_product/"))
)
SUPERSEDED = Point(  # the former version stands aside, and the item is still what it was
    (("os.rename", r"/catalogue/.*\.v1\.json$"), ("os.rename", r"/catalogue/.*/(?!catalog\.)[^/.]+\.json$"))
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = make_product(KIND, tmp_path_factory.mktemp("input"), scale=SMALLEST_SCALE[KIND])
    return {"folder": folder, "archive": make_archive(folder)}


def arguments(source: Path, home: Path, *options: str) -> list[str]:
    return ["convert", str(source), "--home", str(home), "--json", *options]


def convert_killed(point: Point, home: Path, command: list[str]) -> list[str]:
    """Run a command until it kills itself; give the command lines of what it left, once that has ended."""
    note = home.with_name("children.json")
    plan = json.dumps({**asdict(point), "folder": str(home)})
    process = subprocess.run(
        [sys.executable, "-c", SABOTAGED, plan, str(note), *command],
        capture_output=True,
        check=False,
        start_new_session=True,
        text=True,
    )
    assert process.returncode == -signal.SIGKILL, process.stdout + process.stderr
    children = json.loads(note.read_text())
    deadline = time.monotonic() + SECONDS_TO_END
    while left := [line for pid, created, line in children if lives(pid, created)]:
        assert time.monotonic() < deadline, f"these outlived the command: {left}"
        time.sleep(0.1)
    return [" ".join(line) for _, _, line in children]


def lives(pid: int, created: float) -> bool:
    try:
        process = psutil.Process(pid)
        return process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def convert(command: list[str]) -> dict[str, object]:
    program = str(Path(sys.executable).with_name("conversion-assets"))
    process = subprocess.run([program, *command], capture_output=True, check=False, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    result: dict[str, object] = json.loads(process.stdout)
    return result


def require_whole_for_readers(home: Path) -> list[pystac.Item]:
    """What readers see is complete: every product, and every link and asset of the catalogue."""
    for product in visible_products(home):
        outcome = check_completeness(local_product(product))
        assert outcome.passed, outcome.detail
    root = home / "catalogue" / "catalog.json"
    if not root.exists():
        return []
    catalogue = pystac.Catalog.from_file(str(root))
    items = []
    for parent, _, its_items in catalogue.walk():
        require_resolving_links(parent)
        for item in its_items:
            require_resolving_links(item)
            for asset in item.assets.values():
                assert Path(urlsplit(str(asset.get_absolute_href())).path).exists()
            items.append(item)
    return items


def require_resolving_links(thing: pystac.STACObject) -> None:
    for link in thing.links:
        href = urlsplit(str(link.get_absolute_href()))
        if href.scheme in ("", "file"):
            assert Path(href.path).exists(), f"{link.rel} of {thing.id} leads nowhere: {href.path}"


def visible_products(home: Path) -> list[Path]:
    products = home / "products"
    hidden = (path.relative_to(products).parts for path in products.rglob("*.zarr"))
    return [products.joinpath(*parts) for parts in hidden if not any(part.startswith(".") for part in parts)]


def left_behind(home: Path) -> Iterator[Path]:
    for pattern in (".converting-*", ".extracting-*", ".transfer", "*.partial", "superseded"):
        yield from home.rglob(pattern)
    for folder in ("staging", "scratch"):
        yield from (home / folder).glob("*")


def run_statuses(home: Path) -> list[dg.DagsterRunStatus]:
    """Statuses of the runs as Dagster shows them, oldest first."""
    with open_instance(Settings(home=home)) as instance:
        return [run.status for run in reversed(instance.get_runs())]


def require_finished(home: Path, result: dict[str, object]) -> None:
    assert result["status"] == FINISHED
    (product,) = visible_products(home)
    assert result["product"] == product.as_uri()
    (item,) = require_whole_for_readers(home)
    assert item.get_self_href() == urlsplit(str(result["item"])).path
    assert list(left_behind(home)) == []


@pytest.mark.parametrize("point", ALONE.values(), ids=ALONE.keys())
def test_killed_and_repeated_ends_with_one_published_product(
    point: Point, sources: dict[str, Path], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    command = arguments(sources[point.source], home)

    left = convert_killed(point, home, command)
    assert any(ENGINE in line for line in left) == bool(point.files)
    require_whole_for_readers(home)

    require_finished(home, convert(command))
    assert run_statuses(home) == [FAILURE, SUCCESS]


@pytest.mark.timeout(600)
def test_killed_again_and_again_ends_with_one_published_product(
    sources: dict[str, Path], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    command = arguments(sources["archive"], home)
    for point in IN_TURN:
        convert_killed(point, home, command)
        require_whole_for_readers(home)
    (published,) = require_whole_for_readers(home)

    convert_killed(CONVERTED_AGAIN, home, [*command, "--reconvert"])
    (item,) = require_whole_for_readers(home)
    assert item.get_self_href() == published.get_self_href()
    former = item.assets["product"].get_absolute_href()

    convert_killed(SUPERSEDED, home, command)
    products = {one.id: one.assets["product"].get_absolute_href() for one in require_whole_for_readers(home)}
    assert products == {item.id: former, f"{item.id}.v1": former}

    result = convert(command)
    products = {one.id: one.assets["product"].get_absolute_href() for one in require_whole_for_readers(home)}
    assert products[f"{item.id}.v1"] == former != products[item.id]
    assert result["product"] == Path(str(products[item.id])).as_uri()
    assert len(visible_products(home)) == len(products)
    assert list(left_behind(home)) == []
    assert run_statuses(home) == [*[FAILURE] * (len(IN_TURN) + 2), SUCCESS]
