"""How much memory this machine may give to conversions: its own, or what its control group is allowed.

Sources: Linux kernel documentation, ``admin-guide/cgroup-v2`` (``memory.max``) and
``admin-guide/cgroup-v1/memory`` (``memory.limit_in_bytes``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import psutil

GIB = 2**30
RESERVE_BYTES = 2 * GIB
SMALLEST_SHARE = 0.75
ROOT = Path("/")


def default_budget() -> int:
    """Give what conversions may use unless told otherwise: all but 2 GiB, or a quarter if less."""
    memory = machine_memory()
    return max(memory - RESERVE_BYTES, int(memory * SMALLEST_SHARE))


def machine_memory(root: Path = ROOT) -> int:
    """Give the bytes of this machine, or of the control group of this process where that has less.

    Args:
        root: below which ``proc`` and ``sys`` are.
    """
    return min([psutil.virtual_memory().total, *_limits(root)])


def _limits(root: Path) -> Iterator[int]:
    """Give the limits of the process's control group and of all around it; ``max`` is none."""
    for file in _limit_files(root):
        with suppress(OSError, ValueError):
            if (limit := int(file.read_text())) > 0:
                yield limit


def _limit_files(root: Path) -> Iterator[Path]:
    cgroups = root / "sys" / "fs" / "cgroup"
    for controllers, group in _groups(root):
        around = (group, *group.parents)
        if controllers == "":
            yield from (cgroups / one / "memory.max" for one in around)
        elif "memory" in controllers.split(","):
            yield from (cgroups / "memory" / one / "memory.limit_in_bytes" for one in around)


def _groups(root: Path) -> Iterator[tuple[str, PurePosixPath]]:
    """Read lines such as ``0::/system.slice/x.service``; a path that leaves the mount is that of its root."""
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        group = PurePosixPath(path.lstrip("/"))
        yield controllers, PurePosixPath() if ".." in group.parts else group
