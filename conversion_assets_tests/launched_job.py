"""A job that another process runs: it waits until a file is there."""

import time
from pathlib import Path

import dagster as dg


@dg.op(config_schema={"file": str})
def wait(context: dg.OpExecutionContext) -> None:
    while not Path(context.op_config["file"]).exists():
        time.sleep(0.05)


@dg.job(executor_def=dg.in_process_executor)
def launched_job() -> None:
    wait()
