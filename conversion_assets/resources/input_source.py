"""Where new products are noticed."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import dagster as dg

UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart")


@dataclass(frozen=True)
class Arrival:
    """Something new.

    Attributes:
        name: what it is called where it was found.
        source: path or URL that can be ordered.
        version: changes when the content changes.
    """

    name: str
    source: str
    version: str


class InputSource(dg.ConfigurableResource, ABC):  # type: ignore[type-arg] # the resource provides itself
    """A place in which products appear."""

    @abstractmethod
    def arrivals(self) -> tuple[Arrival, ...]:
        """List what is there, complete and ready to be taken, oldest first."""


class InboxFolder(InputSource):
    """A folder into which people and programs drop products: folders, archives or STAC documents.

    A product counts as complete when nothing of it has changed for a while. Names that begin with a
    dot or end like unfinished downloads are passed over.

    Attributes:
        folder: the inbox; made when missing.
        stable_seconds: for how long nothing must have changed.
    """

    folder: str
    stable_seconds: float

    def arrivals(self) -> tuple[Arrival, ...]:
        """See ``InputSource.arrivals``."""
        inbox = Path(self.folder)
        inbox.mkdir(parents=True, exist_ok=True)
        newest = time.time() - self.stable_seconds
        states = [(path, _state(path)) for path in sorted(inbox.iterdir()) if _is_finished_name(path.name)]
        stable = [(state.changed, path, state) for path, state in states if state and state.changed <= newest]
        return tuple(
            Arrival(path.name, str(path), state.version) for _, path, state in sorted(stable, key=_by_age)
        )


@dataclass(frozen=True)
class _State:
    changed: float
    version: str


def _by_age(entry: tuple[float, Path, _State]) -> tuple[float, str]:
    return entry[0], entry[1].name


def _is_finished_name(name: str) -> bool:
    return not name.startswith(".") and not name.lower().endswith(UNFINISHED)


def _state(path: Path) -> _State | None:
    """Tell when a file or folder changed last, and its version; None where it cannot be looked at.

    It may just be moved away, or be a link to itself or to where this user may not go.
    The inode's change time counts, which no program can set: copying tools set modification times of old,
    and clocks elsewhere those of tomorrow.
    """
    digest, changed = sha256(), 0.0
    try:
        for name, status in _statuses(path):
            digest.update(
                f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape")
            )
            changed = max(changed, status.st_ctime)
    except OSError:
        return None
    return _State(changed, digest.hexdigest()[:16])


def _statuses(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    yield "", path.stat()
    if path.is_dir():
        for child in sorted(path.rglob("*")):
            yield child.relative_to(path).as_posix(), child.lstat()
