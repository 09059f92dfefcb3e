"""The memory of the servers over time, and whether it grows.

Dagster's daemon replaces its code server every minute, and the old one ends when its runs have ended.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import psutil

from benchmarks.soak.plan import SECONDS_PER_HOUR

MEGABYTE = 1_000_000
FEWEST_SAMPLES = 3
LIVED_THROUGH = 0.5
"""Part of the time for which the process of a server that is not replaced is seen at least."""
SERVERS = ("dagster-webserver", "dagster-daemon")
CODE_SERVER = "code server of "
FORK_SERVER = "fork server"


class Sample(NamedTuple):
    """The resident memory of a server at a moment.

    Attributes:
        seconds: since the beginning.
        server: what it is.
        process: which process it is just now: number and time of its start.
        megabytes: resident.
    """

    seconds: float
    server: str
    process: tuple[int, float]
    megabytes: float


class Growth(NamedTuple):
    """How the memory of a server went on.

    Attributes:
        server: what it is.
        seconds: for how long it was seen.
        processes: how many of it there were in that time.
        largest: megabytes of the largest process.
        first: megabytes at the beginning.
        last: megabytes at the end.
        an_hour: megabytes an hour, by least squares.
    """

    server: str
    seconds: float
    processes: int
    largest: float
    first: float
    last: float
    an_hour: float


def servers_below(parent: psutil.Process) -> Iterator[tuple[str, psutil.Process]]:
    """Find the servers that ``conversion-assets ui`` has started, with what they are."""
    for child in parent.children():
        name = next((name for name in SERVERS if name in " ".join(_arguments(child)[:2])), None)
        if name is None:
            continue
        yield name, child
        for below in child.children():
            arguments = _arguments(below)
            if "grpc" in arguments:
                yield CODE_SERVER + name, below
            elif "multiprocessing.forkserver" in " ".join(arguments):
                yield FORK_SERVER, below


def _arguments(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return list(process.cmdline())
    return []


def samples_of(servers: Iterable[tuple[str, psutil.Process]], seconds: float) -> Iterator[Sample]:
    """Look at the servers' memory."""
    for name, process in servers:
        with contextlib.suppress(psutil.Error):
            which = (process.pid, process.create_time())
            yield Sample(seconds, name, which, process.memory_info().rss / MEGABYTE)


def growths(samples: Iterable[Sample], since: float) -> list[Growth]:
    """Tell how the memory of each server went on.

    Where a process lived long enough, it is that of this process; where the server was replaced again and
    again, the largest of each process counts.

    Args:
        samples: in the order of time.
        since: seconds; earlier samples do not count.
    """
    lives: dict[str, dict[tuple[int, float], list[Sample]]] = {}
    for sample in samples:
        if sample.seconds >= since:
            lives.setdefault(sample.server, {}).setdefault(sample.process, []).append(sample)
    found = (_growth(server, list(its.values())) for server, its in sorted(lives.items()))
    return [growth for growth in found if growth is not None]


def _growth(server: str, lives: Sequence[Sequence[Sample]]) -> Growth | None:
    points = _points(lives)
    if len(points) < FEWEST_SAMPLES:
        return None
    megabytes = [point.megabytes for point in points]
    slope = statistics.linear_regression([point.seconds for point in points], megabytes).slope
    return Growth(
        server=server,
        seconds=points[-1].seconds - points[0].seconds,
        processes=len(lives),
        largest=max(sample.megabytes for life in lives for sample in life),
        first=megabytes[0],
        last=megabytes[-1],
        an_hour=slope * SECONDS_PER_HOUR,
    )


def _points(lives: Sequence[Sequence[Sample]]) -> Sequence[Sample]:
    longest = max(lives, key=len)
    whole = max(life[-1].seconds for life in lives) - min(life[0].seconds for life in lives)
    if longest[-1].seconds - longest[0].seconds >= LIVED_THROUGH * whole:
        return longest
    seen_well = (life for life in lives if len(life) >= FEWEST_SAMPLES)
    return [max(life, key=lambda sample: sample.megabytes) for life in seen_well]
