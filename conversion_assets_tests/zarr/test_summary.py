from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion_assets.errors import PermanentError
from conversion_assets.zarr.product_folder import local_product
from conversion_assets.zarr.summary import ArraySummary, consolidated_documents, summarize
from conversion_assets_tests.conftest import Opened
from conversion_assets_tests.safe_products import ProductKind

from .conftest import ConvertedProduct
from .handmade import NAME, band, edit_json, make_zarr, ramp


@pytest.fixture
def product(tmp_path: Path) -> Path:
    layers = [
        band("measurements/reflectance/r10m/b02", ramp(), attributes={"units": "digital_counts"}),
        band("measurements/reflectance/r10m/nested", ramp(), separator="/"),
        band("quality/mask/b02", np.zeros((10, 10), np.uint8)),
        band("conditions/angle", np.array(3.5), chunks=(), dimensions=()),
    ]
    return make_zarr(tmp_path, layers)


def test_arrays_are_described(product: Path, opened: Opened) -> None:
    arrays = {array.path: array for array in summarize(opened(product)).arrays}
    folder = product / "measurements/reflectance/r10m/b02"
    assert arrays["measurements/reflectance/r10m/b02"] == ArraySummary(
        path="measurements/reflectance/r10m/b02",
        dimensions=("y", "x"),
        shape=(10, 10),
        chunks=(4, 4),
        dtype="uint16",
        stored_bytes=sum(file.stat().st_size for file in folder.glob("[0-9]*")),
        units="digital_counts",
    )
    assert arrays["conditions/angle"].shape == ()
    assert arrays["conditions/angle"].dtype == "float64"


def test_chunks_in_folders_count_for_their_array(product: Path) -> None:
    arrays = {array.path: array.stored_bytes for array in summarize(local_product(product)).arrays}
    flat, nested = (arrays[f"measurements/reflectance/r10m/{name}"] for name in ("b02", "nested"))
    assert flat == nested > 0


def test_the_whole_is_described(product: Path, opened: Opened) -> None:
    files = [path for path in product.rglob("*") if path.is_file()]
    summary = summarize(opened(product))
    assert summary.name == NAME
    assert summary.product_type == "S02MSIL1C"
    assert summary.objects == len(files)
    assert summary.total_bytes == sum(file.stat().st_size for file in files)
    assert summary.measurement_groups == ("measurements/reflectance/r10m",)
    assert [array.path for array in summary.arrays] == sorted(array.path for array in summary.arrays)
    assert summary.stac_discovery["type"] == "Feature"


def test_measurements_of_sub_products_are_found(tmp_path: Path) -> None:
    paths = [f"S01_{polarisation}/measurements" for polarisation in ("VH", "VV")]
    product = make_zarr(tmp_path, [band(f"{path}/grd", ramp()) for path in paths])
    assert summarize(local_product(product)).measurement_groups == tuple(paths)


def test_the_type_may_stand_in_the_other_metadata(product: Path) -> None:
    def move(document: dict[str, Any]) -> None:
        root = document["metadata"][".zattrs"]
        root["other_metadata"]["product_type"] = root["stac_discovery"]["properties"].pop("product:type")

    edit_json(product / ".zmetadata", move)
    assert summarize(local_product(product)).product_type == "S02MSIL1C"


def test_missing_metadata_are_refused(product: Path, opened: Opened) -> None:
    (product / ".zmetadata").unlink()
    with pytest.raises(PermanentError, match=r"\.zmetadata: it cannot be read.*Convert the product again"):
        summarize(opened(product))


@pytest.mark.parametrize(
    "content",
    [
        "",
        '{"zarr_consolidated_format": 1, "metadata": {',
        "[]",
        '{"zarr_consolidated_format": 2, "metadata": {}}',
        '{"zarr_consolidated_format": 1}',
        '{"zarr_consolidated_format": 1, "metadata": {".zattrs": 3}}',
        "[" * 100_000,
        "\udcff",
    ],
)
def test_other_content_is_refused(product: Path, content: str) -> None:
    (product / ".zmetadata").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(PermanentError, match="zmetadata"):
        summarize(local_product(product))


@pytest.mark.parametrize(
    "root",
    [
        {},
        {"stac_discovery": 3},
        {"stac_discovery": {"properties": {}}},
        {"stac_discovery": {"properties": 3}},
    ],
)
def test_products_without_a_type_are_refused(product: Path, root: dict[str, Any]) -> None:
    edit_json(product / ".zmetadata", lambda document: document["metadata"].update({".zattrs": root}))
    with pytest.raises(PermanentError, match="not that of an EOPF product"):
        summarize(local_product(product))


def test_arrays_without_a_layout_are_refused(product: Path) -> None:
    edit_json(product / ".zmetadata", lambda document: document["metadata"].update({"x/.zarray": {}}))
    with pytest.raises(PermanentError, match="not that of an EOPF product"):
        summarize(local_product(product))


def test_a_summary_needs_no_array_library() -> None:
    loaded = "sorted({'numpy', 'zarr', 'xarray'} & set(sys.modules))"
    code = f"import sys, conversion_assets.zarr.summary; print({loaded})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"[]\n"


@pytest.mark.parametrize("kind", ProductKind)
def test_products_of_eopf_are_summarized(converted: ConvertedProduct, kind: ProductKind) -> None:
    product = converted(kind)
    summary = summarize(local_product(product))
    assert product.name == f"{summary.name}.zarr"
    assert summary.product_type == summary.name[:9]
    assert summary.objects == sum(path.is_file() for path in product.rglob("*"))
    assert len(summary.arrays) == sum(
        key.endswith(".zarray") for key in consolidated_documents(local_product(product))
    )
    assert all(array.stored_bytes for array in summary.arrays)
    assert summary.measurement_groups
