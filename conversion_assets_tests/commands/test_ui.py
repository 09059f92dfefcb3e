"""The command in this process, where it serves nothing; ``test_servers.py`` runs it as installed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from conversion_assets.cli import main


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CONVERSION_ASSETS_HOME", "DAGSTER_HOME"):  # what a command sets ends with the test
        monkeypatch.setenv(name, os.environ.get(name, ""))
    return tmp_path / "home"


def ui(home: Path) -> Result:
    return CliRunner(mix_stderr=False).invoke(main, ["ui", "--port", "0", "--home", str(home)])


def test_watches_that_cannot_be_are_told_before_anything_is_served(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = home.parent / "watches.yaml"
    file.write_text("watches:\n  - name: drop\n    kind: ftp\n")
    monkeypatch.setenv("CONVERSION_ASSETS_WATCHES", str(file))
    ended = ui(home)
    assert ended.exit_code == 2
    assert ended.stderr.startswith(f"Error: {file}: line 2: watches.0: ")
    assert "Mend the file" in ended.stderr
    assert ended.stdout == ""
    assert not home.exists()


def test_time_of_upkeep_that_cannot_be_is_told_before_anything_is_served(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVERSION_ASSETS_RETIRE_CRON", "daily")
    ended = ui(home)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "CONVERSION_ASSETS_RETIRE_CRON" in ended.stderr
