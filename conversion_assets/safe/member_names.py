"""Which names a member of a product may have, and which names may stand beside each other."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath
from typing import Final

from conversion_assets.safe.faults import InputFaultError

# Limits of Linux file systems: NAME_MAX, and a quarter of PATH_MAX to leave room for the destination.
MAX_SEGMENT_BYTES: Final = 255
MAX_NAME_BYTES: Final = 1024

_DRIVE_LETTER = re.compile(r"[A-Za-z]:")


def member_path(name: str) -> PurePosixPath:
    """Check the name of a member and give it as a path relative to the product's parent.

    Args:
        name: the name as the archive or manifest spells it, without a trailing slash.

    Returns:
        The same name as a path: relative, without ``.`` or ``..``, safe to join to a folder.

    Raises:
        InputFaultError: naming the rule that the name breaks.
    """
    for rule, is_broken in (
        ("a name may not be empty", not name),
        ("a name may not be absolute", name.startswith("/")),
        ("a name may not begin with a drive letter", bool(_DRIVE_LETTER.match(name))),
        ("a name may not hold a backslash", "\\" in name),
        ("a name may not hold control or undecodable characters", _has_unprintable(name)),
    ):
        if is_broken:
            raise InputFaultError(rule, name)
    for segment in name.split("/"):
        _check_segment(segment, name)
    if len(name.encode()) > MAX_NAME_BYTES:
        raise InputFaultError(f"a name may not be longer than {MAX_NAME_BYTES} bytes", name)
    return PurePosixPath(name)


def _has_unprintable(name: str) -> bool:
    return any(unicodedata.category(character) in ("Cc", "Cs") for character in name)


def _check_segment(segment: str, name: str) -> None:
    if not segment:
        raise InputFaultError("a name may not hold an empty segment", name)
    if segment in (".", ".."):
        raise InputFaultError(f"a name may not hold the segment {segment!r}", name)
    if len(segment.encode()) > MAX_SEGMENT_BYTES:
        raise InputFaultError(f"a segment of a name may not be longer than {MAX_SEGMENT_BYTES} bytes", name)


class ClaimedNames:
    """The names taken so far, compared as a case-blind, normalising file system would.

    Two names that differ only by case or by Unicode normalisation are the same file on some systems
    and two on others, so they may not stand together.
    """

    def __init__(self) -> None:
        self._spellings: dict[str, str] = {}
        self._files: set[str] = set()
        self._listed: set[str] = set()

    def __len__(self) -> int:
        """Count the files and folders, folders that are only implied included."""
        return len(self._spellings)

    def claim(self, path: PurePosixPath, *, is_directory: bool) -> None:
        """Take a name, and with it the folders that lead to it.

        Args:
            path: a path that `member_path` accepted.
            is_directory: whether the member is a folder.

        Raises:
            InputFaultError: where the name, or a folder on its way, was taken as something else.
        """
        for parent in reversed(path.parents[:-1]):
            self._claim_folder(str(parent))
        name = str(path)
        folded = fold(name)
        if folded in self._listed or (folded in self._spellings and not is_directory):
            raise InputFaultError(f"the name is used twice (before: {self._spellings[folded]!a})", name)
        self._claim_folder(name)
        self._listed.add(folded)
        if not is_directory:
            self._files.add(folded)

    def _claim_folder(self, name: str) -> None:
        folded = fold(name)
        if folded in self._files:
            raise InputFaultError("a file may not be used as a folder as well", name)
        if self._spellings.setdefault(folded, name) != name:
            first = ascii(self._spellings[folded])
            raise InputFaultError(f"the name differs from {first} only by case or normalisation", name)


def fold(name: str) -> str:
    """Give what is the same for all names that some file system takes for one and the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
