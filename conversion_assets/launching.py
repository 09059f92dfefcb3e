"""Runs as copies of a warm process: what every run imports is imported once.

Dagster's own launcher starts an interpreter for each run, and that imports Dagster, this project and, to
examine a product, xarray: seconds of a processor for an order. Here a fork server (``multiprocessing``) has
imported them and is copied. A run is one process as before, with its own memory and its own end. For a daemon
whose runs work on its own machine; ``docs/decisions/0019-throughput.md`` says when to use it and how.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Mapping
from multiprocessing.context import ForkServerContext
from typing import Any, Self

import dagster as dg
from dagster._cli.api import _execute_run_command_body  # what `dagster api execute_run` does in a container
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, RunLauncher, WorkerStatus
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from dagster._utils.interrupts import capture_interrupts

from conversion_assets.connections import keep_connections
from conversion_assets.run_marks import lives, mark_run, process_of

WHAT_RUNS_IMPORT = ("conversion_assets.definitions", "PIL.Image", "xarray", "zarr")


class WarmRunLauncher(RunLauncher[dg.DagsterInstance], ConfigurableClass):
    """Starts each run as a copy of a process that has imported what runs need.

    A run that was killed is noticed by Dagster's run monitoring, which asks here.

    Args:
        modules: what is imported beforehand; the module of the code location should be among them.
        inst_data: the configuration it was made from, for Dagster.
    """

    def __init__(self, modules: list[str], inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Dagster leaves it untyped
        self._inst_data = inst_data
        self._modules = modules
        self._copying: ForkServerContext | None = None

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """The configuration it was made from."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        """Say what stands below ``run_launcher`` in ``dagster.yaml``."""
        return {"modules": dg.Field([str], is_required=False, default_value=list(WHAT_RUNS_IMPORT))}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Make the launcher from its configuration."""
        return cls(modules=config_value["modules"], inst_data=inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start a run that was taken out of the queue."""
        if self._copying is None:
            self._copying = multiprocessing.get_context("forkserver")
            self._copying.set_forkserver_preload(self._modules)
            keep_connections(self._instance)
        run_id = context.dagster_run.run_id
        self._copying.Process(target=_work, args=(run_id, self._instance.get_ref())).start()

    def terminate(self, run_id: str) -> bool:
        """Interrupt a run, from any process of this machine; tell whether there was one to interrupt."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        mark = process_of(run)
        if mark is None or not lives(mark):
            return False
        os.kill(int(mark.rsplit(":", 2)[1]), signal.SIGINT)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """See ``check_run_worker_health``."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Tell whether the process of a run still lives, or has done its work."""
        mark = process_of(run)
        if mark is None or lives(mark):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        now = self._instance.get_run_by_id(run.run_id)  # it may have ended since it was looked up
        is_over = now is None or now.is_finished
        return CheckRunHealthResult(WorkerStatus.SUCCESS if is_over else WorkerStatus.FAILED)


def _work(run_id: str, ref: InstanceRef) -> None:
    with capture_interrupts(), dg.DagsterInstance.from_ref(ref) as instance:
        keep_connections(instance)
        if run := instance.get_run_by_id(run_id):
            mark_run(instance, run)
            _execute_run_command_body(run_id, instance, lambda _: None, set_exit_code_on_failure=False)
