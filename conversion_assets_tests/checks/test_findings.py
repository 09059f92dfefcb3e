from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from conversion_assets.checks.findings import (
    SMALLEST_OVERLAP,
    completeness_finding,
    daily_timeliness_finding,
    footprint_finding,
    item_finding,
    manifest_finding,
    product_findings,
    publication_finding,
    timeliness_finding,
)
from conversion_assets.errors import PermanentError
from conversion_assets.figures import Row
from conversion_assets.orders import Order
from conversion_assets.records import UnzippedSafe
from conversion_assets.safe.manifest import read_manifest
from conversion_assets.zarr.product_folder import local_product
from conversion_assets_tests.conftest import Opened
from conversion_assets_tests.resources.items import item
from conversion_assets_tests.safe.products import CONTENTS, product
from conversion_assets_tests.zarr.handmade import END, START, band, edit_json, make_zarr, ramp

RING = ((6.0, 45.0), (7.0, 45.0), (7.0, 46.0), (6.0, 46.0))


def polygon(west: float = 6, east: float = 7) -> dict[str, Any]:
    ring = [[west, 45], [east, 45], [east, 46], [west, 46], [west, 45]]
    return {"geometry": {"type": "Polygon", "coordinates": [ring]}}


def safe(**changes: object) -> UnzippedSafe:
    facts: dict[str, Any] = {
        "order": Order(key="X", item_id="X", href="s3://b/X.zip", derived_from="s3://b/X.zip", owner="o"),
        "folder": Path("/staging/X/unzipped/X.SAFE"),
        "files": 3,
        "total_bytes": 3000,
        "fingerprint": "f" * 64,
        "product_type": "S02MSIL1C",
        "collection": "sentinel-2-l1c",
        "start": datetime.fromisoformat(START),
        "end": datetime.fromisoformat(END),
        "footprints": (RING,),
    }
    return UnzippedSafe.model_validate(facts | changes)


def test_folder_that_agrees_with_its_manifest_passes(tmp_path: Path) -> None:
    folder = product(tmp_path)
    finding = manifest_finding(folder, read_manifest(folder))
    assert finding.passed
    assert finding.numbers["files"] == len(CONTENTS)
    assert finding.numbers["digests"] == f"{len(CONTENTS)} MD5"


@pytest.mark.parametrize("fault", ["missing", "changed", "longer"])
def test_folder_that_does_not_agree_is_named(fault: str, tmp_path: Path) -> None:
    folder = product(tmp_path)
    manifest = read_manifest(folder)
    file = folder / "data" / "one.bin"
    if fault == "missing":
        file.unlink()
    else:
        file.write_bytes(b"two" * 1000 if fault == "changed" else b"one" * 1001)
    finding = manifest_finding(folder, manifest)
    assert not finding.passed
    assert "data/one.bin" in finding.detail


def healthy(folder: Path) -> Path:
    layers = [band(f"measurements/reflectance/b0{number}", ramp()) for number in range(1, 4)]
    path = make_zarr(folder, layers)
    for name in (".zattrs", ".zmetadata"):
        edit_json(path / name, set_geometry)
    return path


def set_geometry(document: dict[str, Any]) -> None:
    attributes = document["metadata"][".zattrs"] if "metadata" in document else document
    attributes["stac_discovery"]["geometry"] = polygon()["geometry"]


def test_healthy_product_passes_every_check(tmp_path: Path, opened: Opened) -> None:
    findings = list(product_findings(opened(healthy(tmp_path)), safe()))
    assert [finding.name for finding in findings] == [
        "zarr_complete",
        "zarr_opens",
        "zarr_type",
        "zarr_times",
        "footprint_agrees",
    ]
    assert all(finding.passed for finding in findings), findings


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"product_type": "S02MSIL2A"}, "zarr_type"),
        ({"start": datetime.fromisoformat("2024-06-15T10:20:00Z")}, "zarr_times"),
        ({"footprints": (((16, 45), (17, 45), (17, 46), (16, 46)),)}, "footprint_agrees"),
    ],
)
def test_product_of_another_safe_fails(changes: dict[str, Any], failed: str, tmp_path: Path) -> None:
    findings = product_findings(local_product(healthy(tmp_path)), safe(**changes))
    assert [finding.name for finding in findings if not finding.passed] == [failed]


