"""Where new products are noticed: what is there, what of it is new, and up to where was looked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

import dagster as dg


@dataclass(frozen=True)
class Arrival:
    """Something new.

    Attributes:
        name: what it is called where it was found.
        source: path or URL that can be ordered.
        version: changes when the content changes.
        published: when the source published it, where that is told.
        document: the STAC document behind ``source``, where it was read already; not yet validated.
    """

    name: str
    source: str
    version: str
    published: datetime | None = None
    document: bytes | None = None


@dataclass(frozen=True)
class Skipped:
    """Something new that is not to be ordered.

    Attributes:
        name: what it is called where it was found.
        source: path or URL.
        version: changes when the content changes.
        reason: why not.
    """

    name: str
    source: str
    version: str
    reason: str


@dataclass(frozen=True)
class Look:
    """What one look at a source found.

    Attributes:
        cursor_without: gives the cursor with which the next look begins, when some arrivals could not be
            taken: they are found again.
        arrivals: what is new and may be ordered, in the order in which it is to be taken.
        skipped: what is new and is not to be ordered.
        remarks: what an operator should know about the source.
        summary: what was seen, for the reader of a tick that found nothing.
    """

    cursor_without: Callable[[Collection[Arrival]], str]
    arrivals: tuple[Arrival, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    remarks: tuple[str, ...] = ()
    summary: str = "Nothing new."

    @property
    def cursor(self) -> str:
        """The cursor when all arrivals were taken."""
        return self.cursor_without(())


class InputSource(dg.ConfigurableResource, ABC):  # type: ignore[type-arg] # the resource provides itself
    """A place in which products appear.

    A look changes nothing, neither there nor here: what was taken stands in the cursor alone, which is the
    source's own and means nothing to others.
    """

    @abstractmethod
    def look(self, cursor: str | None, most: int) -> Look:
        """Find what is new, complete and ready to be taken.

        Args:
            cursor: of the look before, or None to begin.
            most: how many arrivals and skipped ones together are given; the rest is found by the next look.

        Raises:
            TransientError: the source cannot be reached just now, or is busy.
            PermanentError: it refuses, or answers what makes no sense.
        """
