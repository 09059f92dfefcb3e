from __future__ import annotations

from pathlib import Path

import pytest

from conversion_assets.errors import PermanentError
from conversion_assets.resources.converter import ChildProcessConverter
from conversion_assets.resources.folder_object_store import FolderObjectStore
from conversion_assets.resources.memory_budget import MemoryBudget
from conversion_assets.resources.object_store import Shelf
from conversion_assets.services import resources_for
from conversion_assets.settings import Settings
from conversion_assets_tests.contracts.converter import (
    ConverterBench,
    ConverterContract,
    engines,
    expected,
    safe,
)

__all__ = ["expected", "safe"]

GB = 10**9
LEDGER = "memory"


@pytest.fixture
def bench(tmp_path: Path) -> ConverterBench:
    return ConverterBench(
        converter=lambda seconds: ChildProcessConverter(
            memory_limit_bytes=8 * GB,
            time_limit_seconds=seconds,
            memory_ledger=str(tmp_path / LEDGER),
            memory_budget_bytes=10 * GB,
        ),
        store=FolderObjectStore(root=str(tmp_path / "home")),
        shelf=Shelf(bucket="products", owner="someone", collection="sentinel-3"),
        folder=tmp_path,
        leftovers=list,
    )


@pytest.fixture
def budget(tmp_path: Path) -> MemoryBudget:
    return MemoryBudget(tmp_path / LEDGER, 10 * GB)


class TestChildProcessConverter(ConverterContract):
    pass


def test_a_conversion_waits_for_memory_and_tells_what_it_needed(
    bench: ConverterBench, budget: MemoryBudget, safe: Path
) -> None:
    held, told = budget.reserved(10 * GB, print), list[str]()
    held.__enter__()

    def tell(text: str) -> None:
        if text.startswith("waiting"):
            held.__exit__(None, None, None)
        told.append(text)

    first = budget.expected("S03OLCEFR", 0, 2)
    conversion = bench.converter(200).convert(bench.assignment(safe), tell)
    assert told[0] == "waiting for memory: needs 0.5 GB, 0.0 GB free of 10.0 GB"
    assert told[1] == "starting eopf"
    assert conversion.report is not None
    assert conversion.report.bytes_read is not None
    assert conversion.report.bytes_read > sum(
        file.stat().st_size for file in safe.rglob("*") if file.is_file()
    )
    learned = budget.expected("S03OLCEFR", 0, 2)
    assert learned == int(conversion.report.peak_memory_bytes * 1.1)
    assert learned != first
    with budget.reserved(10 * GB, lambda _: pytest.fail("a reservation was left")):
        pass


def test_a_conversion_that_is_cancelled_while_it_waits_never_starts(
    bench: ConverterBench, budget: MemoryBudget, safe: Path
) -> None:
    def cancel(_: str) -> None:
        raise KeyboardInterrupt

    with budget.reserved(10 * GB, print), pytest.raises(KeyboardInterrupt):
        bench.converter(200).convert(bench.assignment(safe), cancel)
    assert engines() == []
    with budget.reserved(10 * GB, lambda _: pytest.fail("a reservation was left")):
        pass


@pytest.mark.parametrize(("limit", "most"), [(8 * GB, 8 * GB), (GB // 10, GB // 10)])
def test_nothing_is_reserved_beyond_what_one_conversion_may_use(
    bench: ConverterBench, budget: MemoryBudget, safe: Path, limit: int, most: int
) -> None:
    told = list[str]()

    def cancel(text: str) -> None:
        told.append(text)
        raise KeyboardInterrupt

    converter = bench.converter(200).model_copy(update={"memory_limit_bytes": limit})
    with budget.reserved(10 * GB, print), pytest.raises(KeyboardInterrupt):
        converter.convert(bench.assignment(safe), cancel)
    needed = float(told[0].removeprefix("waiting for memory: needs ").partition(" GB")[0])
    assert needed * GB <= most


@pytest.mark.parametrize(
    ("limit", "budget_bytes", "setting"),
    [(8 * GB, 10**6, "CONVERSION_ASSETS_MEMORY_BUDGET_BYTES"), (10**6, 8 * GB, "MEMORY_LIMIT_BYTES")],
)
def test_a_conversion_is_ended_at_its_limit_or_at_the_whole_budget(
    bench: ConverterBench, safe: Path, limit: int, budget_bytes: int, setting: str
) -> None:
    changed = {"memory_limit_bytes": limit, "memory_budget_bytes": budget_bytes}
    converter = bench.converter(200).model_copy(update=changed)
    with pytest.raises(PermanentError, match="1,000,000 are allowed") as caught:
        converter.convert(bench.assignment(safe), print)
    assert setting in caught.value.way_out
    assert engines() == []


def test_the_conversions_of_a_home_share_one_budget(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, memory_budget_bytes=5 * GB)
    converter = resources_for(settings)["converter"]
    assert isinstance(converter, ChildProcessConverter)
    assert (converter.memory_ledger, converter.memory_budget_bytes) == (str(tmp_path / "memory"), 5 * GB)
