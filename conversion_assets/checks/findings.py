"""The findings themselves: each a value, whether the thing is as it must be or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from conversion_assets.errors import ConversionAssetsError, PermanentError
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
