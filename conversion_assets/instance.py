"""The Dagster instance of the embedded default: a folder with SQLite, made on first use."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import dagster as dg
import psutil

from conversion_assets.resources.file_exchange import write_whole
from conversion_assets.settings import Settings

PROCESS_TAG = "conversion_assets/process"
IN_PROGRESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]

CONFIGURATION = """\
# Made once by conversion-assets; yours to change.
telemetry:
  enabled: false
nux:
  enabled: false
run_queue:
  dequeue_interval_seconds: 1
concurrency:
  runs:
    max_concurrent_runs: 2
    tag_concurrency_limits:
      - key: dagster/partition
        value:
          applyLimitPerUniqueValue: true
        limit: 1
run_monitoring:
  enabled: true
  poll_interval_seconds: 5
  cancel_timeout_seconds: 20
  free_slots_after_run_end_seconds: 60
run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false
"""


def prepare_home(settings: Settings) -> None:
    """Make the folders that people look for, and Dagster's configuration where there is none."""
    for folder in (settings.home / "inbox", settings.dagster_home):
        folder.mkdir(parents=True, exist_ok=True)
    configuration = settings.dagster_home / "dagster.yaml"
    if not configuration.exists():
        write_whole(configuration, CONFIGURATION.encode())


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """Open the instance of a home; it is made when missing."""
    prepare_home(settings)
    return dg.DagsterInstance.from_config(str(settings.dagster_home))


def environment(settings: Settings) -> dict[str, str]:
    """Give the environment in which Dagster's own programs find this home."""
    return {
        **os.environ,
        "DAGSTER_HOME": str(settings.dagster_home),
        "CONVERSION_ASSETS_HOME": str(settings.home),
    }


def process_mark() -> str:
    """Name this process so that another one can tell whether it still lives."""
    return f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.2f}"


def close_abandoned_runs(instance: dg.DagsterInstance) -> None:
    """Mark runs as failed whose process was killed before it could say so."""
    for run in instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS)):
        mark = run.tags.get(PROCESS_TAG)
        if mark is not None and not _lives(mark):
            instance.report_run_failed(run, "The process of this run was ended from outside.")


def _lives(mark: str) -> bool:
    host, pid, created = mark.rsplit(":", 2)
    if host != socket.gethostname():
        return True
    try:
        return f"{psutil.Process(int(pid)).create_time():.2f}" == created
    except psutil.NoSuchProcess:
        return False


def workspace_arguments() -> list[str]:
    """Tell Dagster's programs where the code is: ``workspace.yaml`` of a checkout, else the module."""
    workspace = Path(__file__).parent.parent / "workspace.yaml"
    return ["-w", str(workspace)] if workspace.exists() else ["-m", "conversion_assets.definitions"]
