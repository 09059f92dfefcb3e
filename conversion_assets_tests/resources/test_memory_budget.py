from __future__ import annotations

import logging
import operator
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_assets.resources.memory_budget import MemoryBudget, MemoryLedger, Peak, Reservation
from conversion_assets.zarr.memory_needs import expected_memory

GB = 10**9
TOTAL = 10 * GB
PROGRAM = "conversion_assets_tests.resources.holding_memory"


class Holder:
    """A process that reserves memory; what it says is read line by line."""

    def __init__(self, folder: Path, gigabytes: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", PROGRAM, str(folder), str(TOTAL), str(gigabytes * GB)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def says(self) -> str:
        output: IO[str] | None = self.process.stdout
        assert output is not None
        return output.readline().strip()

    def is_admitted(self) -> bool:
        while (said := self.says()).startswith("waiting"):
            pass
        return said == "admitted"

    def end(self) -> None:
        with self.process:  # its standard input is closed first
            pass

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.end()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Callable[[int], Holder]]:
    with ExitStack() as ended:

        def start(gigabytes: int) -> Holder:
            started = Holder(tmp_path, gigabytes)
            ended.callback(started.kill)
            return started

        yield start


def ledger(folder: Path) -> MemoryLedger:
    return MemoryLedger.model_validate_json((folder / f"{socket.gethostname()}.json").read_bytes())


def test_what_fits_goes_on_at_once_and_the_rest_in_its_order(
    tmp_path: Path, holder: Callable[[int], Holder]
) -> None:
    first = holder(6)
    assert first.is_admitted()
    large = holder(8)
    assert large.says() == "waiting for memory: needs 8.0 GB, 4.0 GB free of 10.0 GB"
    small = holder(1)  # it would fit, and the large one would wait the longer
    assert small.says() == "waiting for memory: needs 1.0 GB, 4.0 GB free of 10.0 GB, 1 before it"
    assert ledger(tmp_path).reserved_bytes == 6 * GB
    first.end()
    assert large.is_admitted()
    assert small.is_admitted()
    assert ledger(tmp_path).reserved_bytes == 9 * GB
    for one in (large, small):
        one.end()
    assert ledger(tmp_path) == MemoryLedger()


def test_what_a_killed_process_held_or_awaited_is_free(
    tmp_path: Path, holder: Callable[[int], Holder]
) -> None:
    killed = holder(9)
    assert killed.is_admitted()
    impatient = holder(9)
    assert impatient.says().startswith("waiting")
    next_one = holder(2)
    assert next_one.says().endswith("1 before it")
    impatient.kill()
    killed.kill()
    assert next_one.is_admitted()
    assert ledger(tmp_path).reserved_bytes == 2 * GB


def test_a_process_that_is_cancelled_while_it_waits_ends_and_leaves_the_queue(
    tmp_path: Path, holder: Callable[[int], Holder]
) -> None:
    first = holder(9)
    assert first.is_admitted()
    cancelled = holder(9)
    assert cancelled.says().startswith("waiting")
    cancelled.process.send_signal(signal.SIGINT)
    assert cancelled.process.wait()
    assert [entry.is_admitted for entry in ledger(tmp_path).reservations] == [True]


def test_what_needs_more_than_there_is_runs_alone(
    tmp_path: Path, holder: Callable[[int], Holder], caplog: pytest.LogCaptureFixture
) -> None:
    small = holder(1)
    assert small.is_admitted()
    budget, told = MemoryBudget(tmp_path, TOTAL), list[str]()

    def waited(text: str) -> None:
        told.append(text)
        small.end()

    with caplog.at_level(logging.WARNING), budget.reserved(20 * GB, waited):
        assert ledger(tmp_path).reserved_bytes == 20 * GB
        assert holder(1).says().startswith("waiting for memory: needs 1.0 GB, 0.0 GB free")
    assert told == ["waiting for memory: needs 20.0 GB, 9.0 GB free of 10.0 GB"]
    assert "may need 20.0 GB of memory, and there is 10.0 GB" in caplog.text


def test_who_is_interrupted_while_waiting_leaves_the_queue(tmp_path: Path) -> None:
    budget = MemoryBudget(tmp_path, TOTAL)

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with budget.reserved(8 * GB, interrupt):
        with pytest.raises(KeyboardInterrupt), budget.reserved(8 * GB, interrupt):
            pytest.fail("there was no room")
        assert ledger(tmp_path).reserved_bytes == 8 * GB
        assert len(ledger(tmp_path).reservations) == 1


