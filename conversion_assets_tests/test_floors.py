"""The map of the house in CONTRIBUTING.md is true: every import goes down."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import conversion_assets

PACKAGE = Path(conversion_assets.__file__).parent
CONTRIBUTING = PACKAGE.parent / "CONTRIBUTING.md"
ROOM = re.compile(r"\b([a-z_]+)(?:/|\.py)(?=\s)")
WITHOUT_DAGSTER = (
    "safe",
    "zarr",
    "stac",
    "storage",
    "orders",
    "errors",
    "figures",
    "settings",
    "progress",
    "provenance",
    "records",
    "tracing",
)
FOREIGN = {"dagster", "httpx"}


def floors() -> dict[str, int]:
    """Give the floor of each room, counted from the top; rooms of one line share a floor."""
    drawing = CONTRIBUTING.read_text().split("```")[3]
    lines = [ROOM.findall(f"{line} ") for line in drawing.splitlines()]
    return {room: number for number, rooms in enumerate(filter(None, lines)) for room in rooms}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


@pytest.mark.skipif(not CONTRIBUTING.exists(), reason="the map lies in a checkout")
@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_import_goes_down(path: Path) -> None:
    floor = floors()
    here = room_of(path)
    assert here in floor, f"{here} is not on the map"
    for module in imports(path):
        package, *rest = module.split(".")
        if package == "conversion_assets" and rest and rest[0] != here:
            assert floor[rest[0]] > floor[here], f"{here} imports {module}, which is not below it"


@pytest.mark.parametrize("path", [path for path in MODULES if room_of(path) in WITHOUT_DAGSTER])
def test_domain_knows_neither_dagster_nor_http(path: Path) -> None:
    assert not FOREIGN & {module.split(".")[0] for module in imports(path)}
