"""Products that eopf itself wrote, each converted at most once in a session."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from conversion_assets.zarr.conversion import ConversionRequest
from conversion_assets_tests.safe_products import ProductKind, make_product

ConvertedProduct = Callable[[ProductKind], Path]


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> ConvertedProduct:
    @cache
    def convert(kind: ProductKind) -> Path:
        folder = tmp_path_factory.mktemp(kind.value)
        output, scratch = folder / "output", folder / "scratch"
        output.mkdir()
        scratch.mkdir()
        with warnings.catch_warnings():
            # rasterio 1.3 multiplies affine transforms with the operator that affine 3 gives up.
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            safe = make_product(kind, folder / "input", scale=0.01)
        request = ConversionRequest(safe=safe, output=output, scratch=scratch)
        engine = [sys.executable, "-m", "conversion_assets.zarr.engine"]
        subprocess.run(
            engine, input=request.model_dump_json() + "\n", text=True, check=True, capture_output=True
        )
        (product,) = output.iterdir()
        return product

    return convert


@pytest.fixture
def other_file_system(tmp_path: Path) -> Iterator[Path]:
    memory = Path("/dev/shm")  # noqa: S108 - the one folder that is a file system of its own on most machines
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    folder = Path(tempfile.mkdtemp(dir=memory))
    yield folder
    shutil.rmtree(folder)
