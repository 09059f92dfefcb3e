"""A code location for Dagster's own programs: a job that waits until it may end."""

from __future__ import annotations

import os
import time
from pathlib import Path

import dagster as dg

MAY_END = "CONVERSION_ASSETS_TESTS_MAY_END"


@dg.op
def wait() -> None:
    while not Path(os.environ[MAY_END]).exists():
        time.sleep(0.2)


@dg.job
def waiting_job() -> None:
    wait()


definitions = dg.Definitions(jobs=[waiting_job], executor=dg.in_process_executor)
