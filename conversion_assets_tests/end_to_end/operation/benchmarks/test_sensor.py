from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_source_is_drained_with_a_restart_and_nothing_is_lost_or_found_twice() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.sensor", "--items", "250"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for row in ("| run requests | 250 |", "| lost | 0 |", "| twice | 0 |"):
        assert row in ran.stdout
