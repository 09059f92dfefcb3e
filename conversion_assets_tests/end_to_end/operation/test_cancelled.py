"""A run that is cancelled from the web interface ends its converter, and leaves nothing half-done."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import psutil
import pystac
import pytest

from conversion_assets.instance import open_instance
from conversion_assets.ordering import Wishes, orders_from
from conversion_assets.partitions import record_order
from conversion_assets.run_marks import process_of
from conversion_assets.settings import Settings
from conversion_assets_tests.end_to_end.browser import Interface, still_alive, wait_for
from conversion_assets_tests.end_to_end.command import ENGINE_MODULE, leftovers, run
from conversion_assets_tests.end_to_end.launching import launch, terminate
from conversion_assets_tests.safe_products import ProductKind, make_archive, make_product

ENDED = {dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS}
SECONDS_TO_CONVERT = 200
SECONDS_TO_CANCEL = 60
MOMENT = 0.002
ATTEMPTS = 5


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def interface(home: Path) -> Iterator[Interface]:
    running = Interface(home)
    yield running
    running.end()


def engines(process: psutil.Process) -> list[psutil.Process]:
    """Give the converters of a run that have begun to read."""
    found = []
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if ENGINE_MODULE in child.cmdline() and "TMPDIR" in child.environ():
                found.append(child)
    return found


class States:
    """In which part of an order a run is, seen from outside."""

    def __init__(self, home: Path, process: psutil.Process) -> None:
        self.home, self.process = home, process
        self.engines: list[psutil.Process] = []

    def staging(self) -> bool:
        return any(self.home.glob("staging/*/.transfer/*.partial"))

    def unzipping(self) -> bool:
        return any(self.home.glob("staging/*/unzipped/.extracting-*"))

    def converting(self) -> bool:
        self.engines = self.engines or engines(self.process)
        return bool(self.engines)

    def storing(self) -> bool:
        """The converter has ended, and nobody sees its product yet."""
        return self.converting() and not still_alive(self.engines) and not self.products()

    def publishing(self) -> bool:
        """The product is in its place, and the catalogue is being written."""
        return bool(self.products()) and any(self.home.glob("catalogue/**/*"))

    def products(self) -> list[Path]:
        return [path for path in self.home.glob("products/*/*/*/*.zarr") if path.name[0] != "."]


def _live_for_a_moment(process: psutil.Process) -> None:
    process.resume()
    time.sleep(MOMENT)
    process.suspend()


STATES: tuple[Callable[[States], bool], ...] = (
    States.staging,
    States.unzipping,
    States.converting,
    States.storing,
    States.publishing,
)


class Platform:
    """A home with its web interface, and an order that is to be cancelled again and again."""

    def __init__(self, url: str, instance: dg.DagsterInstance, home: Path, key: str) -> None:
        self.url, self.instance, self.home, self.key = url, instance, home, key

    def cancel_when(self, is_in: Callable[[States], bool]) -> States:
        """Launch the order, and cancel it in a state; one that passed unseen is awaited in another run."""
        for _ in range(ATTEMPTS):
            if states := self._cancelled_when(is_in):
                return states
            for name in ("products", "catalogue"):
                shutil.rmtree(self.home / name, ignore_errors=True)
        raise AssertionError(f"{is_in.__name__} was never seen")

    def _cancelled_when(self, is_in: Callable[[States], bool]) -> States | None:
        """Cancel a run in a state, in which it hardly moves meanwhile; None if it ended before it was seen.

        It is not stopped altogether: it may hold a lock of Dagster's database.
        """
        run_id = launch(self.url, self.key)
        deadline = time.monotonic() + SECONDS_TO_CONVERT
        while (process := self._process(run_id)) is None:
            assert time.monotonic() < deadline, "the run has not begun"
        states = States(self.home, process)
        try:
            process.suspend()
            while not is_in(states):
                assert time.monotonic() < deadline, f"{is_in.__name__} was never seen"
                _live_for_a_moment(process)
        except psutil.NoSuchProcess:
            wait_for("the end of the run", lambda: self._ended(run_id), SECONDS_TO_CANCEL)
            return None
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(terminate, self.url, run_id)
            while not asked.done():
                _live_for_a_moment(process)
                time.sleep(30 * MOMENT)
            process.resume()
        ended = wait_for("the end of the run", lambda: self._ended(run_id), SECONDS_TO_CANCEL)
        assert ended is dg.DagsterRunStatus.CANCELED
        return states

    def _process(self, run_id: str) -> psutil.Process | None:
        found = self.instance.get_run_by_id(run_id)
        mark = process_of(found) if found else None
        return psutil.Process(int(mark.split(":")[1])) if mark else None

    def _ended(self, run_id: str) -> dg.DagsterRunStatus | None:
        found = self.instance.get_run_by_id(run_id)
        return found.status if found and found.status in ENDED else None


def require_nothing_half_done(home: Path) -> None:
    """Only the staged copy may be left, for the next run to go on with; and what was whole before the end."""
    assert not list(home.glob("scratch/*"))
    assert not list(home.rglob(".converting-*"))
    assert not list(home.rglob(".extracting-*"))
    assert not list(home.glob("quarantine/orders/*"))
    root = home / "catalogue" / "catalog.json"
    for item in pystac.Catalog.from_file(str(root)).get_items(recursive=True) if root.exists() else ():
        for asset in item.assets.values():
            assert Path(str(asset.get_absolute_href()).removeprefix("file://")).exists()


@pytest.mark.timeout(900)
def test_run_cancelled_in_any_state_leaves_nothing_half_done(
    interface: Interface, home: Path, tmp_path: Path
) -> None:
    archive = make_archive(make_product(ProductKind.S2_MSI_L1C, tmp_path))
    (order,) = orders_from(str(archive), Wishes(owner="local", default_owner="local"))
    with open_instance(Settings(home=home)) as instance:
        record_order(instance, order)
        platform = Platform(interface.url(), instance, home, order.key)
        for is_in in STATES:
            states = platform.cancel_when(is_in)
            assert not still_alive(states.engines)
            require_nothing_half_done(home)
            assert list((home / "staging" / order.key).iterdir())
            if is_in in STATES[:3]:
                assert not states.products()
                assert not (home / "catalogue").exists()

    repeated = run("convert", "--json", archive, home=home)
    assert (repeated.code, repeated.orders[0]["status"]) == (0, "published")
    assert leftovers(home) == []
