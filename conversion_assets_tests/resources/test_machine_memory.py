from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from conversion_assets.resources.machine_memory import default_budget, machine_memory

GIB = 2**30
PHYSICAL = psutil.virtual_memory().total


def system(root: Path, groups: str, **limits: str) -> Path:
    """Write the files of a system: its groups, and limits by path with ``__`` for ``/``."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "self" / "cgroup").write_text(groups)
    for name, limit in limits.items():
        file = root / "sys" / "fs" / "cgroup" / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_name(file.name.replace("_max", ".max").replace("_limit", ".limit")).write_text(limit)
    return root


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("0::/\n", {"memory_max": str(GIB)}, GIB),
        ("0::/a/b\n", {"a__b__memory_max": "max\n", "a__memory_max": f"{GIB // 2}\n"}, GIB // 2),
        ("0::/../other\n", {"memory_max": str(GIB)}, GIB),
        ("4:cpu,memory:/x\n1:cpu:/y\n", {"memory__x__memory_limit_in_bytes": str(GIB)}, GIB),
        ("4:memory:/x\n", {"memory__x__memory_limit_in_bytes": str(2**63 - 4096)}, PHYSICAL),
        ("0::/\n", {"memory_max": "max"}, PHYSICAL),
        ("0::/\n", {}, PHYSICAL),
    ],
    ids=["container", "parent", "outside", "version 1", "version 1 without", "without", "no file"],
)
def test_the_lowest_limit_counts(tmp_path: Path, groups: str, limits: dict[str, str], expected: int) -> None:
    assert machine_memory(system(tmp_path, groups, **limits)) == expected


def test_without_control_groups_the_machine_counts(tmp_path: Path) -> None:
    assert machine_memory(tmp_path) == PHYSICAL


def test_some_is_left_to_the_rest_of_the_machine() -> None:
    assert 0.75 * machine_memory() - 1 <= default_budget() < machine_memory()
