"""The memory of one machine, shared by the conversions of all runs: each waits until it fits.

Reservations stand in a document that all processes of a home share. Each names its process, so that those
of a killed one are void. They are admitted in the order of their arrival: a large conversion is not passed
by small ones for ever. What needs more than there is at all is admitted alone.
"""

from __future__ import annotations

import fcntl
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, ValidationError

from conversion_assets.resources.file_exchange import write_whole
from conversion_assets.run_marks import lives, this_process
from conversion_assets.zarr.memory_needs import expected_memory

LOG = logging.getLogger(__name__)
POLL_SECONDS = 0.5
GIGABYTE = 1e9
MARGIN = 1.1
"""How much more than before a product of about the same size may need."""
MOST_TYPES = 500

Tell = Callable[[str], None]


class Reservation(BaseModel):
    """What one conversion wants of the memory.

    Attributes:
        name: of this reservation alone.
        holder: process that holds it; see ``run_marks.this_process``.
        memory_bytes: how much.
        is_admitted: whether the conversion may go on; it waits otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    holder: str
    memory_bytes: int
    is_admitted: bool = False


class Peak(BaseModel):
    """The most that conversions of a product type have used.

    Attributes:
        memory_bytes: resident bytes.
        safe_bytes: size of the largest of their products.
        threads: threads of each of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_bytes: int
    safe_bytes: int
    threads: int

    def and_also(self, other: Self) -> Self:
        """Give the largest of both; with another number of threads only the later one counts."""
        if other.threads != self.threads:
            return other
        return self.model_copy(
            update={
                "memory_bytes": max(self.memory_bytes, other.memory_bytes),
                "safe_bytes": max(self.safe_bytes, other.safe_bytes),
            }
        )


class MemoryLedger(BaseModel):
    """Who holds and who awaits memory, and what conversions have used.

    Attributes:
        reservations: in the order of their arrival.
        peaks: by EOPF product type.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reservations: tuple[Reservation, ...] = ()
    peaks: dict[str, Peak] = {}

    @property
    def reserved_bytes(self) -> int:
        """What the admitted ones hold together."""
        return sum(entry.memory_bytes for entry in self.reservations if entry.is_admitted)

    def waiting_before(self, name: str) -> int:
        """Count those that came earlier than a reservation and wait, too."""
        names = [entry.name for entry in self.reservations]
        earlier = self.reservations[: names.index(name)] if name in names else self.reservations
        return sum(not entry.is_admitted for entry in earlier)

    def of_the_living(self, is_alive: Callable[[str], bool]) -> Self:
        """Leave out what processes hold that have ended."""
        return self._with(entry for entry in self.reservations if is_alive(entry.holder))

    def joined(self, reservation: Reservation) -> Self:
        """Add a reservation behind all others, unless it is there."""
        known = any(entry.name == reservation.name for entry in self.reservations)
        return self if known else self._with((*self.reservations, reservation))

    def left(self, name: str) -> Self:
        """Take a reservation away."""
        return self._with(entry for entry in self.reservations if entry.name != name)

    def admitted(self, name: str, budget_bytes: int) -> Self:
        """Admit a reservation if nobody waits before it, and if it fits or nobody else holds anything."""
        mine = next(entry for entry in self.reservations if entry.name == name)
        reserved = self.reserved_bytes
        fits = reserved == 0 or reserved + mine.memory_bytes <= budget_bytes
        if mine.is_admitted or self.waiting_before(name) or not fits:
            return self
        now = mine.model_copy(update={"is_admitted": True})
        return self._with(now if entry.name == name else entry for entry in self.reservations)

    def has_admitted(self, name: str) -> bool:
        """Tell whether a reservation is admitted."""
        return any(entry.name == name and entry.is_admitted for entry in self.reservations)

    def learned(self, product_type: str, peak: Peak) -> Self:
        """Remember what a conversion has used."""
        known = self.peaks.get(product_type)
        if known is None and len(self.peaks) >= MOST_TYPES:
            return self
        most = known.and_also(peak) if known else peak
        return self.model_copy(update={"peaks": {**self.peaks, product_type: most}})

    def expected(self, product_type: str, safe_bytes: int, threads: int) -> int:
        """Tell what a conversion will need: as those before, or for a larger product as the table says."""
        known = self.peaks.get(product_type)
        told = expected_memory(product_type, safe_bytes, threads)
        if known is None or known.threads != threads:
            return told
        before = int(known.memory_bytes * MARGIN)
        return before if safe_bytes <= known.safe_bytes * MARGIN else max(before, told)

    def _with(self, reservations: Iterator[Reservation] | tuple[Reservation, ...]) -> Self:
        return self.model_copy(update={"reservations": tuple(reservations)})


@dataclass(frozen=True)
class MemoryBudget:
    """The memory that conversions of this machine may use together.

    Attributes:
        folder: holds one ledger for each machine.
        total_bytes: how much there is.
    """

    folder: Path
    total_bytes: int

    @contextmanager
    def reserved(self, memory_bytes: int, tell: Tell) -> Iterator[None]:
        """Wait for memory, and hold it.

        Args:
            memory_bytes: how much is needed.
            tell: receives a sentence whenever what is awaited changes.
        """
        mine = Reservation(name=uuid4().hex, holder=this_process(), memory_bytes=memory_bytes)
        if memory_bytes > self.total_bytes:
            LOG.warning(
                "the conversion may need %s of memory, and there is %s for conversions: it is to be alone,"
                " and is ended where that is not enough",
                _gigabytes(memory_bytes),
                _gigabytes(self.total_bytes),
            )
        try:
            self._await(mine, tell)
            yield
        finally:
            self._changed(lambda ledger: ledger.left(mine.name))

    def expected(self, product_type: str, safe_bytes: int, threads: int) -> int:
        """See ``MemoryLedger.expected``."""
        return self._read().expected(product_type, safe_bytes, threads)

    def learn(self, product_type: str, peak: Peak) -> None:
        """See ``MemoryLedger.learned``."""
        self._changed(lambda ledger: ledger.learned(product_type, peak))

    def _await(self, mine: Reservation, tell: Tell) -> None:
        told = ""
        while True:
            ledger = self._changed(
                lambda ledger: ledger.of_the_living(lives).joined(mine).admitted(mine.name, self.total_bytes)
            )
            if ledger.has_admitted(mine.name):
                return
            if (text := self._waiting_text(ledger, mine)) != told:
                tell(text)
                told = text
            time.sleep(POLL_SECONDS)

    def _waiting_text(self, ledger: MemoryLedger, mine: Reservation) -> str:
        free = max(self.total_bytes - ledger.reserved_bytes, 0)
        before = ledger.waiting_before(mine.name)
        return (
            f"waiting for memory: needs {_gigabytes(mine.memory_bytes)}, {_gigabytes(free)} free of"
            f" {_gigabytes(self.total_bytes)}{f', {before} before it' if before else ''}"
        )

    def _changed(self, change: Callable[[MemoryLedger], MemoryLedger]) -> MemoryLedger:
        """Change the ledger while nobody else does; give what it is now."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self._read()
            after = change(before)
            if after != before:
                write_whole(self._path, after.model_dump_json().encode())
            return after

    def _read(self) -> MemoryLedger:
        try:
            return MemoryLedger.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return MemoryLedger()
        except ValidationError:
            LOG.warning("%s cannot be read; it is begun anew", self._path)
            return MemoryLedger()

    @property
    def _path(self) -> Path:
        return self.folder / f"{quote(socket.gethostname(), safe='')}.json"


def _gigabytes(number: int) -> str:
    return f"{number / GIGABYTE:.1f} GB"
