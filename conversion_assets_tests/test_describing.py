from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from conversion_assets.describing import require_recorded
from conversion_assets.errors import PermanentError
from conversion_assets.orders import Order
from conversion_assets.provenance import Provenance
from conversion_assets.records import DescribedProduct, UnzippedSafe, ZarrProduct
from conversion_assets.zarr.product_folder import CONSOLIDATED_METADATA, local_product, metadata_digest
from conversion_assets_tests.zarr.handmade import NAME, band, make_zarr, ramp

SOME_TIME = datetime(2026, 1, 1, tzinfo=UTC)
SAFE = UnzippedSafe(
    order=Order(key="X", item_id="X", href="s3://b/X.zip", derived_from="s3://b/X.zip", owner="someone"),
    folder=Path("/staging/X/unzipped/X.SAFE"),
    files=1,
    total_bytes=1,
    fingerprint="f" * 64,
    product_type="S02MSIL1C",
    collection="sentinel-2-l1c",
    start=SOME_TIME,
    end=SOME_TIME,
    footprints=(),
)


def recorded(folder: Path) -> ZarrProduct:
    product = local_product(folder)
    made = Provenance(
        name=NAME,
        safe_name="X.SAFE",
        fingerprint=SAFE.fingerprint,
        eopf_version="2.8.1",
        converted=SOME_TIME,
        created=SOME_TIME,
        metadata_sha256=metadata_digest(product),
    )
    return ZarrProduct.of(SAFE, product.uri, made)


def test_product_in_the_place_of_the_recorded_one_is_not_described(tmp_path: Path) -> None:
    folder = make_zarr(tmp_path, [band("measurements/lst", ramp(4, 4))])
    record = recorded(folder)
    assert DescribedProduct.of(record, {}).metadata_sha256 == record.metadata_sha256
    require_recorded(record, local_product(folder))
    metadata = folder / CONSOLIDATED_METADATA
    metadata.write_bytes(metadata.read_bytes() + b"\n")
    with pytest.raises(PermanentError, match=r"another product stands there.*staged_safe_item"):
        require_recorded(record, local_product(folder))


def test_record_of_an_earlier_version_of_the_platform_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = make_zarr(tmp_path, [band("measurements/lst", ramp(4, 4))])
    told = recorded(folder).model_dump_json(exclude={"metadata_sha256"})
    record = ZarrProduct.model_validate_json(told)
    require_recorded(record, local_product(folder))
    assert DescribedProduct.of(record, {}).metadata_sha256 is None
