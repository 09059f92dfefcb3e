"""What the documents say of settings and secrets is what the code reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import AliasChoices

from conversion_assets import services
from conversion_assets.instance import POSTGRES_VARIABLE
from conversion_assets.settings import PREFIX, PROFILES, Settings

SETTINGS = Path(__file__).parent.parent / "docs" / "settings.md"

pytestmark = pytest.mark.skipif(not SETTINGS.exists(), reason="the documents lie in a checkout")


def rows() -> dict[str, list[str]]:
    """Give the cells of each row by its first cell, without quotes."""
    lines = [line for line in SETTINGS.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first.strip("`"): rest for first, *rest in cells}


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("field", Settings.model_fields)
def test_every_setting_is_told_with_all_its_variables(field: str) -> None:
    alias = Settings.model_fields[field].validation_alias
    names = [str(name) for name in alias.choices] if isinstance(alias, AliasChoices) else []
    also, default, meaning = rows()[field.upper()]
    assert quoted(also) == [name for name in names if not name.startswith(PREFIX)]
    assert meaning
    value = Settings.model_fields[field].default
    if isinstance(value, bool | int | float | str) and value != "" and quoted(default):
        told = quoted(default)[0]
        assert told == (str(value).lower() if isinstance(value, bool) else f"{value}".removesuffix(".0"))


def test_no_setting_is_told_that_is_none() -> None:
    told = {name for name in rows() if re.fullmatch(r"[A-Z0-9_]+", name)}
    assert told == {field.upper() for field in Settings.model_fields}


def test_every_secret_is_told() -> None:
    constants = [
        value for name, value in vars(services).items() if name.isupper() and isinstance(value, tuple)
    ]
    told = {name for cells in rows().values() for cell in cells for name in quoted(cell)}
    assert {name for names in constants for name in names} | {POSTGRES_VARIABLE} <= told


@pytest.mark.parametrize("role", ["object_store", "staging", "bucket_rules", "converter", "catalogue"])
def test_profiles_are_told(role: str) -> None:
    cells = rows()[role.replace("_", " ")]
    assert [quoted(cell)[0] for cell in cells] == [getattr(roles, role) for roles in PROFILES.values()]
