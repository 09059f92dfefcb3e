"""Kills the process that calls a named function, at the beginning or at the end of that call.

No product code knows of it: the function is replaced in a running process by one that calls it. It is done
in processes that a test has copied from a warm one, and by ``start/sitecustomize.py`` in all processes that a
daemon starts. What is armed is read when a function is called, so that one daemon serves many points.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

FOLDER_VARIABLE = "FAULT_INJECTION_FOLDER"
TARGETS, ARMED, FIRED = "targets.json", "armed.json", "fired-"

Function = Callable[..., Any]
Moment = Literal["before", "after"]


@dataclass(frozen=True)
class Place:
    """Where a process is killed.

    Attributes:
        target: ``module:function`` or ``module:Class.method``.
        moment: before the call begins, or after it ended.
        times: which of the calls in one process.
        matching: pattern of the arguments as text; calls that do not match do not count.
    """

    target: str
    moment: Moment
    times: int = 1
    matching: str = ""


def prepare(folder: Path, targets: Iterable[str]) -> None:
    """Name the functions that are replaced in processes that start with ``start`` on PYTHONPATH."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TARGETS).write_text(json.dumps(sorted(set(targets))))


def arm(folder: Path, *places: Place) -> None:
    """Let one process die at each place, one place after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    for fired in folder.glob(f"{FIRED}*"):
        fired.unlink()
    unfinished = folder / f"{ARMED}.new"
    unfinished.write_text(json.dumps([asdict(place) for place in places]))
    unfinished.rename(folder / ARMED)


def deaths(folder: Path) -> int:
    """Tell how many processes were killed since places were armed."""
    return len(list(folder.glob(f"{FIRED}*")))


def install(folder: Path, targets: Sequence[str]) -> None:
    """Replace functions in this process, now or as soon as their modules are imported."""
    waiting: dict[str, list[str]] = {}
    for target in targets:
        module = target.partition(":")[0]
        if module in sys.modules:
            _replace(folder, target)
        else:
            waiting.setdefault(module, []).append(target)
    if waiting:
        sys.meta_path.insert(0, _Awaiting(folder, waiting))


class _Awaiting(MetaPathFinder):
    """Replaces functions when their modules are imported.

    Args:
        folder: see ``install``.
        targets: by module.
    """

    def __init__(self, folder: Path, targets: dict[str, list[str]]) -> None:
        self._folder, self._targets = folder, targets

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Leave it to the other finders to find a module, and be there when it has been executed."""
        if fullname not in self._targets:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next((found for one in others if (found := one.find_spec(fullname, path, target))), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module
            vars(spec.loader)["exec_module"] = functools.partial(self._executed, execute)
        return spec

    def _executed(self, execute: Callable[[ModuleType], None], module: ModuleType) -> None:
        execute(module)
        for target in self._targets.pop(module.__name__, ()):
            _replace(self._folder, target)


def _replace(folder: Path, target: str) -> None:
    module_name, _, qualified = target.partition(":")
    *owners, name = qualified.split(".")
    owner: Any = functools.reduce(getattr, owners, importlib.import_module(module_name))
    function = inspect.getattr_static(owner, name)
    if not inspect.isfunction(function):
        raise TypeError(f"{target} is no plain function")
    replacement = _deadly(folder, target, function)
    setattr(owner, name, replacement)
    if not owners:
        _replace_imported(function, replacement)


def _replace_imported(function: Function, replacement: Function) -> None:
    """Replace a function where other modules have taken it with ``from … import``."""
    for module in list(sys.modules.values()):
        for name, value in list(vars(module).items()):
            if value is function:
                setattr(module, name, replacement)


def _deadly(folder: Path, target: str, function: Function) -> Function:
    calls = itertools.count(1)

    def strike(moment: Moment, arguments: tuple[object, ...]) -> None:
        number = deaths(folder)
        place = _armed(folder, number)
        if place is None or (place.target, place.moment) != (target, moment):
            return
        if not re.search(place.matching, " ".join(map(str, arguments))):
            return
        if next(calls) == place.times and _is_first(folder / f"{FIRED}{number}"):
            os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any function
        arguments = (*args, *kwargs.values())
        strike("before", arguments)
        result = function(*args, **kwargs)
        strike("after", arguments)
        return result

    return call


def _armed(folder: Path, number: int) -> Place | None:
    try:
        places = json.loads((folder / ARMED).read_text())
    except FileNotFoundError:
        return None
    return Place(**places[number]) if number < len(places) else None


def _is_first(fired: Path) -> bool:
    try:
        os.close(os.open(fired, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def install_as_told() -> None:
    """Do as the environment tells; nothing where it tells nothing."""
    if name := os.environ.get(FOLDER_VARIABLE):
        folder = Path(name)
        install(folder, json.loads((folder / TARGETS).read_text()))
