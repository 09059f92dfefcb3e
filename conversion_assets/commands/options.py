"""What the commands have in common: the home, the settings, and how failures are told."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from conversion_assets.errors import ConversionAssetsError, OrderError
from conversion_assets.settings import PREFIX, Settings

Command = Callable[..., Any]


def home_option(command: Command) -> Command:
    """Add ``--home``."""
    return click.option(
        "--home",
        type=click.Path(file_okay=False, path_type=Path),
        help="The folder that holds everything  [env: CONVERSION_ASSETS_HOME].",
    )(command)


def settings_for(home: Path | None) -> Settings:
    """Read the settings, with the home of the command line before that of the environment."""
    try:
        settings = Settings() if home is None else Settings(home=home)
    except ValidationError as error:
        raise click.UsageError("; ".join(_faults(error))) from error
    os.environ["CONVERSION_ASSETS_HOME"] = str(settings.home)
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    return settings


def _faults(error: ValidationError) -> Iterator[str]:
    """Name the variable of each fault; its value is not repeated."""
    for fault in error.errors():
        name = str(fault["loc"][0]).upper() if fault["loc"] else ""
        variable = name if not name or name.startswith(PREFIX) else PREFIX + name
        yield f"{variable}: {fault['msg']}" if variable else fault["msg"]


def ends_politely() -> None:
    """Let a command that is asked to end do so as with Ctrl-C: the converting process first, then the run."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell may have started us with SIGINT ignored
        signal.signal(number, signal.default_int_handler)


def exit_code_of(codes: Iterable[int]) -> int:
    """Give the exit code of a command from those of its orders: 2 where all faults are those of the input."""
    faults = {code for code in codes if code}
    return 0 if not faults else OrderError.exit_code if faults == {OrderError.exit_code} else 1


class ToldGroup(click.Group):
    """Commands whose failures are told in a sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; see ``click.Group.invoke``."""
        try:
            return super().invoke(ctx)
        except ConversionAssetsError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(error.exit_code)
