"""Notes of jobs that services work on for us, so that another process of ours can wait for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from conversion_assets.orders import valid_key
from conversion_assets.resources.file_exchange import write_whole

FACTS = ".facts.json"
"""Cannot be a key: keys begin with a letter or digit."""


class JobNote(BaseModel):
    """One job.

    Attributes:
        job_id: the service's id; None as long as the submission has not been answered.
        submitted: when.
        identity: changes with what the job is to do.
        place: where it puts its result, if that was made for it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: str | None
    submitted: datetime
    identity: str
    place: str = ""


class JobNotes:
    """The notes of one service, one document for each order.

    Args:
        folder: of this service alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, key: str) -> JobNote | None:
        """Give the note of an order; None where there is none, or none that can be read."""
        try:
            return JobNote.model_validate_json(self._path(key).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def write(self, key: str, note: JobNote) -> None:
        """Keep a note."""
        write_whole(self._path(key), note.model_dump_json().encode())

    def forget(self, key: str) -> None:
        """Remove the note of an order."""
        self._path(key).unlink(missing_ok=True)

    def all(self) -> Iterator[tuple[str, JobNote]]:
        """Give the notes that can be read, with the keys of their orders."""
        for path in self._folder.glob("[!.]*.json"):
            if note := self.read(path.stem):
                yield path.stem, note

    def job_ids(self) -> set[str]:
        """Give the ids of all jobs that are noted."""
        return {note.job_id for _, note in self.all() if note.job_id}

    def fact(self, name: str) -> str | None:
        """Give what was remembered of the service itself."""
        return self._facts().get(name)

    def remember(self, name: str, value: str) -> None:
        """Remember something of the service itself."""
        facts = self._facts()
        if facts.get(name) != value:
            write_whole(self._folder / FACTS, json.dumps(facts | {name: value}).encode())

    def _facts(self) -> dict[str, str]:
        try:
            found = json.loads((self._folder / FACTS).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}

    def _path(self, key: str) -> Path:
        return self._folder / f"{valid_key(key)}.json"
