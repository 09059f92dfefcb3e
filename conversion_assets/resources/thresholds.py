"""What an operator has promised: how soon products are published, and how many of them."""

from __future__ import annotations

import dagster as dg


class Thresholds(dg.ConfigurableResource):  # type: ignore[type-arg] # the resource provides itself
    """What publications are judged by; what is not set is not judged.

    Attributes:
        timeliness_hours: from publication at the source to publication here.
        completeness_percent: of what was ordered on a day.
    """

    timeliness_hours: float | None = None
    completeness_percent: float | None = None
