"""Many measurements as two numbers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def spread(numbers: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Give the median and the 95th percentile."""
    ordered = sorted(numbers)
    last = ordered[min(int(len(ordered) * 0.95), len(ordered) - 1)]
    return {"p50": round(statistics.median(ordered), digits), "p95": round(last, digits)}
