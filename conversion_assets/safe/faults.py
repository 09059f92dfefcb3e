"""A broken rule found inside an input, before it is known which input it was."""

from __future__ import annotations

from pathlib import Path

from conversion_assets.errors import PoisonedInputError

_SHOWN_CHARACTERS = 200
_WAY_OUT = (
    "Fetch the product again from its provider, comparing size and checksum; "
    "if it arrives the same, report it to the provider and order another product."
)


class InputFaultError(Exception):
    """A rule that the input breaks; `refusal` turns it into the error that people read.

    Args:
        rule: what was expected and what was found instead.
        member: the part at fault, as the input spells it; None where it is the whole.
    """

    def __init__(self, rule: str, member: str | None = None) -> None:
        self.rule = rule
        self.member = member
        super().__init__(rule)


def refusal(source: Path, rule: str, member: str | None = None) -> PoisonedInputError:
    """Build the error that refuses an input as a whole.

    Args:
        source: the archive, folder or document that is refused.
        rule: the rule that is broken.
        member: the part of it at fault; shown escaped and shortened, since it may be hostile.

    Returns:
        The error, to be raised by the caller.
    """
    subject = str(source) if member is None else f"{source}, member {member[:_SHOWN_CHARACTERS]!a}"
    return PoisonedInputError(subject, rule, _WAY_OUT)
