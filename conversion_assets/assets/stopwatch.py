"""Wall time of a step."""

from __future__ import annotations

import time


class Stopwatch:
    """Counts seconds from its making."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def seconds(self) -> float:
        """Wall seconds so far."""
        return round(time.perf_counter() - self._start, 3)
