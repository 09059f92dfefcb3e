"""The Dagster instance of the embedded default: a folder with SQLite, made on first use."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import dagster as dg
import psutil
import yaml

from conversion_assets.errors import PermanentError
from conversion_assets.resources.file_exchange import write_whole
from conversion_assets.settings import Settings

# Tags below ".dagster/" are not shown in the web interface.
PROCESS_TAG = ".dagster/conversion_assets/process"
LONGEST_REASON = 300
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
    """Make the folders that people look for, and Dagster's configuration where there is none.

    Raises:
        PermanentError: the home cannot be written to.
    """
    configuration = settings.dagster_home / "dagster.yaml"
    try:
        for folder in (settings.home / "inbox", settings.dagster_home):
            folder.mkdir(parents=True, exist_ok=True)
        if not configuration.exists():
            write_whole(configuration, CONFIGURATION.encode())
    except OSError as error:
        raise PermanentError(
            settings.home, f"it cannot be used as home ({error.strerror})", "Name another one with --home."
        ) from error


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """Open the instance of a home; it is made when missing.

    Raises:
        PermanentError: its ``dagster.yaml`` cannot be used.
    """
    prepare_home(settings)
    try:
        return dg.DagsterInstance.from_config(str(settings.dagster_home))
    except (dg.DagsterError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:LONGEST_REASON]
        raise PermanentError(
            settings.dagster_home / "dagster.yaml",
            f"Dagster cannot use this configuration ({reason})",
            "Mend the file, or remove it: it is then made anew.",
        ) from error


def environment(settings: Settings) -> dict[str, str]:
    """Give the environment in which Dagster's own programs find this home."""
    return {
        **os.environ,
        "DAGSTER_HOME": str(settings.dagster_home),
        "CONVERSION_ASSETS_HOME": str(settings.home),
    }


def process_mark(run_id: str) -> str:
    """Name this process as the one that works on a run, so that another can tell whether it still lives.

    The run is named too: a repeated run inherits the tags of the first one.
    """
    return f"{run_id}:{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.2f}"


def mark_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Note that this process works on a run, whoever launched it."""
    mark = process_mark(run.run_id)
    if run.tags.get(PROCESS_TAG) != mark:
        instance.add_run_tags(run.run_id, {PROCESS_TAG: mark})


def close_abandoned_runs(instance: dg.DagsterInstance) -> None:
    """Mark runs as failed whose process was killed before it could say so."""
    for run in instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS)):
        run_id, _, mark = run.tags.get(PROCESS_TAG, "").partition(":")
        if run_id == run.run_id and not _lives(mark):
            instance.report_run_failed(run, "The process of this run was ended from outside.")


def _lives(mark: str) -> bool:
    host, pid, created = mark.rsplit(":", 2)
    if host != socket.gethostname():
        return True
    try:
        process = psutil.Process(int(pid))
        return f"{process.create_time():.2f}" == created and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def workspace_arguments() -> list[str]:
    """Tell Dagster's programs where the code is: ``workspace.yaml`` of a checkout, else the module."""
    workspace = Path(__file__).parent.parent / "workspace.yaml"
    return ["-w", str(workspace)] if workspace.exists() else ["-m", "conversion_assets.definitions"]
