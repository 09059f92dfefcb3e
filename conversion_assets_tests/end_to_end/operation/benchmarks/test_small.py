"""Each benchmark runs, with next to nothing to do; what it measures is not looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import benchmarks
from benchmarks.prefect_flow.work import NAMES
from conversion_assets_tests.end_to_end.browser import why_no_browser
from conversion_assets_tests.end_to_end.command import environment

ROOT = Path(benchmarks.__file__).parent.parent
NO_BROWSER = why_no_browser()


def run(name: str, *arguments: str) -> str:
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_orders_are_neither_lost_nor_done_twice() -> None:
    launcher = "conversion_assets.launching:WarmRunLauncher"
    found: dict[str, Any] = json.loads(run("orchestration", "--orders", "2", "--launcher", launcher))
    assert found["orders"] == 2
    assert found["faults"] == []
    assert found["processor s/order"]["runs"] > 0


@pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER))
def test_queries_of_the_web_interface_are_found_and_asked_again() -> None:
    found = json.loads(run("history", "--live", "20", "--retired", "30", "--repeats", "1"))
    assert found["asked"]["runs"] == 51
    chosen = found["backfill --stale --dry-run"]
    assert [chosen[name]["orders"] for name in ("none is stale", "all are stale")] == [0, 21]
    for page in ("asset graph", "partition status", "run list"):
        assert found[page]


def test_five_steps_leave_their_records(tmp_path: Path) -> None:
    printed = run("prefect_flow.dagster_steps", "2", str(tmp_path))
    assert len(printed.split()) == 2
    assert all(len(list((tmp_path / name).glob("*.json"))) == 2 for name in NAMES)
