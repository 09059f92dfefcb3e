"""Who converts: written into the items."""

from __future__ import annotations

import dagster as dg


class Facility(dg.ConfigurableResource):  # type: ignore[type-arg] # the resource provides itself
    """The processing facility.

    Attributes:
        name: value of ``processing:facility``; None leaves it out.
    """

    name: str | None = None
