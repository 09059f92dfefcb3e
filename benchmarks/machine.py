"""What a figure depends on: the machine, the versions, and what else ran meanwhile."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil

GIB = 2**30
DISTRIBUTIONS = ("dagster", "dagster-postgres", "eopf", "sqlalchemy")


def machine() -> dict[str, object]:
    """Describe this machine and the versions that matter."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory GiB": round(psutil.virtual_memory().total / GIB, 1),
        "python": platform.python_version(),
        **{name: version(name) for name in DISTRIBUTIONS},
        "load": load(),
    }


def load() -> list[float]:
    """Give the mean number of processes that were ready to run, over 1, 5 and 15 minutes."""
    return [round(mean, 2) for mean in os.getloadavg()]


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
