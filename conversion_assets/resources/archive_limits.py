"""How much an archive may unpack to, as configuration."""

from __future__ import annotations

import dagster as dg

from conversion_assets.safe.members import ExtractionLimits


class ArchiveLimits(dg.ConfigurableResource):  # type: ignore[type-arg] # the resource provides itself
    """Bounds for one archive.

    Attributes:
        max_entries: files and folders.
        max_bytes: bytes of all files together.
        max_ratio: unpacked bytes per archive byte.
    """

    max_entries: int
    max_bytes: int
    max_ratio: float

    def limits(self) -> ExtractionLimits:
        """Give the limits as the archive reader takes them."""
        return ExtractionLimits(
            max_entries=self.max_entries, max_total_bytes=self.max_bytes, max_ratio=self.max_ratio
        )
