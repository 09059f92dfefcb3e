"""The kinds of product that can be made, and how small each may become."""

from __future__ import annotations

from enum import StrEnum

from conversion_assets.errors import OrderError


class ProductKind(StrEnum):
    """A legacy product type of the Copernicus Sentinels."""

    S1_IW_GRDH = "S1_IW_GRDH"
    S2_MSI_L1C = "S2_MSI_L1C"
    S2_MSI_L2A = "S2_MSI_L2A"
    S3_OL_EFR = "S3_OL_EFR"
    S3_OL_ERR = "S3_OL_ERR"

    @property
    def mission(self) -> str:
        """Name of the mission: ``S1``, ``S2`` or ``S3``."""
        return self.value[:2]


NSSDC_IDENTIFIERS = {
    "S1": {"A": "2014-016A", "B": "2016-025A", "C": "2024-227A"},
    "S2": {"A": "2015-028A", "B": "2017-013A", "C": "2024-157A"},
    "S3": {"A": "2016-011A", "B": "2018-039A"},
}
"""International designators of the satellites (https://nssdc.gsfc.nasa.gov/nmc/)."""


def checked_unit(kind: ProductKind, unit: str | None) -> str:
    """Return the letter of the satellite, by default the first of its mission.

    Raises:
        OrderError: the mission has no such satellite.
    """
    known = NSSDC_IDENTIFIERS[kind.mission]
    if unit is None:
        return next(iter(known))
    if unit not in known:
        raise OrderError(unit, f"no satellite of {kind.mission}", f"Choose one of {', '.join(known)}.")
    return unit
