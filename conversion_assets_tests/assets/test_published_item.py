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
from conversion_assets.resources.catalogue import CollectionSpec
from conversion_assets.resources.folder_object_store import FolderObjectStore
from conversion_assets.resources.object_store import Shelf
from conversion_assets.resources.static_catalogue import StaticCatalogue
from conversion_assets.settings import Settings
from conversion_assets.stac.versions import earlier_version, self_href
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


def converted(settings: Settings, collection: str) -> str:
    """Store a product; give its URI."""
    store = FolderObjectStore(root=str(settings.home))
    shelf = Shelf(bucket="products", owner=SPEC.owner, collection=collection)
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


def described(settings: Settings, order: Order, collection: str = SPEC.id) -> None:
    """Leave what the assets before it would have left."""
    uri = converted(settings, collection)
    document = item(NAME, href=uri)
    source = {"rel": "derived_from", "href": order.derived_from}
    record = DescribedProduct(
        order=order,
        product_uri=uri,
        product_type="S02MSIL1C",
        collection=collection,
        collection_title=SPEC.title,
        item={**document, "collection": collection, "links": [*document["links"], source]},
        figures=FIGURES,
    )
    path = settings.home / "records" / "stac_item" / f"{order.key}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
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


@pytest.mark.parametrize("is_shared", [False, True])
def test_former_item_of_an_order_that_goes_to_another_collection_leads_there(
    tmp_path: Path, *, is_shared: bool
) -> None:
    """It stays as it is where another order has published it, too."""
    settings = Settings(home=tmp_path / "home")
    another = ORDER.model_copy(update={"key": "X.special-12345678"})
    catalogue = StaticCatalogue(root=str(settings.home / "catalogue"))
    elsewhere = CollectionSpec(SPEC.owner, "elsewhere", "")
    job = build_definitions(settings).resolve_job_def(CONVERT)
    with open_instance(settings) as instance:

        def publish(order: Order, collection: str) -> None:
            described(settings, order, collection)
            record_order(instance, order)
            chosen = [dg.AssetKey("published_item")]
            job.execute_in_process(instance=instance, partition_key=order.key, asset_selection=chosen)

        if is_shared:
            publish(another, SPEC.id)
        publish(ORDER, SPEC.id)
        before = catalogue.find(NAME, SPEC)
        for _ in range(2):
            publish(ORDER, elsewhere.id)
    former, current = catalogue.find(NAME, SPEC), catalogue.find(NAME, elsewhere)
    assert before is not None
    assert former is not None
    assert current is not None
    assert earlier_version(current) is None
    if is_shared:
        assert former == before
    else:
        assert earlier_version(former) is not None
        links = {link["rel"]: link["href"] for link in former["links"]}
        assert links["successor-version"] == self_href(current)
        assert former["assets"] == before["assets"]
