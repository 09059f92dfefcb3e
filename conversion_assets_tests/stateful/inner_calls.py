"""What happens at some call inside a piece of work: it is interrupted, or somebody else works meanwhile."""

from __future__ import annotations

import io
import pathlib
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import conversion_assets
from conversion_assets.stac import map_picture

OURS = str(pathlib.Path(conversion_assets.__file__).parent)
FILES_CHANGED_IN = (OURS, shutil.__file__, pathlib.__file__)
OF_THE_SYSTEM = frozenset({"posix", "fcntl"})


@dataclass(frozen=True)
class InnerCall:
    """A call inside a piece of work.

    Attributes:
        number: the so-many-th.
        is_of_system: calls of the operating system are counted, and not those of our functions.
    """

    number: int
    is_of_system: bool

    @contextmanager
    def reached(self, act: Callable[[], None]) -> Iterator[None]:
        """Do something right before that call of the block, in this thread.

        What ``act`` raises comes out of that call. Nothing happens where the block makes fewer calls.
        """
        left = self.number
        counts = _asks_the_system if self.is_of_system else _enters_ours

        def watch(frame: FrameType, event: str, argument: object) -> None:
            nonlocal left
            if counts(frame, event, argument):
                left -= 1
                if left == 0:
                    sys.setprofile(None)
                    act()

        sys.setprofile(watch)
        try:
            yield
        finally:
            sys.setprofile(None)


def _enters_ours(frame: FrameType, event: str, _argument: object) -> bool:
    name = frame.f_code.co_filename
    return event == "call" and name.startswith(OURS) and name != map_picture.__file__  # it draws 30 000 lines


def _asks_the_system(frame: FrameType, event: str, argument: object) -> bool:
    if event != "c_call" or not frame.f_code.co_filename.startswith(FILES_CHANGED_IN):
        return False
    is_of_file = isinstance(getattr(argument, "__self__", None), io.IOBase)
    return is_of_file or getattr(argument, "__module__", None) in OF_THE_SYSTEM
