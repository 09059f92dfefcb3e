"""Products that eopf itself wrote: those of the shared home, which are converted once in a session."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from conversion_assets_tests.end_to_end.shared import published_products
from conversion_assets_tests.safe_products import ProductKind

ConvertedProduct = Callable[[ProductKind], Path]


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> ConvertedProduct:
    """Give the product of a kind, which nobody writes to."""
    published = published_products(tmp_path_factory)
    return lambda kind: Path(unquote(urlsplit(published.result(kind)["product"]).path))


@pytest.fixture
def other_file_system(tmp_path: Path) -> Iterator[Path]:
    memory = Path("/dev/shm")  # noqa: S108 - the one folder that is a file system of its own on most machines
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    folder = Path(tempfile.mkdtemp(dir=memory))
    yield folder
    shutil.rmtree(folder)
