from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from conversion_assets.errors import ConversionAssetsError, PermanentError
from conversion_assets.resources.converter import ChildProcessConverter
from conversion_assets.zarr.conversion import ConversionRequest
from conversion_assets_tests.safe.products import product


def converter(seconds: float = 60) -> ChildProcessConverter:
    return ChildProcessConverter(threads=1, memory_limit_bytes=2**33, time_limit_seconds=seconds)


@pytest.fixture
def request_of_no_product(tmp_path: Path) -> ConversionRequest:
    """Make a product whose name and manifest are right and that holds nothing eopf can read."""
    for name in ("output", "scratch"):
        (tmp_path / name).mkdir()
    return ConversionRequest(
        safe=product(tmp_path), output=tmp_path / "output", scratch=tmp_path / "scratch", threads=1
    )


def test_version_of_eopf_is_told_without_loading_it() -> None:
    assert converter().eopf_version() == version("eopf")


def test_product_that_eopf_refuses_leaves_no_output(request_of_no_product: ConversionRequest) -> None:
    with pytest.raises(ConversionAssetsError, match="S1A_IW_GRDH"):
        converter().convert(request_of_no_product, lambda _: None)
    assert not list(request_of_no_product.output.glob("*.zarr"))


def test_limits_of_the_resource_bound_the_process(request_of_no_product: ConversionRequest) -> None:
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(PermanentError, match="TIME_LIMIT"):
        converter(seconds=0.001).convert(request_of_no_product, lambda _: None)
    assert set(psutil.Process().children(recursive=True)) <= before
