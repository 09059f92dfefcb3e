from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import xarray

from conversion_assets.assets.metadata import product_metadata, published_metadata, quicklook_metadata
from conversion_assets.figures import Delays, Figures
from conversion_assets.records import PublishedProduct, ZarrProduct
from conversion_assets.zarr.product_folder import ProductFolder, local_product
from conversion_assets.zarr.summary import summarize
from conversion_assets_tests.checks.test_findings import safe
from conversion_assets_tests.conftest import Opened
from conversion_assets_tests.zarr.handmade import NAME, band, make_zarr, ramp

NOW = datetime(2024, 6, 15, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_zarr(tmp_path, [band("measurements/lst", ramp(12, 12))])


def metadata_of(product: ProductFolder) -> dict[str, Any]:
    summary = summarize(product)
    record = ZarrProduct(
        safe=safe(),
        uri=product.uri,
        name=NAME,
        eopf_version="2.8.1",
        converted=NOW,
        created=NOW,
        figures=Figures.of(None, summary.total_bytes, summary.objects),
    )
    return quicklook_metadata(product) | product_metadata(product, summary, record, None, seconds=2.0)


def test_the_statement_that_opens_a_product_does(folder: Path, opened: Opened) -> None:
    statement = metadata_of(opened(folder))["open with"]
    tree = eval(statement, {"xarray": xarray})  # noqa: S307 - it is shown to be copied into Python
    assert tree["measurements"]["lst"].values[-1, -1] == ramp(12, 12)[-1, -1]
    tree.close()


def test_a_product_in_a_folder_has_a_path(folder: Path) -> None:
    metadata = metadata_of(local_product(folder))
    assert metadata["path"] == dg.MetadataValue.path(str(folder))
    assert metadata["open with"] == f'xarray.open_datatree("{folder}", engine="zarr")'


def test_a_product_in_a_bucket_has_an_address_only(folder: Path, in_bucket: Opened) -> None:
    stored, local = metadata_of(in_bucket(folder)), metadata_of(local_product(folder))
    assert "path" not in stored
    assert stored["zarr"].url.startswith("s3://products/")
    shared = stored.keys() - {"zarr", "open with"}
    assert {name: stored[name] for name in shared} == {name: local[name] for name in shared}
    assert {"quicklook", "arrays", "objects", "MB"} <= shared


def test_credentials_stay_out(folder: Path, in_bucket: Opened, s3_files: Any) -> None:  # noqa: ANN401 - no types
    shown = str(metadata_of(in_bucket(folder)))
    assert s3_files.endpoint_url in shown
    assert "anything" not in shown
    assert "someone" not in shown


def test_publication_tells_all_numbers_and_no_more() -> None:
    record = PublishedProduct(
        order=safe().order,
        product_uri="s3://products/X.zarr",
        product_type="S02MSIL1C",
        item_href="https://catalogue.test/X",
        derived_from="https://source.test/X",
    )
    figures = Figures(cpu_seconds=100.5, peak_memory_bytes=1_500_000_000, bytes_read=10**9, objects=700)
    told = published_metadata(record, figures, Delays(since_source=3600), 2.0)
    numbers = {name: value for name, value in told.items() if isinstance(value, int | float)}
    assert numbers == {
        "cpu seconds": 100.5,
        "peak memory MB": 1500.0,
        "MB read": 1000.0,
        "objects": 700,
        "seconds since publication at source": 3600,
        "seconds": 2.0,
    }
