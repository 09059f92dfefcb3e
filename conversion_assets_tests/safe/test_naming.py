from __future__ import annotations

import pytest

from conversion_assets.safe.naming import ARCHIVE_SUFFIXES, product_name, without_archive_suffix


@pytest.mark.parametrize("archive_suffix", ["", *ARCHIVE_SUFFIXES, ".ZIP"])
@pytest.mark.parametrize("product_suffix", ["", ".SAFE", ".SEN3"])
def test_suffixes_of_archive_and_product_are_taken_off(product_suffix: str, archive_suffix: str) -> None:
    assert product_name(f"S2A_N01.01{product_suffix}{archive_suffix}") == "S2A_N01.01"
    assert without_archive_suffix(f"X{product_suffix}{archive_suffix}") == f"X{product_suffix}"
