"""Up to where a source was looked through whose products carry times: the time, and what lies around it.

A source gives what is new in the order of its times, oldest first. The cursor is the time of the last one
that was taken, and the marks of those within an overlap before it: a later look begins there again, so that
a product which becomes visible late is found, and the marks tell what was taken already.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from pydantic import BaseModel, ConfigDict, ValidationError

CURSOR_VERSION = 1
MOST_MARKS = 10_000
BEGINNING = datetime.min.replace(tzinfo=UTC)


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    source: str
    until: datetime
    floor: datetime
    newest: datetime
    marks: dict[datetime, tuple[str, ...]]


@dataclass
class Position:
    """Up to where a source was looked through.

    Attributes:
        source: which source the position is in: that of another one is worth nothing.
        until: time of the last product that was taken or passed over.
        floor: what is older is not looked for any more, nor remembered.
        newest: time of the newest product that the source was seen to have.
        marks: of what was taken, by its time.
    """

    source: str
    until: datetime = BEGINNING
    floor: datetime = BEGINNING
    newest: datetime = BEGINNING
    marks: dict[datetime, set[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None, source: str, start: datetime = BEGINNING) -> Position:
        """Read a cursor; where there is none, or that of another source or version, begin.

        Args:
            text: what ``text`` gave.
            source: see ``Position.source``.
            start: where to begin.
        """
        try:
            kept = _Kept.model_validate_json(text or "")
        except ValidationError:
            kept = None
        if kept is None or kept.version != CURSOR_VERSION or kept.source != source:
            return cls(source, until=start, floor=start)
        marks = {moment: set(marks) for moment, marks in kept.marks.items()}
        return cls(source, kept.until, kept.floor, kept.newest, marks)

    def since(self, overlap: timedelta) -> datetime:
        """Tell where the next look begins, inclusive.

        What becomes visible late is at most by the overlap older than the newest product. As long as much
        newer ones are known to wait, nothing can appear before ``until``, and looking back is needless.
        """
        if self.newest - self.until > overlap:
            return max(self.until, self.floor)
        return max(_before(self.until, overlap), self.floor)

    def knows(self, moment: datetime, mark: str) -> bool:
        """Tell whether a product was taken already."""
        return mark in self.marks.get(moment, ())

    def take(self, moment: datetime, mark: str, now: datetime) -> None:
        """Take note of a product; a time in the future does not move the position beyond the present."""
        self.pass_over(moment, now)
        self.marks.setdefault(moment, set()).add(mark)

    def pass_over(self, moment: datetime, now: datetime) -> None:
        """Move on beyond a product that need not be remembered."""
        self.until = max(self.until, min(moment, now))

    def without(self, products: Iterable[tuple[datetime, str]]) -> Position:
        """Give the position when some products could not be taken, so that they are found again."""
        marks = {moment: set(there) for moment, there in self.marks.items()}
        until = self.until
        for moment, mark in products:
            marks.get(moment, set()).discard(mark)
            until = min(until, moment)
        return Position(self.source, until, self.floor, self.newest, marks)

    def text(self, overlap: timedelta) -> str:
        """Write the cursor; it holds so many marks at most, and those at one time together."""
        oldest = max(_before(self.until, overlap), self.floor)
        marks: dict[datetime, tuple[str, ...]] = {}
        # What is older is forgotten, and is not to be found anew when the position goes back.
        count, floor = 0, oldest
        for moment in sorted(self.marks, reverse=True):
            if moment < oldest or not self.marks[moment]:
                continue
            if count and count + len(self.marks[moment]) > MOST_MARKS and moment < self.until:
                floor = min(marks)
                break
            marks[moment] = tuple(sorted(self.marks[moment]))
            count += len(marks[moment])
        return _Kept(
            version=CURSOR_VERSION,
            source=self.source,
            until=self.until,
            floor=min(floor, self.until),
            newest=self.newest,
            marks=marks,
        ).model_dump_json()


def mark_of(*parts: str) -> str:
    """Give a short mark of what names a product and its version."""
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _before(moment: datetime, by: timedelta) -> datetime:
    return moment - by if moment - BEGINNING > by else BEGINNING