def test_incomplete_product_is_not_examined_further(tmp_path: Path) -> None:
    path = healthy(tmp_path)
    (path / "measurements" / "reflectance" / "b02" / "0.0").unlink()
    (finding,) = product_findings(local_product(path), safe())
    assert (finding.name, finding.passed) == ("zarr_complete", False)


@pytest.mark.parametrize(("east", "passed"), [(7.0, True), (7.01, True), (7.1, False), (8.0, False)])
def test_footprints_agree_up_to_rounding(east: float, passed: bool) -> None:
    finding = footprint_finding(polygon(east=east), safe())
    assert finding.passed is passed
    assert (float(finding.numbers["overlap"]) >= SMALLEST_OVERLAP) is passed


@pytest.mark.parametrize(
    "discovery",
    [{}, {"geometry": None}, {"geometry": {}}, {"geometry": {"type": "Point", "coordinates": [0, 0]}}],
)
def test_product_without_footprint_fails(discovery: dict[str, Any]) -> None:
    assert not footprint_finding(discovery, safe()).passed


def test_safe_without_footprint_cannot_be_compared_nor_published() -> None:
    assert footprint_finding(polygon(), safe(footprints=())).passed
    with pytest.raises(PermanentError, match="gives no footprint"):
        safe(footprints=()).footprint()


def test_valid_item_passes_and_an_invalid_one_says_why() -> None:
    assert item_finding(item()).passed
    broken = item()
    broken["properties"]["datetime"] = "yesterday"
    finding = item_finding(broken)
    assert not finding.passed
    assert "datetime" in finding.detail


def test_publication_is_compared_field_by_field() -> None:
    assert publication_finding(item(), item()).passed
    finding = publication_finding(item(), item(href="s3://elsewhere/x.zarr"))
    assert (finding.passed, finding.detail) == (False, "It differs in assets.product.")


@pytest.mark.parametrize(
    ("seconds", "hours", "passed", "said"),
    [
        (7200.0, 2.0, True, "2.00 h after the source had, 2 h are allowed"),
        (7300.0, 2.0, False, "2.03 h after"),
        (7300.0, None, True, "Not judged: no threshold"),
        (None, 2.0, True, "Not judged: it was published before, or the source does not tell"),
    ],
)
def test_timeliness_is_judged_where_it_is_known(
    seconds: float | None, hours: float | None, passed: bool, said: str
) -> None:
    finding = timeliness_finding(seconds, hours)
    assert finding.passed is passed
    assert said in finding.detail


DAYS = (
    Row(
        day=date(2026, 3, 1),
        product_type="S02MSIL1C",
        orders=8,
        published=7,
        completeness_percent=87.5,
        source_seconds_p95=9000,
    ),
    Row(day=date(2026, 3, 1), product_type="S03OLCEFR", orders=2, published=2, completeness_percent=100),
    Row(day=date(2026, 3, 2), product_type="S02MSIL1C", publications=1, source_seconds_p95=3600),
)


def test_days_are_complete_when_each_type_is() -> None:
    assert completeness_finding(DAYS, 87.5).passed
    short = completeness_finding(DAYS, 90)
    assert not short.passed
    assert short.detail == "2026-03-01 S02MSIL1C: 7 of 8 published (87.5 %); 90 % are asked for."
    assert short.numbers["percent"] == 87.5


def test_days_are_timely_when_each_type_is() -> None:
    assert daily_timeliness_finding(DAYS, 2.5).passed
    late = daily_timeliness_finding(DAYS, 2)
    assert not late.passed
    assert late.detail == "2026-03-01 S02MSIL1C: 95 of 100 within 2.50 h; 2 h are allowed."
    assert late.numbers["hours"] == 2.5


def test_days_without_threshold_or_orders_are_not_judged() -> None:
    for judge in (completeness_finding, daily_timeliness_finding):
        for finding in (judge(DAYS, None), judge((), 99)):
            assert finding.passed
            assert finding.detail.startswith("Not judged: ")
