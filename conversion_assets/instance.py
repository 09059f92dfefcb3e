"""The Dagster instance of a home, made on first use: a folder with SQLite, or PostgreSQL for a team."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy
import sqlalchemy.exc
import yaml

from conversion_assets.connections import keep_connections
from conversion_assets.dagster_yaml import Template
from conversion_assets.errors import PermanentError, TransientError
from conversion_assets.quarantining import keep_failed_run
from conversion_assets.resources.file_exchange import write_whole
from conversion_assets.resources.quarantine import Quarantine
from conversion_assets.run_marks import lives, process_of
from conversion_assets.run_traces import PARTITION_TAG
from conversion_assets.settings import Settings

LOG = logging.getLogger(__name__)
SECONDS_TO_MARK = 300
"""A run marks its process within a second; the rest is for clocks that disagree."""
LONGEST_REASON = 300
CONNECT_SECONDS = 10
IN_PROGRESS = [
    dg.DagsterRunStatus.NOT_STARTED,  # of a command that was killed before its run began
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

POSTGRES_VARIABLE = "CONVERSION_ASSETS_DAGSTER_POSTGRES_URL"
POSTGRES_SCHEME = "postgresql+psycopg2://"  # a plain postgresql:// means another driver to SQLAlchemy 2.1
POSTGRES = {"postgres": {"postgres_url": {"env": POSTGRES_VARIABLE}}}

CONFIGURATION = """\
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
      - key: conversion_assets/upkeep
        limit: 1
  pools:
    granularity: op
run_monitoring:
  enabled: true
  poll_interval_seconds: 5
  start_timeout_seconds: 90
  cancel_timeout_seconds: 20
  free_slots_after_run_end_seconds: 60
run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false
retention:
  sensor:
    purge_after_days: {skipped: 2, started: 30, success: 30, failure: 30}
  schedule:
    purge_after_days: {skipped: 30, started: 90, success: 90, failure: 90}
"""


TEMPLATE = Template(CONFIGURATION, version("conversion-assets"))


def prepare_home(settings: Settings) -> None:
    """Make the folders that people look for, and Dagster's configuration where there is none.

    A configuration that an earlier version wrote and nobody changed is renewed.

    The history of runs goes to SQLite, or to PostgreSQL where ``CONVERSION_ASSETS_DAGSTER_POSTGRES_URL`` is
    set; the configuration names the variable and never holds its value.

    Raises:
        PermanentError: the home cannot be written to, or its configuration and the variable disagree.
    """
    configuration = _configuration(settings)
    try:
        for folder in (settings.home / "inbox", settings.dagster_home):
            folder.mkdir(parents=True, exist_ok=True)
        if not configuration.exists():
            write_whole(configuration, configuration_text(settings).encode())
        text = configuration.read_text()
        if (renewed := TEMPLATE.renewed(text)) != text:
            write_whole(configuration, renewed.encode())
            LOG.warning("%s was written by an earlier version; it is renewed", configuration)
    except OSError as error:
        raise PermanentError(
            settings.home, f"it cannot be used as home ({error.strerror})", "Name another one with --home."
        ) from error
    _require_same_storage(configuration, text)


def configuration_text(settings: Settings) -> str:
    """Give ``dagster.yaml`` as the environment and the settings ask for it."""
    storage = {"storage": POSTGRES} if os.environ.get(POSTGRES_VARIABLE) else {}
    return TEMPLATE.written({**storage, **_compute_logs(settings)})


def overlooked_configuration(settings: Settings) -> str | None:
    """Tell what a changed ``dagster.yaml`` lacks that this version would write; None where there is nothing.

    Args:
        settings: whose home, which is prepared.
    """
    configuration = _configuration(settings)
    if not (names := TEMPLATE.overlooked(configuration.read_text())):
        return None
    return (
        f"{configuration} is kept as somebody changed it; this version would write otherwise:"
        f" {', '.join(names)}. Remove the file, and it is made anew; or take over what is wanted and let its"
        f" first line be '{TEMPLATE.first_line}'"
    )


def _configuration(settings: Settings) -> Path:
    return settings.dagster_home / "dagster.yaml"


def _compute_logs(settings: Settings) -> dict[str, Any]:
    if settings.dagster_logs_bucket is None:
        return {}
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
    return {"compute_logs": manager}


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
        with _alone(settings.dagster_home):
            instance = dg.DagsterInstance.from_config(str(settings.dagster_home))
    except (dg.DagsterError, yaml.YAMLError) as error:
        raise PermanentError(
            _configuration(settings),
            f"Dagster cannot use this configuration ({_short(error)})",
            "Mend the file, or remove it: it is then made anew.",
        ) from error
    keep_connections(instance)
    _set_slots(instance, settings)
    return instance


@contextmanager
def _alone(dagster_home: Path) -> Iterator[None]:
    """Let one process at a time make Dagster's tables: two of them would trip over each other."""
    with (dagster_home / "opening.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


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


def close_abandoned_runs(instance: dg.DagsterInstance, quarantine: Quarantine) -> list[str]:
    """Mark runs as failed whose process was killed before it could say so; their orders go to quarantine.

    The run of an order marks its process as soon as it is started. One that has not done so for minutes
    was killed before.

    Args:
        instance: whose runs.
        quarantine: takes the orders that nobody will try again by itself.

    Returns:
        Ids of the closed runs.
    """
    closed = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=IN_PROGRESS)):
        run = record.dagster_run
        if _is_abandoned(record):
            instance.report_run_failed(run, "The process of this run was ended from outside.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            keep_failed_run(instance, quarantine, run.run_id)
            closed.append(run.run_id)
    return closed


def _is_abandoned(record: dg.RunRecord) -> bool:
    run, process = record.dagster_run, process_of(record.dagster_run)
    if process is not None:
        return not lives(process)
    is_started = run.status is dg.DagsterRunStatus.STARTED and record.start_time is not None
    if not is_started or PARTITION_TAG not in run.tags:
        return False
    return time.time() - float(record.start_time or 0) > SECONDS_TO_MARK


def workspace_arguments() -> list[str]:
    """Tell Dagster's programs where the code is: ``workspace.yaml`` of a checkout, else the module."""
    workspace = Path(__file__).parent.parent / "workspace.yaml"
    return ["-w", str(workspace)] if workspace.exists() else ["-m", "conversion_assets.definitions"]
