"""Where orders are kept that failed for good: with their class, the reason, the way out, and evidence."""

from __future__ import annotations

import hashlib
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

import dagster as dg
from pydantic import BaseModel, ConfigDict, ValidationError

from conversion_assets.errors import ErrorClass, PermanentError
from conversion_assets.orders import Order, valid_key
from conversion_assets.resources.file_exchange import write_whole
from conversion_assets.resources.staging import UNZIPPED

LONGEST_TEXT = 4000
EVIDENCE_COPY, MOVED_FROM = "copy", "moved from"

Evidence = dict[str, str | int]


class QuarantineStatus(StrEnum):
    """What was done about a quarantined order."""

    QUARANTINED = "quarantined"
    REPLAYED = "replayed"


class QuarantinedOrder(BaseModel):
    """One order that failed for good.

    Attributes:
        key: partition key.
        order: what was asked for.
        error_class: ``transient`` (all retries were used up), ``permanent`` or ``poisoned``.
        subject: what the error is about.
        rule: what was expected and what was found instead.
        way_out: what a person can do about it.
        step: the asset that failed; empty where it was outside all of them.
        run_id: the run that failed last.
        since: when it failed first.
        when: when it failed last.
        attempts: how many runs failed.
        product_type: EOPF product type, where its name tells.
        evidence: of a poisoned input: ``copy``, where it lies, and ``moved from``, where it lay when it was
            refused; with ``files``, ``bytes`` and, of an archive, ``sha256``.
        status: ``quarantined``, or ``replayed`` as long as a replay has not ended.
        replay_asked: when a replay through the run queue was asked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    order: Order
    error_class: ErrorClass
    subject: str
    rule: str
    way_out: str
    step: str
    run_id: str
    since: datetime
    when: datetime
    attempts: int = 1
    product_type: str | None = None
    evidence: Evidence = {}
    status: QuarantineStatus = QuarantineStatus.QUARANTINED
    replay_asked: datetime | None = None

    @property
    def reason(self) -> str:
        """What a person is told."""
        return f"{self.subject}: {self.rule}. {self.way_out}"

    @property
    def evidence_now(self) -> str | None:
        """Where the evidence is now: the reason names where it was; None where there was none."""
        if not self.evidence:
            return None
        copy, former = self.evidence.get(EVIDENCE_COPY), self.evidence.get(MOVED_FROM)
        moved = f", moved there from {former}" if former else ""
        return f"now in {copy}{moved}" if copy else "no longer kept"


class Quarantine(dg.ConfigurableResource, ABC):  # type: ignore[type-arg] # the resource provides itself
    """Keeps one record of each order that failed for good, until it is published or dropped.

    Attributes:
        evidence_days: for how long the copy of a poisoned input is kept.
    """

    evidence_days: float = 7

    @abstractmethod
    def find(self, key: str) -> QuarantinedOrder | None:
        """Give the record of an order, None where it is not in quarantine."""

    @abstractmethod
    def records(self) -> list[QuarantinedOrder]:
        """Give all records, those that failed last first."""

    @abstractmethod
    def write(self, record: QuarantinedOrder) -> None:
        """Keep a record in place of the former one of the same order."""

    @abstractmethod
    def forget(self, key: str) -> None:
        """Remove the record and the evidence of an order."""

    @abstractmethod
    def take_evidence(self, key: str, staged: Path) -> Evidence:
        """Take over the staged copy of a poisoned input, in place of any former one of the same order.

        Args:
            key: of the order.
            staged: the order's staging folder, which is gone afterwards.

        Returns:
            What stands in the record; empty where nothing was staged.
        """

    @abstractmethod
    def discard_evidence(self, key: str) -> None:
        """Remove the copy of a poisoned input, and keep the record."""

    @abstractmethod
    def evidence_keys(self) -> Iterator[str]:
        """Give the keys of the orders of which there is a copy, whether or not there is a record."""

    def keep(self, record: QuarantinedOrder) -> QuarantinedOrder:
        """Take a failure in: an order that failed before keeps the time of its first failure and evidence.

        A failure that was taken in before is not counted twice.

        Returns:
            The record as it is kept.
        """
        former = self.find(record.key)
        if former is not None and former.run_id == record.run_id:
            return former
        if former is not None:
            record = record.model_copy(
                update={
                    "since": former.since,
                    "attempts": former.attempts + 1,
                    "evidence": record.evidence or former.evidence,
                }
            )
        self.write(record)
        return record

    def resolve(self, key: str) -> bool:
        """Forget an order that was published; tell whether it was in quarantine."""
        is_known = self.find(key) is not None
        self.forget(key)
        return is_known

    def evidence_expired(self, now: datetime) -> list[str]:
        """Give the keys of the orders whose evidence has been kept long enough, or without a record."""
        oldest = now - timedelta(days=self.evidence_days)
        expired = []
        for key in self.evidence_keys():
            record = self.find(key)
            if record is None or record.when < oldest:
                expired.append(key)
        return expired


class QuarantineFolder(Quarantine):
    """Records as ``orders/<key>.json``, copies of poisoned input as ``evidence/<key>``, below ``root``.

    Attributes:
        root: local folder, the same for all runs, and on the file system of the staged copies.
    """

    root: str

    def find(self, key: str) -> QuarantinedOrder | None:
        """See ``Quarantine.find``.

        Raises:
            PermanentError: the record cannot be read.
        """
        path = self._record(key)
        try:
            return QuarantinedOrder.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise PermanentError(
                path, "the record was written by another version", "Remove the file, then order again."
            ) from error

    def records(self) -> list[QuarantinedOrder]:
        """See ``Quarantine.records``."""
        paths = Path(self.root, "orders").glob("[!.]*.json")
        found = (self.find(path.name.removesuffix(".json")) for path in paths)
        return sorted(filter(None, found), key=lambda record: record.when, reverse=True)

    def write(self, record: QuarantinedOrder) -> None:
        """See ``Quarantine.write``."""
        write_whole(self._record(record.key), record.model_dump_json(indent=1).encode())

    def forget(self, key: str) -> None:
        """See ``Quarantine.forget``."""
        shutil.rmtree(self._evidence(key), ignore_errors=True)
        self._record(key).unlink(missing_ok=True)

    def take_evidence(self, key: str, staged: Path) -> Evidence:
        """See ``Quarantine.take_evidence``."""
        if not staged.is_dir():
            return {}
        _leave_one_copy(staged)
        kept = self._evidence(key)
        shutil.rmtree(kept, ignore_errors=True)
        if not any(staged.iterdir()):
            staged.rmdir()
            return {}
        kept.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(kept)
        return {**_described(kept), MOVED_FROM: str(staged)}

    def discard_evidence(self, key: str) -> None:
        """See ``Quarantine.discard_evidence``."""
        record = self.find(key)
        if record is not None and record.evidence:
            facts = {name: fact for name, fact in record.evidence.items() if name != EVIDENCE_COPY}
            self.write(record.model_copy(update={"evidence": facts}))
        shutil.rmtree(self._evidence(key), ignore_errors=True)

    def evidence_keys(self) -> Iterator[str]:
        """See ``Quarantine.evidence_keys``."""
        for folder in Path(self.root, "evidence").glob("*"):
            yield folder.name

    def _record(self, key: str) -> Path:
        return Path(self.root, "orders", f"{valid_key(key)}.json")

    def _evidence(self, key: str) -> Path:
        return Path(self.root, "evidence", valid_key(key))


def _leave_one_copy(staged: Path) -> None:
    """Remove what is unfinished, and what was unpacked where the archive is still there."""
    finished = [path for path in staged.iterdir() if not path.name.startswith(".")]
    came_as = [path for path in finished if path.name != UNZIPPED]
    for path in staged.iterdir():
        if path not in (came_as or finished):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _described(kept: Path) -> Evidence:
    files = [path for path in kept.rglob("*") if path.is_file()]
    facts: Evidence = {
        EVIDENCE_COPY: str(kept),
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
    }
    if len(files) == 1:
        with files[0].open("rb") as file:
            facts["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return facts


def bounded(text: str) -> str:
    """Cut a text that is too long to be kept: a checksum of every member, a page of a server."""
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