def test_a_conversion_that_fails_gives_its_memory_back(tmp_path: Path) -> None:
    budget = MemoryBudget(tmp_path, TOTAL)
    with pytest.raises(RuntimeError), budget.reserved(8 * GB, print):
        raise RuntimeError
    assert ledger(tmp_path).reservations == ()


def test_threads_of_one_process_share_it_too(tmp_path: Path) -> None:
    budget, most, together = MemoryBudget(tmp_path, TOTAL), list[int](), threading.Barrier(2)

    def convert() -> None:
        with budget.reserved(5 * GB, lambda _: None):
            together.wait()
            most.append(ledger(tmp_path).reserved_bytes)
            together.wait()

    threads = [threading.Thread(target=convert) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [TOTAL] * 4


def test_a_ledger_that_cannot_be_read_is_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / f"{socket.gethostname()}.json"
    file.write_text('{"reservations": 7}')
    with MemoryBudget(tmp_path, TOTAL).reserved(GB, print):
        assert ledger(tmp_path).reserved_bytes == GB
    assert "begun anew" in caplog.text


def test_earlier_conversions_of_a_type_tell_what_the_next_will_need(tmp_path: Path) -> None:
    budget, told = MemoryBudget(tmp_path, TOTAL), expected_memory("S02MSIL1C", GB, 2)
    assert budget.expected("S02MSIL1C", GB, 2) == told
    budget.learn("S02MSIL1C", Peak(memory_bytes=2 * GB, safe_bytes=GB, threads=2))
    budget.learn("S02MSIL1C", Peak(memory_bytes=GB, safe_bytes=GB // 2, threads=2))
    assert budget.expected("S02MSIL1C", GB, 2) == pytest.approx(2.2 * GB)
    assert budget.expected("S02MSIL1C", GB // 100, 2) == pytest.approx(2.2 * GB)
    assert budget.expected("S02MSIL1C", GB, 4) == expected_memory("S02MSIL1C", GB, 4)
    assert budget.expected("S03OLCEFR", GB, 2) == expected_memory("S03OLCEFR", GB, 2)


def test_a_small_product_says_nothing_of_a_large_one(tmp_path: Path) -> None:
    budget = MemoryBudget(tmp_path, TOTAL)
    budget.learn("S01SIWSLC", Peak(memory_bytes=GB // 3, safe_bytes=GB // 1000, threads=2))
    assert budget.expected("S01SIWSLC", 4 * GB, 2) == expected_memory("S01SIWSLC", 4 * GB, 2)
    assert budget.expected("S01SIWSLC", GB // 1000, 2) == pytest.approx(GB / 3 * 1.1)


def test_another_number_of_threads_is_learned_anew() -> None:
    known = MemoryLedger().learned("T", Peak(memory_bytes=9, safe_bytes=9, threads=8))
    again = known.learned("T", Peak(memory_bytes=5, safe_bytes=5, threads=2))
    assert again.peaks["T"] == Peak(memory_bytes=5, safe_bytes=5, threads=2)


DEEDS = st.lists(st.tuples(st.sampled_from(["join", "leave", "die"]), st.integers(0, 30)), max_size=60)


@given(deeds=DEEDS, budget=st.integers(1, 20))
def test_never_more_than_the_budget_unless_alone_and_never_out_of_order(
    deeds: list[tuple[str, int]], budget: int
) -> None:
    now, names = MemoryLedger(), list[str]()
    for deed, number in deeds:
        if deed == "join":
            names.append(f"{len(names)}")
            now = now.joined(Reservation(name=names[-1], holder=names[-1], memory_bytes=number))
        elif names:
            gone = names[number % len(names)]
            now = now.left(gone) if deed == "leave" else now.of_the_living(partial(operator.ne, gone))
        for name in reversed([entry.name for entry in now.reservations]):
            now = now.admitted(name, budget)
        for name in [entry.name for entry in now.reservations]:
            now = now.admitted(name, budget)
        holding = [entry for entry in now.reservations if entry.is_admitted]
        assert now.reserved_bytes <= budget or sum(entry.memory_bytes > 0 for entry in holding) == 1
        assert list(now.reservations) == sorted(now.reservations, key=lambda one: not one.is_admitted)
        waiting = now.reservations[len(holding) :]
        assert not waiting or now.reserved_bytes + waiting[0].memory_bytes > budget
        assert holding or not waiting
