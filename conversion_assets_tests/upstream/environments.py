"""Python environments of the upstream services, made once below ``.venv-upstream/``.

The services need versions that contradict ours, and the catalogue another Python: nothing of them is ever
installed in the project's own environment.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent.parent / ".venv-upstream"


class MissingPythonError(Exception):
    """No interpreter of the version that is needed; the text says how to name one."""


@dataclass(frozen=True)
class Environment:
    """An environment to be made.

    Attributes:
        name: of its folder and of its requirements file.
        version: of Python.
    """

    name: str
    version: tuple[int, int]

    @property
    def requirements(self) -> Path:
        """Give the file of exact versions."""
        return HERE / f"requirements-{self.name}.txt"

    @property
    def folder(self) -> Path:
        """Give the folder of the environment."""
        return ENVIRONMENTS / self.name


SERVERS = Environment("rs", (3, 13))
"""Catalogue, staging and OSAM."""

CONVERSION = Environment("dpr", (3, 11))
"""The DPR service, the gateway and its workers with eopf."""


def programs(environment: Environment) -> Path:
    """Give the folder of an environment's programs; make the environment where it is absent or outdated.

    Args:
        environment: which one.

    Raises:
        MissingPythonError: no interpreter of its version was found.
        subprocess.CalledProcessError: it could not be installed.
    """
    made_from = hashlib.sha256(environment.requirements.read_bytes()).hexdigest()
    stamp = environment.folder / "made-from"
    with _alone(environment):
        if not (stamp.exists() and stamp.read_text() == made_from):
            _make(environment)
            stamp.write_text(made_from)
    return environment.folder / "bin"


def find_python(version: tuple[int, int]) -> Path:
    """Find an interpreter: the one that ``PYTHON313`` names, one on PATH, or one of pyenv's.

    Args:
        version: of Python, 3.13 for instance.

    Raises:
        MissingPythonError: there is none.
    """
    for candidate in _candidates(version):
        if _is_python(candidate, version):
            return candidate
    name = "{}.{}".format(*version)
    variable = _variable(version)
    named = os.environ.get(variable)
    raise MissingPythonError(
        f"{variable}={named} is no Python {name} with venv."
        if named
        else f"Python {name} was not found: put python{name} on PATH or name it with {variable}=/its/path."
    )


def _candidates(version: tuple[int, int]) -> Iterator[Path]:
    named = os.environ.get(_variable(version))
    if named:
        yield Path(named)
        return
    if sys.version_info[:2] == version:
        yield Path(sys.executable)
    name = "{}.{}".format(*version)
    on_path = shutil.which(f"python{name}")
    if on_path:
        yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{name}.*/bin/python{name}"))


def _variable(version: tuple[int, int]) -> str:
    return "PYTHON{}{}".format(*version)


def _is_python(candidate: Path, version: tuple[int, int]) -> bool:
    """Ask it, since a version manager may put a name on PATH behind which there is nothing."""
    question = "import ensurepip, sys, venv; print(*sys.version_info[:2])"
    try:
        answer = subprocess.run([candidate, "-c", question], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return answer.stdout.split() == [str(number) for number in version]


def _make(environment: Environment) -> None:
    python = find_python(environment.version)
    shutil.rmtree(environment.folder, ignore_errors=True)
    sys.stderr.write(f"Installing {environment.requirements.name} (about a minute) ...\n")
    started = time.monotonic()
    subprocess.run([python, "-m", "venv", environment.folder], check=True)
    pip = ["nice", str(environment.folder / "bin" / "python"), "-m", "pip", "install"]
    quietly = ["--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, *quietly, "--requirement", str(environment.requirements)], check=True)
    sys.stderr.write(f"Installed in {time.monotonic() - started:.0f} s.\n")


@contextmanager
def _alone(environment: Environment) -> Iterator[None]:
    ENVIRONMENTS.mkdir(exist_ok=True)
    with (ENVIRONMENTS / f"{environment.name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    try:
        for one in (SERVERS, CONVERSION):
            programs(one)
    except MissingPythonError as missing:
        sys.stderr.write(f"{missing} The tests that need it are skipped.\n")
