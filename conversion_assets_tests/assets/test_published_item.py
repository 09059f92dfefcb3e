from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from conversion_assets.automation.jobs import CONVERT
from conversion_assets.definitions import build_definitions
from conversion_assets.figures import Figures
from conversion_assets.instance import open_instance
from conversion_assets.orders import Order
from conversion_assets.partitions import record_order
from conversion_assets.provenance import Provenance
from conversion_assets.records import DescribedProduct
from conversion_assets.resources.folder_object_store import FolderObjectStore
from conversion_assets.resources.object_store import Shelf
from conversion_assets.settings import Settings
from conversion_assets.zarr.product_folder import metadata_digest
from conversion_assets_tests.resources.items import SPEC, item
from conversion_assets_tests.zarr.handmade import NAME, band, make_zarr, ramp

SOME_TIME = datetime(2026, 1, 1, tzinfo=UTC)
FIGURES = Figures(cpu_seconds=12.5, peak_memory_bytes=10**9, objects=7)
ORDER = Order(
    key="X",
    item_id="X",
    href="s3://bucket/X.zip",
    derived_from="https://source.test/items/X",
    owner=SPEC.owner,
)


def converted(settings: Settings) -> str:
    """Store a product; give its URI."""
    store = FolderObjectStore(root=str(settings.home))
    shelf = Shelf(bucket="products", owner=SPEC.owner, collection=SPEC.id)
    workspace = store.workspace(shelf, "X", Path("X.SAFE"))
    folder = make_zarr(workspace.local_output(), [band("measurements/lst", ramp(4, 4))])
    product = workspace.open_product(folder.as_uri())
    provenance = Provenance(
        name=NAME,
        safe_name="X.SAFE",
        fingerprint="f" * 64,
        eopf_version="2.8.1",
        converted=SOME_TIME,
        created=SOME_TIME,
        metadata_sha256=metadata_digest(product),
    )
    return store.promote(product, shelf, provenance)


def described(settings: Settings, order: Order) -> None:
    """Leave what the assets before it would have left."""
    uri = converted(settings)
    record = DescribedProduct(
        order=order,
        product_uri=uri,
        product_type="S02MSIL1C",
        collection=SPEC.id,
        collection_title=SPEC.title,
        item=item(NAME, href=uri),
        figures=FIGURES,
    )
    path = settings.home / "records" / "stac_item" / "X.json"
    path.parent.mkdir(parents=True)
    path.write_text(record.model_dump_json())


@pytest.mark.parametrize(("hours", "timely"), [(2.0, False), (4.0, True)])
def test_a_publication_tells_its_numbers_and_whether_it_was_in_time(
    tmp_path: Path, hours: float, timely: bool
) -> None:
    settings = Settings(home=tmp_path / "home", timeliness_hours=hours)
    order = ORDER.model_copy(update={"published": datetime.now(UTC) - timedelta(hours=3)})
    described(settings, order)
    job = build_definitions(settings).resolve_job_def(CONVERT)
    with open_instance(settings) as instance:
        record_order(instance, order)

        def publish() -> tuple[dict[str, object], dg.AssetCheckEvaluation]:
            result = job.execute_in_process(
                instance=instance, partition_key="X", asset_selection=[dg.AssetKey("published_item")]
            )
            (event,) = result.asset_materializations_for_node("published_item")
            (check,) = (one for one in result.get_asset_check_evaluations() if one.check_name == "timely")
            return {name: value.value for name, value in event.metadata.items()}, check

        told, check = publish()
        assert FIGURES.numbers().items() <= told.items()
        assert told["seconds since publication at source"] == pytest.approx(3 * 3600, abs=120)
        assert told["seconds since order"] == pytest.approx(0, abs=120)
        assert check.passed is timely
        assert check.severity is dg.AssetCheckSeverity.WARN
        again, check = publish()  # nobody has waited for it
    assert check.passed
    assert not {"seconds since order", "seconds since publication at source"} & again.keys()
