"""The checks as Dagster knows them: names, sentences, and what a failed one means for the input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import dagster as dg

from conversion_assets.checks.findings import COMPLETE, TIMELY
from conversion_assets.errors import (
    ConversionAssetsError,
    PermanentError,
    PoisonedInputError,
    TransientError,
)
from conversion_assets.zarr.verification import CheckOutcome


@dataclass(frozen=True)
class Rule:
    """One check of one asset.

    Attributes:
        asset: name of the asset.
        name: name of the check.
        description: what must hold.
        failure: class of the error when it does not; None where that stops nothing and is a warning only.
        way_out: what a person can do then.
        about: what it judges one of.
    """

    asset: str
    name: str
    description: str
    failure: type[ConversionAssetsError] | None
    way_out: str
    about: str = "product"

    @property
    def spec(self) -> dg.AssetCheckSpec:
        """The check for the asset's definition."""
        return dg.AssetCheckSpec(
            self.name, asset=self.asset, description=self.description, blocking=self.failure is not None
        )

    @property
    def severity(self) -> dg.AssetCheckSeverity:
        """How bad it is when it does not hold."""
        return dg.AssetCheckSeverity.ERROR if self.failure else dg.AssetCheckSeverity.WARN


FETCH_AGAIN = "Fetch the product again from its provider; if it arrives the same, report it there."
REPORT = "Order the product again; if it happens again, report it with this message."

RULES = (
    Rule(
        "unzipped_safe",
        "manifest_verified",
        "Every file that the manifest lists is present with its size and checksum.",
        PoisonedInputError,
        FETCH_AGAIN,
    ),
    Rule(
        "zarr_product",
        "zarr_complete",
        "The consolidated metadata is there and every chunk that its shapes ask for.",
        PermanentError,
        REPORT,
    ),
    Rule(
        "zarr_product",
        "zarr_opens",
        "xarray.open_datatree opens it, and its measurements hold finite data.",
        PoisonedInputError,
        FETCH_AGAIN,
    ),
    Rule(
        "zarr_product",
        "zarr_type",
        "The product type in the Zarr is the one that the SAFE name announces.",
        PoisonedInputError,
        "Report the product: its name and its content disagree.",
    ),
    Rule(
        "zarr_product",
        "zarr_times",
        "Start and end are those of the SAFE manifest.",
        PoisonedInputError,
        "Report the product: its metadata files disagree.",
    ),
    Rule(
        "zarr_product",
        "footprint_agrees",
        "The footprint is that of the SAFE manifest.",
        PoisonedInputError,
        "Report the product: its metadata files disagree.",
    ),
    Rule(
        "stac_item",
        "item_valid",
        "The item is valid STAC 1.1, extensions included.",
        PermanentError,
        REPORT,
    ),
    Rule(
        "published_item",
        "item_reads_back",
        "The item in the catalogue is the one that was sent.",
        TransientError,
        "It is published a few times; order it again later.",
    ),
    Rule(
        "published_item",
        TIMELY,
        "It was published within CONVERSION_ASSETS_TIMELINESS_HOURS of its publication at the source.",
        None,
        "See in its run which step took long, and when the sensor ordered it.",
    ),
    Rule(
        "daily_report",
        TIMELY,
        "95 of 100 products of each type that were published that day were so in time.",
        None,
        "See by 'conversion-assets report --by product' which ones were late.",
        about="day",
    ),
    Rule(
        "daily_report",
        COMPLETE,
        "Of what was ordered that day, CONVERSION_ASSETS_COMPLETENESS_PERCENT of each type was published.",
        None,
        "See by 'conversion-assets quarantine list' what failed, and replay it.",
        about="day",
    ),
)


def check_specs(asset: str) -> list[dg.AssetCheckSpec]:
    """Give the checks of an asset for its definition."""
    return [rule.spec for rule in RULES if rule.asset == asset]


def judged(asset: str, subject: object, outcomes: Iterable[CheckOutcome]) -> Iterator[dg.AssetCheckResult]:
    """Record outcomes as check results, then stop at the first that failed and is more than a warning.

    Raises:
        ConversionAssetsError: of the class that the rule names, when such a check failed.
    """
    rules = {rule.name: rule for rule in RULES if rule.asset == asset}
    found = [(rules[outcome.name], outcome) for outcome in outcomes]
    for rule, outcome in found:
        yield dg.AssetCheckResult(
            passed=outcome.passed,
            severity=rule.severity,
            asset_key=asset,
            check_name=rule.name,
            description=outcome.detail,
            metadata={rule.about: str(subject), **outcome.numbers},  # a check result names no partition
        )
    for rule, outcome in found:
        if not outcome.passed and rule.failure is not None:
            raise rule.failure(subject, outcome.detail.rstrip("."), rule.way_out)
