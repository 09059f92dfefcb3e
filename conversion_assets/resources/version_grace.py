"""For how long a superseded version of a product stays: its readers finish, and new ones take the new one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg


class VersionGrace(dg.ConfigurableResource):  # type: ignore[type-arg] # the resource provides itself
    """The time between the publication of a version and the end of the one before it.

    Attributes:
        days: how long.
    """

    days: float = 7

    def end(self) -> datetime:
        """Give the end of a version that is superseded now, in whole seconds."""
        return datetime.now(UTC).replace(microsecond=0) + timedelta(days=self.days)
