"""How a command is given its time."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil
import pytest

from conversion_assets_tests.end_to_end import everywhere
from conversion_assets_tests.end_to_end.browser import still_alive, wait_for
from conversion_assets_tests.end_to_end.everywhere import run_command

SECONDS_TO_BEGIN, SECONDS_TO_END = 2, 60
IDLE = """#!/bin/sh
sleep 600 &
echo $! >"$CHILD"
wait
"""


@pytest.mark.timeout(90)  # it is what would have to be waited for
def test_command_whose_time_is_over_is_ended_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, child = tmp_path / "program", tmp_path / "child"
    program.write_text(IDLE)
    program.chmod(0o700)
    monkeypatch.setattr(everywhere, "PROGRAM", program)
    with pytest.raises(subprocess.TimeoutExpired):
        run_command({"CHILD": str(child)}, tmp_path, seconds=SECONDS_TO_BEGIN)
    number = int(child.read_text())
    if psutil.pid_exists(number):  # who adopted it has not looked yet
        process = psutil.Process(number)
        wait_for("its end", lambda: not still_alive([process]), SECONDS_TO_END)
