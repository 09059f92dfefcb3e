"""Folders and documents that readers never see half-done: exchange and replacement on a local disk."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

AT_FDCWD = -100
RENAME_EXCHANGE = 2


def put_in_place(new: Path, place: Path, aside: Path) -> None:
    """Let ``new`` stand at ``place``; what stood there before goes to ``aside``.

    Where the kernel and file system can, readers of ``place`` find the old or the new folder at every
    instant (Linux ``renameat2`` with ``RENAME_EXCHANGE``, man page renameat2(2)).
    """
    if not place.exists():
        new.rename(place)
    elif _exchange(new, place):
        new.rename(aside)
    else:
        place.rename(aside)
        new.rename(place)


def _exchange(one: Path, other: Path) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    paths = os.fsencode(one), os.fsencode(other)
    return bool(libc.renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], RENAME_EXCHANGE) == 0)


def write_whole(path: Path, content: bytes) -> None:
    """Write a document so that readers find the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
