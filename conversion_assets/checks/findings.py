"""The findings themselves: each a value, whether the thing is as it must be or not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from conversion_assets.errors import ConversionAssetsError, PermanentError
from conversion_assets.figures import Row
from conversion_assets.records import UnzippedSafe
from conversion_assets.resources.catalogue import differences
from conversion_assets.safe.manifest import Manifest
from conversion_assets.safe.verification import verify_product
from conversion_assets.stac.geometry import (
    footprint_from_geojson,
    intersection_over_union,
)
from conversion_assets.stac.validation import validate_item
from conversion_assets.zarr.product_folder import ProductFolder
from conversion_assets.zarr.summary import summarize
from conversion_assets.zarr.verification import (
    CheckOutcome,
    check_completeness,
    check_opens,
    check_times,
    check_type,
)

# Both outlines come from the same corner points; they differ by rounding and by S2 tile clipping.
SMALLEST_OVERLAP = 0.98
TIMELY, COMPLETE = "timely", "complete"
SECONDS_PER_HOUR = 3600


def manifest_finding(folder: Path, manifest: Manifest) -> CheckOutcome:
    """Compare a SAFE folder with its manifest, file by file."""
    name = "manifest_verified"
    try:
        verified = verify_product(folder, manifest)
    except ConversionAssetsError as error:
        return CheckOutcome(name, passed=False, detail=f"{error.subject}: {error.rule}")
    digests = ", ".join(f"{count} {algorithm}" for algorithm, count in sorted(verified.digests.items()))
    numbers: dict[str, int | float | str] = {
        "files": verified.files,
        "bytes": verified.total_bytes,
        "digests": digests or "none listed",
        "unlisted_files": len(verified.unlisted),
    }
    return CheckOutcome(
        name, passed=True, detail=f"{verified.files} files agree with the manifest.", numbers=numbers
    )


def product_findings(product: ProductFolder, safe: UnzippedSafe) -> Iterator[CheckOutcome]:
    """Examine a Zarr product, alone and against its SAFE; an incomplete one is not examined further."""
    complete = check_completeness(product)
    yield complete
    if not complete.passed:
        return
    yield check_opens(product)
    summary = summarize(product)
    yield check_type(summary, safe.product_type)
    yield check_times(summary, safe.start, safe.end)
    yield footprint_finding(summary.stac_discovery, safe)


def footprint_finding(stac_discovery: Mapping[str, Any], safe: UnzippedSafe) -> CheckOutcome:
    """Compare the outline that eopf wrote with that of the manifest."""
    name = "footprint_agrees"
    if not safe.footprints:
        return CheckOutcome(name, passed=True, detail="The manifest gives no footprint to compare with.")
    try:
        written = footprint_from_geojson(stac_discovery["geometry"] or {})
        overlap = intersection_over_union(written, safe.footprint())
    except (ConversionAssetsError, KeyError, TypeError) as error:
        return CheckOutcome(name, passed=False, detail=f"The product has no valid footprint: {error}.")
    return CheckOutcome(
        name,
        passed=overlap >= SMALLEST_OVERLAP,
        detail=f"{overlap:.1%} of the joint area of both outlines is common to them,"
        f" at least {SMALLEST_OVERLAP:.0%} must be.",
        numbers={"overlap": round(overlap, 5)},
    )


def item_finding(item: Mapping[str, Any]) -> CheckOutcome:
    """Validate a STAC item against the bundled schemas."""
    extensions = len(item.get("stac_extensions", ()))
    try:
        validate_item(item)
    except PermanentError as error:
        return CheckOutcome("item_valid", passed=False, detail=error.rule)
    return CheckOutcome(
        "item_valid",
        passed=True,
        detail=f"Valid STAC {item['stac_version']} with {extensions} extensions.",
        numbers={"extensions": extensions, "assets": len(item["assets"])},
    )


def publication_finding(sent: dict[str, Any], found: dict[str, Any]) -> CheckOutcome:
    """Compare the item in the catalogue with what was sent."""
    unequal = differences(sent, found)
    detail = f"It differs in {', '.join(unequal)}." if unequal else "It is what was sent."
    return CheckOutcome("item_reads_back", passed=not unequal, detail=detail)


def timeliness_finding(since_source: float | None, hours: float | None) -> CheckOutcome:
    """Judge how long after its publication at the source a product was published here.

    Args:
        since_source: seconds; None where that is not known, or where it was published here before.
        hours: the threshold; None for no judgement.
    """
    if hours is None:
        return _not_judged(TIMELY, "no threshold is set")
    if since_source is None:
        return _not_judged(TIMELY, "it was published before, or the source does not tell when it published")
    found = since_source / SECONDS_PER_HOUR
    return CheckOutcome(
        TIMELY,
        passed=found <= hours,
        detail=f"It was published {found:.2f} h after the source had, {hours:g} h are allowed.",
        numbers={"hours": round(found, 3), "allowed hours": hours},
    )


def daily_timeliness_finding(rows: Iterable[Row], hours: float | None) -> CheckOutcome:
    """Judge the rows of days and types by how soon 95 of 100 products were published."""
    if hours is None:
        return _not_judged(TIMELY, "no threshold is set")
    known = {
        _name(row): row.source_seconds_p95 / SECONDS_PER_HOUR
        for row in rows
        if row.source_seconds_p95 is not None
    }
    if not known:
        return _not_judged(TIMELY, "of no publication is known when the source had published")
    late = [f"{name}: 95 of 100 within {found:.2f} h" for name, found in known.items() if found > hours]
    return CheckOutcome(
        TIMELY,
        passed=not late,
        detail=f"{'; '.join(late) or 'All in time'}; {hours:g} h are allowed.",
        numbers={"hours": round(max(known.values()), 3), "allowed hours": hours},
    )


def completeness_finding(rows: Iterable[Row], percent: float | None) -> CheckOutcome:
    """Judge the rows of days and types by how much of what was ordered was published."""
    if percent is None:
        return _not_judged(COMPLETE, "no threshold is set")
    known = {_name(row): row for row in rows if row.completeness_percent is not None}
    if not known:
        return _not_judged(COMPLETE, "nothing was ordered")
    short = [
        f"{name}: {row.published} of {row.orders} published ({row.completeness_percent:g} %)"
        for name, row in known.items()
        if (row.completeness_percent or 0) < percent
    ]
    return CheckOutcome(
        COMPLETE,
        passed=not short,
        detail=f"{'; '.join(short) or 'Complete enough'}; {percent:g} % are asked for.",
        numbers={
            "percent": min(row.completeness_percent or 0 for row in known.values()),
            "percent asked for": percent,
        },
    )


def _not_judged(name: str, why: str) -> CheckOutcome:
    return CheckOutcome(name, passed=True, detail=f"Not judged: {why}.")


def _name(row: Row) -> str:
    return " ".join(str(part) for part in (row.day, row.product_type) if part)
