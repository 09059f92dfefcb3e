"""The faults of a soak, done to the platform and to its source."""

from __future__ import annotations

import contextlib
import random
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import httpx
import psutil

from benchmarks.soak.memory import CODE_SERVER
from benchmarks.soak.plan import Fault, FaultKind
from benchmarks.soak.platform import Platform
from benchmarks.soak.source import TROUBLES, Source
from conversion_assets.run_marks import lives, process_of
from conversion_assets_tests.end_to_end.command import ENGINE_MODULE
from conversion_assets_tests.end_to_end.launching import terminate

PATIENCE_SECONDS = 150.0
"""For so long a fault waits for a victim."""
READ_ONLY = stat.S_IRUSR | stat.S_IXUSR
STARTED = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])


@dataclass
class Striker:
    """Does what is planned when its time has come.

    Attributes:
        platform: that suffers.
        instance: knows its runs.
        source: that it watches.
        staging: its folder of staged copies.
        draw: chooses among victims.
        tell: receives a sentence on each fault.
        faults: what is to come yet, in the order of time.
        hit: how many faults were done, by kind.
        canceled: ids of the runs that were cancelled.
    """

    platform: Platform
    instance: dg.DagsterInstance
    source: Source
    staging: Path
    draw: random.Random
    tell: Callable[[str], None]
    faults: Sequence[Fault]
    hit: Counter[FaultKind] = field(default_factory=Counter)
    canceled: list[str] = field(default_factory=list)
    _undo: list[tuple[float, str, Callable[[], None]]] = field(default_factory=list)

    def look(self, now: float) -> None:
        """Do what is due, and end what has lasted long enough.

        Args:
            now: seconds since the beginning.
        """
        for entry in [entry for entry in self._undo if entry[0] <= now]:
            self._undone(entry)
        waiting = []
        for fault in self.faults:
            if fault.at > now:
                waiting.append(fault)
            elif said := self._strike(fault, now):
                self.hit[fault.kind] += 1
                self.tell(f"{fault.kind}: {said}")
            elif now < fault.at + PATIENCE_SECONDS:
                waiting.append(fault)
            else:
                self.tell(f"{fault.kind}: nothing was there")
        self.faults = waiting

    def end(self) -> None:
        """End everything that lasts."""
        for entry in list(self._undo):
            self._undone(entry)

    def _undone(self, entry: tuple[float, str, Callable[[], None]]) -> None:
        self._undo.remove(entry)
        _, said, undo = entry
        undo()
        self.tell(f"over: {said}")

    def _strike(self, fault: Fault, now: float) -> str | None:
        """Do it; give what was hit, None where there was nothing to hit."""
        match fault.kind:
            case FaultKind.RUN:
                return _killed([process for _, process in self._runs()], self.draw)
            case FaultKind.CONVERTER:
                return _killed([engine for _, run in self._runs() for engine in _engines(run)], self.draw)
            case FaultKind.CANCEL:
                return self._cancel()
            case FaultKind.CODE_SERVER | FaultKind.DAEMON:
                return _killed(self._servers(fault.kind), self.draw)
            case FaultKind.CLOSED:
                return self._close_staging(fault, now)
            case _:
                return self._trouble_source(fault, now)

    def _servers(self, kind: FaultKind) -> list[psutil.Process]:
        self.platform.note_processes()
        wanted = CODE_SERVER if kind is FaultKind.CODE_SERVER else "dagster-daemon"
        return [process for name, process in self.platform.servers() if name.startswith(wanted)]

    def _runs(self) -> list[tuple[str, psutil.Process]]:
        return list(_at_work(self.instance.get_runs(STARTED)))

    def _cancel(self) -> str | None:
        runs, url = self._runs(), self.platform.url
        if not runs or url is None:
            return None
        run_id, _ = self.draw.choice(runs)
        try:
            terminate(url, run_id)
        except (httpx.HTTPError, AssertionError) as error:  # it is just being started again
            self.tell(f"the web interface cannot cancel just now: {type(error).__name__}")
            return None
        self.canceled.append(run_id)
        return run_id

    def _close_staging(self, fault: Fault, now: float) -> str | None:
        mode = stat.S_IMODE(self.staging.stat().st_mode)
        if mode == READ_ONLY:
            return None
        self.staging.chmod(READ_ONLY)
        self._undo.append((now + fault.seconds, fault.kind, lambda: self.staging.chmod(mode)))
        return f"for {fault.seconds:.0f} s"

    def _trouble_source(self, fault: Fault, now: float) -> str:
        trouble = self.source.add(TROUBLES[fault.kind])
        self._undo.append((now + fault.seconds, fault.kind, lambda: self.source.troubles.remove(trouble)))
        return f"for {fault.seconds:.0f} s"


def _at_work(runs: Sequence[dg.DagsterRun]) -> Iterator[tuple[str, psutil.Process]]:
    for run in runs:
        mark = process_of(run)
        if mark is not None and lives(mark):
            with contextlib.suppress(psutil.NoSuchProcess):
                yield run.run_id, psutil.Process(int(mark.rsplit(":", 2)[1]))


def _engines(run: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return [child for child in run.children(recursive=True) if ENGINE_MODULE in child.cmdline()]
    return []


def _killed(victims: Sequence[psutil.Process], draw: random.Random) -> str | None:
    """Kill one process, and nothing that it has started."""
    if not victims:
        return None
    victim = draw.choice(victims)
    try:
        victim.kill()
    except psutil.NoSuchProcess:
        return None
    return f"process {victim.pid}"
