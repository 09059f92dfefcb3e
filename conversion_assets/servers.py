"""Dagster's web interface and daemon as child processes of one command."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import click
import httpx

from conversion_assets.instance import (
    close_abandoned_runs,
    environment,
    open_instance,
    overlooked_configuration,
    workspace_arguments,
)
from conversion_assets.quarantining import quarantine_of
from conversion_assets.settings import Settings

HOST = "127.0.0.1"
STARTUP_SECONDS = 90
GRACE_SECONDS = 15


def serve(settings: Settings, port: int) -> int:
    """Run both until interrupted or until one of them ends.

    Args:
        settings: whose home is served.
        port: port of the web interface; 0 for any free one, and another one where it is taken.

    Returns:
        Exit code: 0 when it was interrupted.

    Raises:
        click.ClickException: this home is served already, with the URL; or a server did not start, or ended
            by itself, with the place of its log.
    """
    with open_instance(settings) as instance:
        close_abandoned_runs(instance, quarantine_of(settings))
    if overlooked := overlooked_configuration(settings):
        click.echo(f"note {overlooked}", err=True)
    port = free_port(port)
    programs = Path(sys.executable).parent
    where = workspace_arguments()
    commands = [
        [str(programs / "dagster-webserver"), "-h", HOST, "-p", str(port), *where],
        [str(programs / "dagster-daemon"), "run", *where],
    ]
    with (
        _interruptible(),
        contextlib.suppress(KeyboardInterrupt),
        _only_one(settings) as note,
        _running(commands, settings) as processes,
    ):
        _wait_until_up(port, processes, settings)
        note.write(f"http://{HOST}:{port}")
        note.flush()
        click.echo(f"Dagster is at http://{HOST}:{port} , its home is {settings.home} ; Ctrl-C ends it.")
        while all(process.poll() is None for process in processes):
            time.sleep(0.5)
        raise _ended_by_itself(processes, settings)
    return 0


@contextlib.contextmanager
def _only_one(settings: Settings) -> Iterator[TextIO]:
    """Hold the home's lock, whose file takes the URL; a process that dies gives it back."""
    with (settings.dagster_home / "ui.lock").open("a+") as note:
        try:
            fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note.seek(0)
            url = note.read().strip()
            raise click.ClickException(
                f"Dagster is already running on this home, {settings.home}"
                + (f", at {url}" if url else "; it is just starting")
            ) from None
        note.truncate(0)
        yield note


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let both signals interrupt, also where a shell has started us with SIGINT ignored."""
    former = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def free_port(wanted: int) -> int:
    """Give the wanted port, or any free one where it is taken or 0."""
    for port in (wanted, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")


@contextlib.contextmanager
def _running(
    commands: Sequence[Sequence[str]], settings: Settings
) -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            with _log_of(command[0], settings).open("ab") as log:
                processes.append(
                    subprocess.Popen(  # noqa: S603 - Dagster's own programs, no shell
                        [*_ended_with_us(), *command],
                        env=environment(settings),
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
        yield processes
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # an impatient second Ctrl-C must not leave anything
            signal.signal(number, signal.SIG_IGN)
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            _end(process)


def _ended_with_us() -> list[str]:
    """Let a server be told to end also when this process is killed, where util-linux can do so."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "INT"] if setpriv else []


def _program(process: subprocess.Popen[bytes]) -> str:
    arguments = process.args if isinstance(process.args, list) else [process.args]
    return next(str(part) for part in arguments if Path(str(part)).name.startswith("dagster"))


def _log_of(program: str, settings: Settings) -> Path:
    return settings.dagster_home / f"{Path(program).name}.log"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a server to end, then end what is left of its group: code servers and runs."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait_until_up(port: int, processes: Sequence[subprocess.Popen[bytes]], settings: Settings) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"http://{HOST}:{port}/server_info").is_success:
                return
        time.sleep(0.3)
    raise _ended_by_itself(processes, settings)


def _ended_by_itself(
    processes: Sequence[subprocess.Popen[bytes]], settings: Settings
) -> click.ClickException:
    ended = [process for process in processes if process.poll() is not None]
    logs = " and ".join(str(_log_of(_program(process), settings)) for process in ended or processes)
    what = "ended by itself" if ended else f"did not answer within {STARTUP_SECONDS} s"
    return click.ClickException(f"Dagster {what}; why stands in {logs}")
