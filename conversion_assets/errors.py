"""The classes of failure: what may be retried, what may not, and what must be set aside.

Every error says three things to the person who reads it: what it is about, the rule that was
broken, and the way out. The class, not the text, decides what happens next.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Self


class ErrorClass(StrEnum):
    """How a failure is to be treated."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"
    POISONED = "poisoned"


def printable(text: str) -> str:
    """Escape what cannot be encoded: file names may hold any bytes."""
    return text.encode("utf-8", "backslashreplace").decode()


class ConversionAssetsError(Exception):
    """A failure that a person can act on.

    Args:
        subject: what the error is about: a path, a URL, a member of an archive, an option.
        rule: what was expected and what was found instead.
        way_out: what the reader can do about it.
    """

    error_class: ClassVar[ErrorClass] = ErrorClass.PERMANENT
    exit_code: ClassVar[int] = 1

    def __init__(self, subject: object, rule: str, way_out: str) -> None:
        self.subject = printable(str(subject))
        self.rule = printable(rule)
        self.way_out = way_out
        super().__init__(f"{self.subject}: {self.rule}. {way_out}")

    def __reduce__(self) -> tuple[type[Self], tuple[str, ...]]:
        """Travel between processes as what was told, in the same class."""
        return type(self), (self.subject, self.rule, self.way_out)


class TransientError(ConversionAssetsError):
    """The same call may succeed later: a busy service, a lost connection, a killed worker."""

    error_class = ErrorClass.TRANSIENT


class PermanentError(ConversionAssetsError):
    """Repeating changes nothing until a person does something: a full disk, a missing right."""


class OrderError(PermanentError):
    """What was asked for cannot be served: a wrong source, target rule or option."""

    exit_code = 2


class PoisonedInputError(ConversionAssetsError):
    """The input itself is bad: a corrupt archive, a hostile name, impossible metadata."""

    error_class = ErrorClass.POISONED
    exit_code = 2


class OrderInterruptedError(ConversionAssetsError):
    """A person or the system asked this process to end; nothing is wrong with the order."""

    error_class = ErrorClass.TRANSIENT
    exit_code = 130

    def __init__(self) -> None:
        super().__init__("the order", "it was interrupted", "Order it again to continue.")

    def __reduce__(self) -> tuple[type[Self], tuple[str, ...]]:
        """See ``ConversionAssetsError.__reduce__``."""
        return type(self), ()
