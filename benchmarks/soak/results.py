"""What a soak has shown, as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from benchmarks.soak.memory import Growth
from benchmarks.soak.plan import SECONDS_PER_MINUTE, Again, FaultKind, Flaw, Plan

SHORTEST_JUDGED_SECONDS = 900.0
"""Servers fill caches for some minutes after they were started."""


@dataclass(frozen=True)
class Results:
    """What happened.

    Attributes:
        asked: the options.
        plan: what was to happen.
        runs: all of the history.
        hit: faults that were done, by kind.
        starts: how often the platform was started.
        done: what the operator did, and to how many orders.
        mended: what upkeep found at the end, by kind.
        growths: of the servers, in the second half.
        most_growth: megabytes an hour that are allowed.
        faults: what is wrong.
        minutes: how long all of it took.
        machine: on which it ran.
    """

    asked: Mapping[str, object]
    plan: Plan
    runs: Sequence[dg.DagsterRun]
    hit: Mapping[FaultKind, int]
    starts: int
    done: Mapping[str, int]
    mended: Mapping[str, int]
    growths: Sequence[Growth]
    most_growth: float
    faults: Sequence[str]
    minutes: float
    machine: Mapping[str, object]

    @property
    def growing(self) -> list[Growth]:
        """The servers that were seen long enough and have grown too much."""
        return [
            one
            for one in self.growths
            if one.seconds >= SHORTEST_JUDGED_SECONDS and one.an_hour > self.most_growth
        ]

    @property
    def is_good(self) -> bool:
        """Whether all is as it should be."""
        return not self.faults and not self.growing


def table(results: Results) -> str:
    """Write it all down."""
    return "\n".join(
        [
            ", ".join(f"{name} {value}" for name, value in results.asked.items()),
            ", ".join(f"{name} {value}" for name, value in results.machine.items()),
            "",
            *_lines(("", ""), _facts(results)),
            "",
            *_lines(("fault", "planned", "done"), _strikes(results)),
            "",
            *_lines(
                ("server, second half", "min seen", "processes", "MB largest", "first", "last", "an hour"),
                _memory(results.growths),
            ),
            "",
            *_verdict(results),
        ]
    )


def _facts(results: Results) -> Iterator[tuple[object, ...]]:
    plan = results.plan
    flaws = Counter[str](product.flaw for product in plan.products)
    again = Counter(product.again for product in plan.products)
    yield "products", len(plan.products)
    yield "sound, to be published", flaws.pop(Flaw.NONE, 0)
    yield "ids refused by the sensor", flaws.pop(Flaw.HOSTILE_ID, 0)
    yield "flawed, to be quarantined", _counted(flaws)
    yield from ((f"came {how}", again[how]) for how in Again if how is not Again.NEVER)
    yield "runs", _counted(Counter(run.status.value.lower() for run in results.runs))
    yield "starts of the platform", results.starts
    yield "done by the operator", _counted(results.done)
    yield "mended by reconcile", _counted(results.mended) or "nothing to mend"
    yield "minutes in all", f"{results.minutes:.0f}"


def _strikes(results: Results) -> Iterator[tuple[object, ...]]:
    planned = Counter(fault.kind for fault in results.plan.faults)
    yield from ((kind, count, results.hit.get(kind, 0)) for kind, count in planned.items())


def _memory(growths: Sequence[Growth]) -> Iterator[tuple[object, ...]]:
    for one in growths:
        sizes = (f"{size:.0f}" for size in (one.largest, one.first, one.last))
        yield (
            one.server,
            f"{one.seconds / SECONDS_PER_MINUTE:.0f}",
            one.processes,
            *sizes,
            f"{one.an_hour:+.1f}",
        )


def _verdict(results: Results) -> Iterator[str]:
    yield from (f"- {fault}" for fault in results.faults)
    yield from (f"- {one.server} grows by {one.an_hour:.1f} MB an hour" for one in results.growing)
    if results.is_good:
        yield "Every product is published once or in quarantine; nothing is left behind."
    if not any(one.seconds >= SHORTEST_JUDGED_SECONDS for one in results.growths):
        yield f"Memory is judged from {SHORTEST_JUDGED_SECONDS / SECONDS_PER_MINUTE:.0f} minutes on."
    else:
        yield f"Memory may grow by {results.most_growth:.0f} MB an hour."


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def _lines(head: Sequence[str], rows: Iterator[tuple[object, ...]]) -> Iterator[str]:
    yield _line(head)
    yield "|---" * len(head) + "|"
    yield from map(_line, rows)


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
