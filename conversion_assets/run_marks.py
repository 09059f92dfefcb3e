"""Which process works on a run, noted on the run itself, so that another can tell whether it still lives."""

from __future__ import annotations

import socket

import dagster as dg
import psutil

# Tags below ".dagster/" are not shown in the web interface.
PROCESS_TAG = ".dagster/conversion_assets/process"


def this_process() -> str:
    """Name this process so that another can tell whether it still lives."""
    process = psutil.Process()
    return f"{socket.gethostname()}:{process.pid}:{process.create_time():.2f}"


def process_mark(run_id: str) -> str:
    """Name this process as the one that works on a run, so that another can tell whether it still lives.

    The run is named too: a repeated run inherits the tags of the first one.
    """
    return f"{run_id}:{this_process()}"


def mark_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Note that this process works on a run, whoever launched it."""
    mark = process_mark(run.run_id)
    if run.tags.get(PROCESS_TAG) != mark:
        instance.add_run_tags(run.run_id, {PROCESS_TAG: mark})


def process_of(run: dg.DagsterRun) -> str | None:
    """Give the mark of the process that works on a run; None where none has said so."""
    run_id, _, mark = run.tags.get(PROCESS_TAG, "").partition(":")
    return mark if run_id == run.run_id else None


def lives(mark: str) -> bool:
    """Tell whether a process still works; of another host's nothing else is known, so it does."""
    host, pid, created = mark.rsplit(":", 2)
    if host != socket.gethostname():
        return True
    try:
        process = psutil.Process(int(pid))
        return f"{process.create_time():.2f}" == created and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
