"""The Dagster instance of a home, made on first use: a folder with SQLite, or PostgreSQL for a team."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import dagster as dg
import psutil
import sqlalchemy
import sqlalchemy.exc
import yaml

from conversion_assets.errors import PermanentError, TransientError
from conversion_assets.resources.file_exchange import write_whole
from conversion_assets.settings import Settings

# Tags below ".dagster/" are not shown in the web interface.
PROCESS_TAG = ".dagster/conversion_assets/process"
LONGEST_REASON = 300
CONNECT_SECONDS = 10
IN_PROGRESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]

POSTGRES_VARIABLE = "CONVERSION_ASSETS_DAGSTER_POSTGRES_URL"
POSTGRES_SCHEME = "postgresql+psycopg2://"  # a plain postgresql:// means another driver to SQLAlchemy 2.1
POSTGRES = f"""\
storage:
  postgres:
    postgres_url:
      env: {POSTGRES_VARIABLE}
"""

CONFIGURATION = """\
# Made once by conversion-assets; yours to change.
telemetry:
  enabled: false
nux:
  enabled: false
python_logs:
  managed_python_loggers: [conversion_assets]
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
  pools:
    granularity: op
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

    The history of runs goes to SQLite, or to PostgreSQL where ``CONVERSION_ASSETS_DAGSTER_POSTGRES_URL`` is
    set; the configuration names the variable and never holds its value.

    Raises:
        PermanentError: the home cannot be written to, or its configuration and the variable disagree.
    """
    configuration = settings.dagster_home / "dagster.yaml"
    try:
        for folder in (settings.home / "inbox", settings.dagster_home):
            folder.mkdir(parents=True, exist_ok=True)
        if not configuration.exists():
            write_whole(configuration, configuration_text(settings).encode())
        text = configuration.read_text()
    except OSError as error:
        raise PermanentError(
            settings.home, f"it cannot be used as home ({error.strerror})", "Name another one with --home."
        ) from error
    _require_same_storage(configuration, text)


def configuration_text(settings: Settings) -> str:
    """Give ``dagster.yaml`` as the environment and the settings ask for it."""
    storage = POSTGRES if os.environ.get(POSTGRES_VARIABLE) else ""
    return f"{CONFIGURATION}{storage}{_compute_logs(settings)}"


def _compute_logs(settings: Settings) -> str:
    if settings.dagster_logs_bucket is None:
        return ""
    place = {
        "bucket": settings.dagster_logs_bucket,
        "prefix": "dagster",
        "endpoint_url": settings.s3_endpoint,
        "region": settings.s3_region,
    }
    manager = {
        "module": "dagster_aws.s3.compute_log_manager",
        "class": "S3ComputeLogManager",
        "config": {name: value for name, value in place.items() if value is not None},
    }
    return yaml.safe_dump({"compute_logs": manager}, sort_keys=False)


def _require_same_storage(configuration: Path, text: str) -> None:
    """Refuse to go on with another history than the one that the environment means."""
    url = os.environ.get(POSTGRES_VARIABLE)
    if url and not url.startswith(POSTGRES_SCHEME):
        raise _another_driver()
    if bool(url) != (POSTGRES_VARIABLE in text):
        what = "does not use, though it is set" if url else "needs, and which is not set"
        mend = "Unset" if url else "Set"
        raise PermanentError(
            configuration,
            f"{POSTGRES_VARIABLE} is a variable that it {what}",
            f"{mend} it, or remove the file: it is then made anew. Each database keeps its own history.",
        )


def _another_driver() -> PermanentError:
    return PermanentError(
        POSTGRES_VARIABLE,
        "it is not a URL of the supported driver",
        f"Write it as {POSTGRES_SCHEME}USER:PASSWORD@HOST:PORT/DATABASE.",
    )


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """Open the instance of a home; it is made when missing, and its pools get the slots of the settings.

    Raises:
        PermanentError: its ``dagster.yaml`` cannot be used.
        TransientError: its database cannot be reached.
    """
    prepare_home(settings)
    _require_database()
    try:
        instance = dg.DagsterInstance.from_config(str(settings.dagster_home))
    except (dg.DagsterError, yaml.YAMLError) as error:
        raise PermanentError(
            settings.dagster_home / "dagster.yaml",
            f"Dagster cannot use this configuration ({_short(error)})",
            "Mend the file, or remove it: it is then made anew.",
        ) from error
    _set_slots(instance, settings)
    return instance


def _require_database() -> None:
    """Tell at once when PostgreSQL cannot be used; Dagster would try for ten seconds.

    Raises:
        PermanentError: the URL cannot be read.
        TransientError: the server does not answer, or refuses.
    """
    url = os.environ.get(POSTGRES_VARIABLE)
    if not url:
        return
    try:
        sqlalchemy.create_engine(url, connect_args={"connect_timeout": CONNECT_SECONDS}).connect().close()
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise _another_driver() from None
    except sqlalchemy.exc.OperationalError as error:
        raise TransientError(
            POSTGRES_VARIABLE,
            f"Dagster's database cannot be used ({_short(error.orig)})",
            "See to the server, or correct the URL.",
        ) from None


def _short(error: object) -> str:
    return " ".join(str(error).split())[:LONGEST_REASON]


def _set_slots(instance: dg.DagsterInstance, settings: Settings) -> None:
    """Let each pool of steps have the slots of the settings; without them it has no limit."""
    storage = instance.event_log_storage
    limits = {limit.name: limit.limit for limit in storage.get_pool_limits()}
    for pool, slots in settings.slots.items():
        if slots and limits.get(pool) != slots:
            storage.set_concurrency_slots(pool, slots)
        elif not slots and pool in limits:
            storage.delete_concurrency_limit(pool)


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
            instance.event_log_storage.free_concurrency_slots_for_run(run_id)


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
