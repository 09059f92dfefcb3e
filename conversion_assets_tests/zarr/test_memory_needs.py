from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from conversion_assets.safe.product_types import all_product_types
from conversion_assets.zarr.memory_needs import all_memory_needs, expected_memory

GIB = 2**30


@pytest.mark.parametrize("row", all_memory_needs(), ids=lambda row: row.eopf_type)
def test_every_row_is_for_a_type_that_is_converted(row: object) -> None:
    pattern = str(getattr(row, "eopf_type", ""))
    first = {
        next(one.eopf_type for one in all_memory_needs() if fnmatchcase(kind.eopf_type, one.eopf_type))
        for kind in all_product_types()
    }
    assert pattern in first


@pytest.mark.parametrize(
    ("product_type", "megabytes", "threads", "peak"),
    [
        ("S01SIWGRD", 7, 2, 1.394e9),
        ("S01SIWGRD", 7, 4, 1.437e9),
        ("S02MSIL1C", 614, 2, 1.36e9),
        ("S02MSIL1C", 6, 4, 1.481e9),
        ("S02MSIL2A", 749, 2, 1.15e9),
        ("S03OLCEFR", 571, 2, 0.41e9),
    ],
)
def test_what_was_measured_fits_without_waste(
    product_type: str, megabytes: int, threads: int, peak: float
) -> None:
    assert peak <= expected_memory(product_type, megabytes * 10**6, threads) <= 1.4 * peak


def test_what_nobody_measured_grows_with_the_product() -> None:
    for kind in ("S01SIWSLC", ""):
        assert expected_memory(kind, 4 * GIB, 2) - expected_memory(kind, GIB, 2) == 3 * GIB
