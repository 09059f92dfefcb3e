"""A folder on this machine as a source of products."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from conversion_assets.errors import PermanentError, TransientError
from conversion_assets.resources.input_source import Arrival, InputSource, Look, Skipped
from conversion_assets.resources.item_filter import DOCUMENT_SUFFIXES, SPARE, WANTED, ItemFilter, Verdict
from conversion_assets.stac.documents import MAX_DOCUMENT_BYTES

CURSOR_VERSION = 1
UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart")


class InboxFolder(InputSource):
    """A folder into which people and programs drop products: folders, archives or STAC documents.

    A product counts as complete when nothing of it has changed for a while. Names that begin with a
    dot or end like unfinished downloads are passed over. The cursor holds the versions of what was looked at
    and is still there, so that it does not grow for ever. Nothing is forgotten while nothing at all is there:
    the place of a disk that is not mounted is an empty folder.

    Attributes:
        folder: the inbox.
        stable_seconds: for how long nothing must have changed.
        is_made: it is made when missing; else it is out of reach then.
        wanted: which products the watch is about; of archives and folders, as far as names tell.
    """

    folder: str
    stable_seconds: float
    is_made: bool = False
    wanted: ItemFilter = ItemFilter()

    def look(self, cursor: str | None, most: int) -> Look:
        """See ``InputSource.look``; the oldest come first."""
        known, names = read_cursor(cursor), self._names()
        kept = {name: known[name] for name in names if name in known} if names else known
        new = [arrival for arrival in self._present(names) if known.get(arrival.name) != arrival.version]
        sweep = _Sweep(self.wanted, datetime.now(UTC), most)
        sweep.through(new[: most * SPARE])

        def cursor_without(left: Collection[Arrival]) -> str:
            missed = {arrival.name for arrival in left}
            versions = {name: version for name, version in sweep.versions.items() if name not in missed}
            return json.dumps({"version": CURSOR_VERSION, "taken": kept | versions}, sort_keys=True)

        there = Path(self.folder).name + ("" if names or not known else ", which is empty now")
        return Look(
            cursor_without,
            tuple(sweep.arrivals),
            tuple(sweep.skipped),
            summary=f"Nothing new in the {there} ({len(kept | sweep.versions)} known).",
        )

    def _names(self) -> list[str]:
        folder = Path(self.folder)
        try:
            if self.is_made:
                folder.mkdir(parents=True, exist_ok=True)
            return sorted(path.name for path in folder.iterdir() if is_finished_name(path.name))
        except (PermissionError, NotADirectoryError) as error:
            raise PermanentError(
                folder,
                f"the folder cannot be looked into ({error.strerror})",
                "Watch a folder that this user may read.",
            ) from error
        except OSError as error:
            raise TransientError(
                folder,
                f"the folder cannot be looked into ({error.strerror})",
                "Mount or make it, or name another one.",
            ) from error

    def _present(self, names: Iterable[str]) -> list[Arrival]:
        newest = time.time() - self.stable_seconds
        paths = (Path(self.folder) / name for name in names)
        states = [(path, _state(path)) for path in paths]
        stable = [(state.changed, path, state) for path, state in states if state and state.changed <= newest]
        return [
            Arrival(path.name, str(path), state.version, datetime.fromtimestamp(changed, UTC))
            for changed, path, state in sorted(stable, key=_by_age)
        ]


@dataclass
class _Sweep:
    """One pass over what is new: what of it is wanted, and the versions of all that was looked at."""

    wanted: ItemFilter
    now: datetime
    most: int
    arrivals: list[Arrival] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def through(self, new: Iterable[Arrival]) -> None:
        """Take what is wanted, up to so many with what is skipped; the rest is left for the next look."""
        for found in new:
            if len(self.arrivals) + len(self.skipped) == self.most:
                return
            verdict, arrival = self._judge(found)
            self.versions[arrival.name] = arrival.version
            if verdict.wanted:
                self.arrivals.append(arrival)
            elif verdict.reason:
                self.skipped.append(Skipped(arrival.name, arrival.source, arrival.version, verdict.reason))

    def _judge(self, arrival: Arrival) -> tuple[Verdict, Arrival]:
        path = Path(arrival.source).absolute()
        try:
            if not (path.suffix.lower() in DOCUMENT_SUFFIXES and path.is_file()):
                return self.wanted.of_name(arrival.name, self.now), arrival
            with path.open("rb") as file:
                text = file.read(MAX_DOCUMENT_BYTES + 1)
        except OSError:
            return WANTED, arrival  # orders tell why it cannot be read
        return self.wanted.of_document(text, replace(arrival, source=path.as_uri()), self.now)


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
