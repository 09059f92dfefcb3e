"""The platform as a service: ``conversion-assets ui``, started again whenever it ends, as systemd would."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml

from benchmarks.rig import ROOT
from benchmarks.soak.memory import servers_below
from benchmarks.soak.source import COLLECTION
from conversion_assets.instance import environment, open_instance
from conversion_assets.settings import Settings
from conversion_assets_tests.end_to_end.command import PROGRAM

NULL_CODE = "conversion_assets_tests.faults.code_location"
WARM_LAUNCHER = {"module": "conversion_assets.launching", "class": "WarmRunLauncher"}
SECONDS_TO_START = 180.0
SECONDS_TO_END = 90.0
SECONDS_BEFORE_RESTART = 2.0
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
ENDS_WITH_US = ("setpriv", "--pdeathsig", "INT")
OBEYS_PERMISSIONS = ("--bounding-set", "-dac_override,-dac_read_search")
"""So that root, too, cannot write where nobody may."""


def make_home(folder: Path, source_url: str, *, is_warm: bool) -> Settings:
    """Make a home that watches an inbox and a STAC API.

    Args:
        folder: takes the home and what is said about it.
        source_url: of the STAC API.
        is_warm: whether runs are copies of a warm process.
    """
    watches = folder / "watches.yaml"
    stac = {"name": "source", "kind": "stac", "url": source_url, "collections": [COLLECTION]}
    inbox = {"name": "inbox", "kind": "inbox", "stable_seconds": 3, "interval_seconds": 10}
    watches.write_text(yaml.safe_dump({"watches": [inbox, {**stac, "interval_seconds": 10}]}))
    settings = Settings(home=folder / "home", watches=watches)
    open_instance(settings).dispose()
    (settings.home / "staging").mkdir(exist_ok=True)
    if is_warm:
        path = settings.dagster_home / "dagster.yaml"
        configuration = {**yaml.safe_load(path.read_text()), "run_launcher": WARM_LAUNCHER}
        path.write_text(yaml.safe_dump(configuration))
    return settings


def variables_of(settings: Settings) -> dict[str, str]:
    """Give the environment of all programs that work on the home."""
    return {
        **environment(settings),
        "PYTHONPATH": str(ROOT),
        "CONVERSION_ASSETS_WATCHES": str(settings.watches),
        "CONVERSION_ASSETS_SCHEMES": "file,http",
        "CONVERSION_ASSETS_PRIVATE_HOSTS": "127.0.0.1",
    }


def interface_command(folder: Path, *, is_null: bool) -> list[str]:
    """Give the command that is supervised.

    Args:
        folder: takes the workspace of another code location.
        is_null: whether there is nothing to convert.
    """
    command = [str(PROGRAM), "ui", "--port", "0"]
    if is_null:
        place = {"module_name": NULL_CODE, "location_name": "conversion_assets"}
        workspace = folder / "workspace.yaml"
        workspace.write_text(yaml.safe_dump({"load_from": [{"python_module": place}]}))
        command = [sys.executable, "-m", "benchmarks.soak.null_interface", str(workspace)]
    return [*ENDS_WITH_US, *(() if os.geteuid() else OBEYS_PERMISSIONS), *command]


@dataclass
class Platform:
    """A command that is started again whenever it ends.

    Attributes:
        command: what runs.
        variables: its environment.
        log: takes what it says.
        starts: how often it was started.
    """

    command: Sequence[str]
    variables: Mapping[str, str]
    log: Path
    starts: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _said_before: int = 0
    _ended: float | None = None
    _seen: set[psutil.Process] = field(default_factory=set)

    def start(self) -> None:
        """Start it, and wait until it serves.

        Raises:
            TimeoutError: it does not.
        """
        self._start()
        wait_for(lambda: self.url is not None, SECONDS_TO_START, f"the web interface, see {self.log}")

    def keep_running(self) -> None:
        """Start it again if it has ended some seconds ago."""
        if self._process is None or self._process.poll() is None:
            return
        if self._ended is None:
            self._ended = time.monotonic()
        elif time.monotonic() > self._ended + SECONDS_BEFORE_RESTART:
            self._start()

    @property
    def url(self) -> str | None:
        """Where the web interface is, once it serves."""
        said = self.log.read_text(errors="replace")[self._said_before :] if self.log.exists() else ""
        found = ADDRESS.search(said)
        return found.group() if found else None

    def servers(self) -> list[tuple[str, psutil.Process]]:
        """Give the servers that live, with what they are."""
        try:
            return list(servers_below(psutil.Process(self._process.pid))) if self._process else []
        except psutil.NoSuchProcess:
            return []

    def note_processes(self) -> None:
        """Remember what runs below it just now, for the end."""
        with contextlib.suppress(psutil.NoSuchProcess):
            if self._process is not None:
                self._seen |= set(psutil.Process(self._process.pid).children(recursive=True))

    def end(self) -> list[str]:
        """End it.

        Returns:
            The command lines of what outlived it; that was ended, too.
        """
        self.note_processes()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(SECONDS_TO_END)
            self._process.kill()
            self._process.wait()
        left = [" ".join(process.cmdline()) for process in self._seen if _works(process)]
        for process in self._seen:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return left

    def _start(self) -> None:
        self.starts += 1
        self._ended = None
        self._said_before = len(self.log.read_text(errors="replace")) if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program, no shell
                self.command, env=dict(self.variables), stdout=log, stderr=subprocess.STDOUT, cwd=ROOT
            )


def _works(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def wait_for(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: it does not within so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(1)
