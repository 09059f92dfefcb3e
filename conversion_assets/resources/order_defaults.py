"""What holds for every order that says nothing else, as configuration."""

from __future__ import annotations

import dagster as dg


class OrderDefaults(dg.ConfigurableResource):  # type: ignore[type-arg] # the resource provides itself
    """The owner of orders that name none, and where orders may lead.

    Attributes:
        owner: owner of orders that name none.
        schemes: URL schemes from which may be read.
    """

    owner: str
    schemes: list[str]
