"""Documents that readers never see half-done: replacement on a local disk."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO


def write_whole(path: Path, content: bytes) -> None:
    """Write a document so that readers find the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with _opened_alone(partial) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        partial.replace(path)


@contextmanager
def _opened_alone(partial: Path) -> Iterator[BinaryIO]:
    """Open an unfinished document, empty: a killed writer's is taken over, a living one is awaited."""
    while True:
        with partial.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # While this waited, the former writer may have given the very file its final name.
            if is_at(partial, file):
                file.truncate(0)
                yield file
                return


def is_at(path: Path, file: IO[Any]) -> bool:
    """Tell whether an open file still is what a path leads to."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
