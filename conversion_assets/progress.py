"""Sentences about work that takes a while, not more often than people read."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS_BETWEEN = 5.0


def percent(
    tell: Callable[[str], None], what: str, seconds: float = SECONDS_BETWEEN
) -> Callable[[int, int], None]:
    """Tell how far something is, now and then.

    Args:
        tell: receives sentences.
        what: what is being done, such as ``copying X.zip``.
        seconds: the shortest time between two sentences.

    Returns:
        A function to call with what is done and what there is to do, in any unit.
    """
    last = time.monotonic()

    def told(done: int, whole: int) -> None:
        nonlocal last
        now = time.monotonic()
        if whole > 0 and now - last >= seconds:
            last = now
            tell(f"{what}: {min(done / whole, 1):.0%}")

    return told
