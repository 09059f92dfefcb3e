"""A real server as a child process: started on a free port, waited for, ended with all that it started."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import httpx
import pytest

HOST = "127.0.0.1"
ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL")  # also when the test process is killed
STARTUP_SECONDS = 90
GRACE_SECONDS = 15


class Account(TypedDict, total=False):
    """As whom a program runs: arguments of ``subprocess.Popen``."""

    user: int
    group: int
    extra_groups: list[int]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def program(name: str, *folders: Path) -> str:
    """Find a program, or skip the tests that need it.

    Args:
        name: its name.
        folders: where else to look than on the PATH.
    """
    found = shutil.which(name, path=os.pathsep.join([*map(str, folders), os.environ["PATH"], "/usr/sbin"]))
    if found is None:
        pytest.skip(f"{name} is not installed: see .ci/services-packages")
    return found


@contextlib.contextmanager
def folder(user: str | None = None) -> Iterator[Path]:
    """Give a folder with a short name, since paths of sockets are bounded; it is removed at the end.

    Args:
        user: system user that owns it; the current one when not given.
    """
    with tempfile.TemporaryDirectory(prefix="services-", ignore_cleanup_errors=True) as name:
        if user is not None:
            account = pwd.getpwnam(user)
            os.chown(name, account.pw_uid, account.pw_gid)
        yield Path(name)


def run(
    command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, user: str | None = None
) -> str:
    """Run a program to its end and give its output.

    Raises:
        AssertionError: it failed; its output stands in the text.
    """
    done = subprocess.run(
        [*ENDS_WITH_US, *(str(part) for part in command)],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=STARTUP_SECONDS,
        cwd="/",
        **_as_user(user),
    )
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def serving(
    command: Sequence[str | Path],
    *,
    log: Path,
    ready: Callable[[], bool],
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    stop: signal.Signals = signal.SIGTERM,
    seconds: float = STARTUP_SECONDS,
) -> Iterator[None]:
    """Run a server while the block runs.

    Args:
        command: program and arguments; it must stay in the foreground.
        log: file that takes its output.
        ready: tells whether it serves; called until it does.
        env: variables besides those of this process.
        user: system user that it runs as.
        stop: signal that ends it gently.
        seconds: how long it may take until it serves.

    Raises:
        AssertionError: it ended or did not serve in time; the end of its log stands in the text.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*ENDS_WITH_US, *(str(part) for part in command)],
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            **_as_user(user),
        )
    try:
        _wait(process, ready, seconds, log)
        yield
    finally:
        _end(process, stop)


def answers(url: str) -> Callable[[], bool]:
    """Tell whether a URL is answered with success."""

    def ready() -> bool:
        try:
            return httpx.get(url, timeout=5).is_success
        except httpx.TransportError:
            return False

    return ready


def _as_user(user: str | None) -> Account:
    if user is None:
        return {}
    account = pwd.getpwnam(user)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _wait(process: subprocess.Popen[bytes], ready: Callable[[], bool], seconds: float, log: Path) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if ready():
            return
        time.sleep(0.1)
    what = "did not serve in time" if process.poll() is None else f"ended with {process.returncode}"
    raise AssertionError(f"It {what}; {log} ends with:\n{log.read_text(errors='replace')[-3000:]}")


def _end(process: subprocess.Popen[bytes], stop: signal.Signals) -> None:
    process.send_signal(stop)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
