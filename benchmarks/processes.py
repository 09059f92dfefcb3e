"""What the processes of a benchmark use, looked at from outside."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil

MEGABYTE = 1_000_000
SECONDS_BETWEEN_SAMPLES = 2.0
RUNS = "runs"


@dataclass
class Memory:
    """Megabytes of processes, sampled while the block of ``watching`` runs, by what the processes are.

    What several processes share is divided among them (proportional set size).
    """

    samples: dict[str, list[float]] = field(default_factory=dict)

    def summary(self) -> dict[str, dict[str, float]]:
        """Give the largest sample of each, and by how much the last quarter exceeds the second one."""
        return {kind: _summary(numbers) for kind, numbers in self.samples.items()}


def named(name: str) -> psutil.Process:
    """Find a process that this one started, by a part of its first arguments."""
    mine = psutil.Process().children(recursive=True)
    return next(process for process in mine if name in " ".join(process.cmdline()[:2]))


def processor_seconds(server: psutil.Process) -> dict[str, float]:
    """Give the processor seconds of a server and of what it started, by what it is.

    Processes that have ended count as runs: nearly all of them were.
    """
    used: dict[str, float] = {}
    for process in [server, *server.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times, kind = process.cpu_times(), _kind(process, server)
            used[kind] = used.get(kind, 0.0) + times.user + times.system
            used[RUNS] = used.get(RUNS, 0.0) + times.children_user + times.children_system
    return used


@contextlib.contextmanager
def watching(server: psutil.Process) -> Iterator[Memory]:
    """Sample the memory of a daemon and of all that it starts."""
    memory, done = Memory(), threading.Event()
    thread = threading.Thread(target=_sample, args=(server, memory, done), daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        done.set()
        thread.join()


def _sample(server: psutil.Process, memory: Memory, done: threading.Event) -> None:
    while not done.wait(SECONDS_BETWEEN_SAMPLES):
        megabytes = {"daemon": 0.0, "code server": 0.0, RUNS: 0.0, "all": 0.0}
        for process in [server, *server.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                size = process.memory_full_info().pss / MEGABYTE
                megabytes[_kind(process, server)] += size
                megabytes["all"] += size
        for kind, number in megabytes.items():
            memory.samples.setdefault(kind, []).append(round(number, 1))


def _summary(numbers: list[float]) -> dict[str, float]:
    quarter = max(len(numbers) // 4, 1)
    early, late = numbers[quarter : 2 * quarter] or numbers, numbers[-quarter:]
    return {"max": max(numbers), "drift": round(sum(late) / len(late) - sum(early) / len(early), 1)}


def _kind(process: psutil.Process, server: psutil.Process) -> str:
    if process == server:
        return "daemon"
    return "code server" if "grpc" in process.cmdline() else RUNS
