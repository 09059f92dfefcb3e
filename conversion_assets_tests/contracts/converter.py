"""What every converter must do, wherever it converts."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from conversion_assets.errors import PermanentError, PoisonedInputError, TransientError
from conversion_assets.resources.converter import Converter
from conversion_assets.resources.object_store import ObjectStore, Shelf
from conversion_assets.zarr.conversion import Assignment, ConversionRequest, Workspace
from conversion_assets.zarr.process import ProcessLimits, run_conversion
from conversion_assets.zarr.product_folder import ProductFolder
from conversion_assets_tests.end_to_end.command import ENGINE_MODULE, timeless
from conversion_assets_tests.end_to_end.shared import make_small
from conversion_assets_tests.safe_products import ProductKind

KEY = "order-1_a.b"
SECONDS = 120.0
SECONDS_TO_END = 30
UNKNOWN = "S9A_XX.SAFE"


@dataclass(frozen=True)
class ConverterBench:
    """A converter on the test bench, and what the tests must see of it from outside.

    Attributes:
        converter: makes one with a limit of so many seconds.
        store: gives the workspace.
        shelf: where the products go.
        folder: the caller's own.
        leftovers: lists what a conversion has left, besides what the caller removes.
    """

    converter: Callable[[float], Converter]
    store: ObjectStore
    shelf: Shelf
    folder: Path
    leftovers: Callable[[], Iterable[object]]

    def assignment(self, safe: Path) -> Assignment:
        workspace = self.store.workspace(self.shelf, KEY, safe)
        return Assignment(KEY, safe, self.store.scratch_folder(KEY), workspace)


def engines() -> list[psutil.Process]:
    """List the converting processes that this one started, however indirectly."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if ENGINE_MODULE in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def until(condition: Callable[[], object]) -> bool:
    """Wait until something holds; False when it does not in time."""
    deadline = time.monotonic() + SECONDS_TO_END
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def unknown_product(folder: Path) -> Path:
    """Make a product that eopf has no mapping for."""
    safe = folder / "unknown" / UNKNOWN
    safe.mkdir(parents=True)
    (safe / "manifest.safe").write_text("<xml/>")
    return safe


def local_copy(product: ProductFolder, folder: Path) -> Path:
    """Give a product as a folder of this machine."""
    if product.path is not None:
        return product.path
    for name, content in product.read_many(product.objects()).items():
        assert content is not None
        path = folder / product.name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / product.name


@pytest.fixture(scope="session")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small(ProductKind.S3_OL_EFR, tmp_path_factory.mktemp("safe"))


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give the inventory of the product, converted once in a session, whichever process asks first."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "converted"
    note = folder / "inventory.json"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not note.exists():
            note.write_text(json.dumps(_converted(folder)))
        inventory: dict[str, str] = json.loads(note.read_bytes())
        return inventory


def _converted(folder: Path) -> dict[str, str]:
    output, scratch = folder / "output", folder / "scratch"
    output.mkdir()
    scratch.mkdir()
    safe = make_small(ProductKind.S3_OL_EFR, folder / "input")
    request = ConversionRequest(safe=safe, output=output, scratch=scratch)
    report = run_conversion(request, ProcessLimits(2**33, SECONDS), lambda _: None)
    return timeless(report.product)


def require_nothing_left(bench: ConverterBench, workspace: Workspace) -> None:
    """See that no process is left, nor any part of a product."""
    assert engines() == []
    assert list(bench.leftovers()) == []
    assert not list(workspace.local_output().rglob(".zmetadata"))


class RunCanceledError(BaseException):
    """What Dagster raises in a run that is cancelled is no ``Exception`` either."""


class EndingContract:
    """Conversions that are ended; the module of a subclass imports ``safe`` and has a fixture ``bench``."""

    def test_conversion_that_takes_too_long_is_ended(self, bench: ConverterBench, safe: Path) -> None:
        assignment = bench.assignment(safe)
        with pytest.raises(PermanentError, match=r"took longer than .*TIME_LIMIT"):
            bench.converter(0.05).convert(assignment, lambda _: None)
        require_nothing_left(bench, assignment.workspace)

    def test_cancelled_conversion_is_ended_with_its_process(self, bench: ConverterBench, safe: Path) -> None:
        seen = []

        def cancel(text: str) -> None:
            if text.startswith("starting"):
                seen.extend(engines())
                raise RunCanceledError

        assignment = bench.assignment(safe)
        with pytest.raises(RunCanceledError):
            bench.converter(SECONDS).convert(assignment, cancel)
        assert len(seen) == 1
        require_nothing_left(bench, assignment.workspace)

    def test_killed_process_is_transient(self, bench: ConverterBench, safe: Path) -> None:
        def kill(text: str) -> None:
            if text.startswith("starting"):
                (engine,) = engines()
                os.kill(engine.pid, signal.SIGKILL)

        assignment = bench.assignment(safe)
        with pytest.raises(TransientError, match="ended from outside"):
            bench.converter(SECONDS).convert(assignment, kill)
        require_nothing_left(bench, assignment.workspace)


class ConverterContract(EndingContract):
    """Whole and refused conversions besides; the module of a subclass imports ``expected`` too."""

    def test_product_is_the_same_wherever_it_is_converted(
        self, bench: ConverterBench, safe: Path, expected: dict[str, str], tmp_path: Path
    ) -> None:
        before = {path: path.stat().st_mtime_ns for path in safe.rglob("*")}
        assignment, told = bench.assignment(safe), list[str]()
        conversion = bench.converter(SECONDS).convert(assignment, told.append)
        product = assignment.workspace.open_product(conversion.uri)
        assert timeless(local_copy(product, tmp_path)) == expected
        assert product.name == f"{conversion.name}.zarr"
        assert ".zmetadata" in product.objects()
        assert conversion.eopf_version == version("eopf")
        assert conversion.report
        assert conversion.report.peak_memory_bytes > 0
        assert [text for text in told if text.startswith(("reading", "writing"))] == [
            f"reading {safe.name}",
            f"writing {product.name}",
        ]
        assert {path: path.stat().st_mtime_ns for path in safe.rglob("*")} == before
        assert until(lambda: not bench.leftovers())
        assert engines() == []

    def test_version_of_eopf_is_told(self, bench: ConverterBench) -> None:
        assert bench.converter(SECONDS).eopf_version() == version("eopf")

    def test_product_that_eopf_refuses_is_poisoned(self, bench: ConverterBench) -> None:
        assignment = bench.assignment(unknown_product(bench.folder))
        with pytest.raises(PoisonedInputError) as caught:
            bench.converter(SECONDS).convert(assignment, lambda _: None)
        assert caught.value.subject == UNKNOWN
        assert caught.value.rule == "eopf has no mapping for this product"
        require_nothing_left(bench, assignment.workspace)
