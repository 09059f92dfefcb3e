"""docs/crash-points.md tells of each point that is tested, with its test, and of no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from conversion_assets_tests.faults.points import GROUPS, CrashPoint

HERE = Path(__file__).parent
DOCUMENT = HERE.parent.parent / "docs" / "crash-points.md"
TEST = re.compile(r"Test: `([^`]+)`\.")
FEWEST_POINTS = 40

pytestmark = pytest.mark.skipif(not DOCUMENT.exists(), reason="the documents lie in a checkout")


def told() -> dict[str, list[list[str]]]:
    """Give the rows of each table by the test that is named before it."""
    _, *parts = TEST.split(DOCUMENT.read_text())
    return {test: rows(text) for test, text in zip(parts[::2], parts[1::2], strict=True)}


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_table_has_its_test() -> None:
    assert set(told()) == set(GROUPS)
    for test in GROUPS:
        file, _, name = test.partition("::")
        found = ast.walk(ast.parse((HERE / file).read_text()))
        assert name in {node.name for node in found if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("test", "group"), GROUPS.items(), ids=GROUPS)
def test_every_point_is_told(test: str, group: tuple[CrashPoint, ...]) -> None:
    table = told()[test]
    assert [row[:2] for row in table] == [[f"`{point.id}`", point.dies] for point in group]
    assert all(len(row) == 4 and all(row) for row in table)


def test_points_are_many_and_have_names_of_their_own() -> None:
    names = [point.id for group in GROUPS.values() for point in group]
    assert len(names) == len(set(names)) >= FEWEST_POINTS
