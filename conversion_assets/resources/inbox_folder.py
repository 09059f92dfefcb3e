"""A folder on this machine as a source of products."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from conversion_assets.resources.input_source import Arrival, InputSource, Look

CURSOR_VERSION = 1
UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart")


class InboxFolder(InputSource):
    """A folder into which people and programs drop products: folders, archives or STAC documents.

    A product counts as complete when nothing of it has changed for a while. Names that begin with a
    dot or end like unfinished downloads are passed over. The cursor holds the versions of what was taken
    and is still there, so that it does not grow for ever.

    Attributes:
        folder: the inbox; made when missing.
        stable_seconds: for how long nothing must have changed.
    """

    folder: str
    stable_seconds: float

    def look(self, cursor: str | None, most: int) -> Look:
        """See ``InputSource.look``; the oldest come first."""
        known = read_cursor(cursor)
        present = self._present()
        new = [arrival for arrival in present if known.get(arrival.name) != arrival.version][:most]

        def cursor_without(left: Collection[Arrival]) -> str:
            there = {arrival.name for arrival in present}
            versions = {name: version for name, version in known.items() if name in there}
            versions |= {arrival.name: arrival.version for arrival in new if arrival not in left}
            return json.dumps({"version": CURSOR_VERSION, "taken": versions}, sort_keys=True)

        return Look(
            cursor_without,
            arrivals=tuple(new),
            summary=f"Nothing new in the {Path(self.folder).name} ({len(present)} known).",
        )

    def _present(self) -> list[Arrival]:
        inbox = Path(self.folder)
        inbox.mkdir(parents=True, exist_ok=True)
        newest = time.time() - self.stable_seconds
        states = [(path, _state(path)) for path in sorted(inbox.iterdir()) if is_finished_name(path.name)]
        stable = [(state.changed, path, state) for path, state in states if state and state.changed <= newest]
        return [
            Arrival(path.name, str(path), state.version, datetime.fromtimestamp(changed, UTC))
            for changed, path, state in sorted(stable, key=_by_age)
        ]


def read_cursor(text: str | None) -> dict[str, str]:
    """Read the versions of what was taken, by name."""
    document = json.loads(text) if text else {}
    taken: dict[str, str] = document.get("taken", {}) if document.get("version") == CURSOR_VERSION else {}
    return taken


def is_finished_name(name: str) -> bool:
    """Tell whether a file name is that of something complete."""
    return not name.startswith(".") and not name.lower().endswith(UNFINISHED)


@dataclass(frozen=True)
class _State:
    changed: float
    version: str


def _by_age(entry: tuple[float, Path, _State]) -> tuple[float, str]:
    return entry[0], entry[1].name


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
