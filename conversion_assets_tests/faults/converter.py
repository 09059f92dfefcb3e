"""The null converter with the names that eopf gives, by which upkeep knows what is left of a product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from benchmarks.null_conversion import NullConverter
from conversion_assets.zarr.conversion import Assignment, Conversion

START, CHECKSUM = 4, -1
"""Parts of the name of a Sentinel-1 SAFE."""


class NamingConverter(NullConverter):
    """Converts nothing, and names the product as eopf would."""

    def convert(self, assignment: Assignment, tell: Callable[[str], None]) -> Conversion:
        """See ``Converter.convert``."""
        made = super().convert(assignment, tell)
        parts = assignment.safe.stem.split("_")
        name = f"S01SIWGRD_{parts[START]}_0025_A337_{parts[CHECKSUM]}"
        written = assignment.workspace.local_output() / f"{made.name}.zarr"
        return replace(made, uri=written.rename(written.with_name(f"{name}.zarr")).as_uri(), name=name)
