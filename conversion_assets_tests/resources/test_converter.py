from __future__ import annotations

from pathlib import Path

import pytest

from conversion_assets.resources.converter import ChildProcessConverter
from conversion_assets.resources.folder_object_store import FolderObjectStore
from conversion_assets.resources.object_store import Shelf
from conversion_assets_tests.contracts.converter import ConverterBench, ConverterContract, expected, safe

__all__ = ["expected", "safe"]


@pytest.fixture
def bench(tmp_path: Path) -> ConverterBench:
    return ConverterBench(
        converter=lambda seconds: ChildProcessConverter(memory_limit_bytes=2**33, time_limit_seconds=seconds),
        store=FolderObjectStore(root=str(tmp_path / "home")),
        shelf=Shelf(bucket="products", owner="someone", collection="sentinel-3"),
        folder=tmp_path,
        leftovers=list,
    )


class TestChildProcessConverter(ConverterContract):
    pass
