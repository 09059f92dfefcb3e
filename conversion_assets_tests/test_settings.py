from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from conversion_assets.settings import Settings, default_home


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CONVERSION_ASSETS_"):
            monkeypatch.delenv(name)


def test_nothing_needs_to_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    settings = Settings()
    assert settings.home == tmp_path / "conversion_assets"
    assert settings.dagster_home == tmp_path / "conversion_assets" / "dagster"
    assert settings.owner == "local"
    assert settings.schemes == ("file", "s3", "https")


@pytest.mark.parametrize("data", [None, "", "relative/path"])
def test_home_without_a_usable_xdg_folder(
    data: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if data is None:
        monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_DATA_HOME", data)
    assert default_home() == tmp_path / ".local" / "share" / "conversion_assets"


def test_environment_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "HOME": str(tmp_path / "home"),
        "OWNER": "someone",
        "SCHEMES": "http,file",
        "THREADS": "3",
        "TIME_LIMIT_SECONDS": "1.5",
        "INBOX_STABLE_SECONDS": "0",
        "BUCKET_RULES": "rules.csv",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"CONVERSION_ASSETS_{name}", value)
    settings = Settings()
    assert settings.home == tmp_path / "home"
    assert settings.schemes == ("http", "file")
    assert (settings.owner, settings.threads, settings.time_limit_seconds) == ("someone", 3, 1.5)
    assert settings.bucket_rules == Path("rules.csv")


def test_empty_variable_counts_as_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("CONVERSION_ASSETS_HOME", "")
    monkeypatch.setenv("CONVERSION_ASSETS_THREADS", "")
    assert Settings().home == tmp_path / "conversion_assets"
    assert Settings().threads >= 1


def test_home_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    assert Settings(home=Path("data")).home == tmp_path / "data"
    assert Settings(home=Path("~/data")).home == tmp_path / "user" / "data"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threads", 0),
        ("memory_limit_bytes", 0),
        ("time_limit_seconds", 0),
        ("archive_max_entries", 0),
        ("archive_max_ratio", 1),
        ("inbox_stable_seconds", -1),
        ("inbox_max_orders", 101),
        ("inbox_max_orders", 0),
    ],
)
def test_impossible_values_are_refused(name: str, value: int) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings.model_validate({name: value})


def test_schemes_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVERSION_ASSETS_SCHEMES", "file, http")
    assert Settings().schemes == ("file", "http")
