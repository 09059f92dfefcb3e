"""Orders of the inbox under a real daemon: it, its code server and its runs are killed in turn."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import dagster as dg
import psutil
import pytest
import yaml

from conversion_assets.errors import ErrorClass
from conversion_assets.instance import environment, open_instance
from conversion_assets.partitions import safe_items
from conversion_assets.settings import Settings
from conversion_assets_tests.end_to_end.browser import wait_for
from conversion_assets_tests.faults import points, work
from conversion_assets_tests.faults.points import CrashPoint
from conversion_assets_tests.faults.rig import Copier, Rig, start_variables
from conversion_assets_tests.faults.sabotage import arm, deaths
from conversion_assets_tests.faults.sources import Sources
from conversion_assets_tests.faults.wholeness import assert_whole, quarantined, require_whole_for_readers

CODE = "conversion_assets_tests.faults.code_location"
WATCHES = """\
watches:
  - name: inbox
    kind: inbox
    stable_seconds: 0
    interval_seconds: 1
"""
SECONDS_TO_END = 240
SUCCESS, FAILURE = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE


class Supervisor:
    """Runs Dagster's daemon, and starts it again whenever it was killed.

    Args:
        settings: whose home it works on.
        faults: folder in which places are armed.
        group: the points at which it, or what it starts, may be killed.
    """

    def __init__(self, settings: Settings, faults: Path, group: Sequence[CrashPoint]) -> None:
        self._settings = settings
        self._variables = start_variables(faults, [point.place for point in group])
        self._processes: list[psutil.Process] = []
        self.started = 0
        self._start()

    def keep_running(self) -> None:
        """Start it again if it has ended."""
        self._note_children()
        if self._daemon.poll() is not None:
            self._start()

    def end(self) -> None:
        """End it with all that it ever started."""
        self._note_children()
        self._daemon.kill()
        self._daemon.wait()
        for process in self._processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _start(self) -> None:
        self.started += 1
        program = Path(sys.executable).with_name("dagster-daemon")
        with (self._settings.home / "daemon.log").open("ab") as log:
            self._daemon = subprocess.Popen(
                [str(program), "run", "-m", CODE],
                env={
                    **environment(self._settings),
                    **self._variables,
                    "CONVERSION_ASSETS_WATCHES": str(self._settings.watches),
                },
                stdout=log,
                stderr=log,
            )

    def _note_children(self) -> None:
        with suppress(psutil.NoSuchProcess):
            known = set(self._processes)
            found = psutil.Process(self._daemon.pid).children(recursive=True)
            self._processes += [process for process in found if process not in known]


@pytest.fixture
def settings(empty_home: Path, tmp_path: Path) -> Settings:
    """Make a home whose daemon looks into the inbox every second, and soon repeats a lost run."""
    home = tmp_path / "home"
    shutil.copytree(empty_home, home)
    configuration = home / "dagster" / "dagster.yaml"
    told = yaml.safe_load(configuration.read_text())
    told["run_monitoring"] |= {"poll_interval_seconds": 1, "start_timeout_seconds": 15}
    told["run_retries"]["max_retries"] = 10
    configuration.write_text(yaml.safe_dump(told))
    (home / "watches.yaml").write_text(WATCHES)
    return Settings(home=home, watches=home / "watches.yaml")


@contextmanager
def supervised(settings: Settings, faults: Path, group: Sequence[CrashPoint]) -> Iterator[Supervisor]:
    with ExitStack() as stack:
        supervisor = Supervisor(settings, faults, group)
        stack.callback(supervisor.end)
        yield supervisor


def published(settings: Settings, supervisor: Supervisor) -> Callable[[], bool]:
    def look() -> bool:
        supervisor.keep_running()
        require_whole_for_readers(settings.home)
        return any(settings.home.glob(points.record_of("published_item")))

    return look


def ended(settings: Settings) -> list[dg.DagsterRunStatus]:
    """Give the statuses of all runs once all have ended, the oldest first."""
    with open_instance(settings) as instance:
        runs = instance.get_runs()
    return [run.status for run in reversed(runs)] if all(run.is_finished for run in runs) else []


@pytest.mark.timeout(400)
def test_order_in_the_hands_of_the_daemon(settings: Settings, sources: Sources) -> None:
    group, faults = points.IN_THE_DAEMON, settings.home.with_name("faults")
    arm(faults, *(point.place for point in group))
    shutil.copy(sources.archive, settings.home / "inbox")
    with supervised(settings, faults, group) as supervisor:
        wait_for("the item", published(settings, supervisor), SECONDS_TO_END)
        wait_for("the end of all runs", lambda: ended(settings), SECONDS_TO_END)
    assert deaths(faults) == len(group)
    assert supervisor.started == 1 + sum(point.dies == "daemon" for point in group)
    assert_whole(settings.home)
    assert ended(settings).count(SUCCESS) == 1
    with open_instance(settings) as instance:
        assert len(instance.get_dynamic_partitions(str(safe_items.name))) == 1


@pytest.mark.timeout(400)
def test_order_in_the_hands_of_the_code_server(settings: Settings, sources: Sources, warm: Copier) -> None:
    group, faults = points.IN_THE_CODE_SERVER, settings.home.with_name("faults")
    arm(faults, *(point.place for point in group))
    shutil.copy(sources.archive, settings.home / "inbox")
    with supervised(settings, faults, group) as supervisor:
        (record,) = wait_for("the quarantine", lambda: quarantined(settings.home), SECONDS_TO_END)
    assert deaths(faults) == len(group)
    assert supervisor.started == 1
    assert record.error_class is ErrorClass.TRANSIENT
    assert require_whole_for_readers(settings.home) == []
    assert ended(settings) == [FAILURE]
    rig = Rig(warm, settings.home, {})
    assert rig.run(work.replay)["status"] == "published"
    rig.require_in_order()
    assert_whole(settings.home)
