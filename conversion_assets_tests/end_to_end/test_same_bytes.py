from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from conversion_assets_tests.end_to_end import real_convert
from conversion_assets_tests.end_to_end.command import timeless
from conversion_assets_tests.end_to_end.shared import ARCHIVES, PublishedProducts
from conversion_assets_tests.safe_products import ProductKind


@pytest.mark.parametrize("kind", ARCHIVES)
def test_product_is_that_of_eopf_convert(
    published: PublishedProducts, kind: ProductKind, tmp_path: Path
) -> None:
    safe = published.folders[kind]
    # eopf writes index files beside the input: it gets a copy.
    copy = shutil.copytree(safe, tmp_path / "input" / safe.name)
    command = [sys.executable, "-m", real_convert.__name__, str(copy), f"{tmp_path}/output/"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    ours = Path(unquote(urlsplit(published.result(kind)["product"]).path))
    assert ours.stem == done.stdout
    assert timeless(ours) == timeless(tmp_path / "output" / ours.name)
