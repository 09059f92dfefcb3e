from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from conversion_assets.catalogue_query import CatalogueQuery, Chosen, choose_published
from conversion_assets.criteria import CodeVersions, Criteria, eopf_version_called
from conversion_assets.errors import OrderError, PermanentError
from conversion_assets.ordering import Wishes
from conversion_assets.orders import Order
from conversion_assets.partitions import record_order, safe_items
from conversion_assets.resources.authentication import Authentication
from conversion_assets.resources.catalogue import Catalogue, CollectionSpec
from conversion_assets.resources.stac_api_catalogue import StacApiCatalogue
from conversion_assets.resources.static_catalogue import StaticCatalogue
from conversion_assets.selecting import PUBLISHED, History
from conversion_assets_tests.peers.fixtures import stac_api
from conversion_assets_tests.peers.stac_api import CONFORMANCE, StacApi
from conversion_assets_tests.resources.items import SPEC, START, item
from conversion_assets_tests.safe.products import S1_NAME, S2_NAME

__all__ = ["stac_api"]

NOW = CodeVersions(eopf="2.8.1", types=frozenset({"abc"}))
WISHES = Wishes(owner="local", default_owner="local")
OTHER = CollectionSpec(owner=SPEC.owner, id="another", title="Another")
FIJI, GENEVA = (179.0, -18.0, -179.0, -16.0), (5.9, 46.1, 6.3, 46.4)


@pytest.fixture
def static(tmp_path: Path) -> StaticCatalogue:
    return StaticCatalogue(root=str(tmp_path / "catalogue"))


@pytest.fixture
def behind_api(stac_api: StacApi) -> StacApiCatalogue:
    return StacApiCatalogue(url=stac_api.url, authentication=Authentication())


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def asked(**parts: str | None) -> CatalogueQuery:
    empty = dict.fromkeys(("collection", "bbox", "expression"))
    return CatalogueQuery.parse(**{**empty, **parts}, time=None)


def ids(query: CatalogueQuery, catalogue: Catalogue) -> list[str]:
    return sorted(found["id"] for found in query.found_in(catalogue))


@pytest.mark.parametrize("kind", ["static", "behind_api"])
def test_items_are_found_by_collection_and_box(kind: str, request: pytest.FixtureRequest) -> None:
    catalogue: Catalogue = request.getfixturevalue(kind)
    catalogue.publish(item("FIJI", bbox=FIJI), SPEC)
    catalogue.publish(item("GENEVA", bbox=GENEVA), SPEC)
    catalogue.publish({**item("ELSEWHERE", bbox=GENEVA), "collection": OTHER.id}, OTHER)
    assert ids(asked(collection=SPEC.id), catalogue) == ["FIJI", "GENEVA"]
    assert ids(asked(bbox="6,46.2,6.1,46.3"), catalogue) == ["ELSEWHERE", "GENEVA"]
    assert ids(asked(bbox="178,-17,-178,-16.5"), catalogue) == ["FIJI"]
    assert ids(asked(bbox="-179.5,-17,-178,-16.5", collection=SPEC.id), catalogue) == ["FIJI"]
    with pytest.raises(OrderError, match="none of this id"):
        ids(asked(collection="unheard-of"), catalogue)


def test_superseded_versions_are_left_out(static: StaticCatalogue) -> None:
    old = item("OLD")
    old["properties"]["deprecated"] = True
    static.publish(old, SPEC)
    static.publish(item("NEW"), SPEC)
    assert ids(asked(collection=SPEC.id), static) == ["NEW"]


def test_server_searches_by_expression_page_by_page(behind_api: StacApiCatalogue, stac_api: StacApi) -> None:
    for number in range(120):
        document = item(f"E{number:03}", start=START + timedelta(minutes=number))
        document["properties"]["cloudy"] = number % 2
        stac_api.store.items[SPEC.id, document["id"]] = document
    behind_api.publish(item("PLAIN"), SPEC)
    assert len(ids(asked(expression="cloudy = 1"), behind_api)) == 60
    assert len(ids(asked(expression="cloudy >= 0 AND cloudy <= 1", collection=SPEC.id), behind_api)) == 120
    with pytest.raises(PermanentError, match="Invalid CQL2 text"):
        ids(asked(expression="cloudy LIKE 'x'"), behind_api)


def test_static_catalogue_refuses_an_expression_and_tells_the_way_out(static: StaticCatalogue) -> None:
    static.publish(item(), SPEC)
    with pytest.raises(OrderError, match="no server that could search"):
        ids(asked(expression="cloudy = 1"), static)


def test_server_that_would_leave_the_filter_aside_is_refused(
    stac_api: StacApi, behind_api: StacApiCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = [name for name in CONFORMANCE if "filter" not in name]
    monkeypatch.setattr("conversion_assets_tests.peers.stac_api.CONFORMANCE", without)
    with pytest.raises(OrderError, match="does not say that it can filter"):
        ids(asked(expression="cloudy = 1"), behind_api)
    assert not [path for path in stac_api.received("GET") if "search" in str(path)]


@pytest.mark.parametrize("bbox", ["1,2,3", "a,b,c,d", "0,10,1,5", "0,0,190,1", "nan,0,1,1"])
def test_what_is_no_box_is_told(bbox: str) -> None:
    with pytest.raises(OrderError, match="no box"):
        asked(bbox=bbox)


@pytest.mark.parametrize("expression", ["", " ", '{"op":', "{" * 10_000])
def test_what_is_no_expression_is_told(expression: str) -> None:
    with pytest.raises(OrderError, match="no CQL2"):
        asked(expression=expression)


def published(
    source: str, href: str, *, eopf: str = "2.7.0", collection: str = "s", **more: str
) -> dict[str, Any]:
    document = item(href.rpartition("/")[2].removesuffix(".json"))
    document["links"] = [{"rel": "self", "href": href}, {"rel": "derived_from", "href": source}]
    document["properties"] |= {"processing:software": {"eopf": eopf}, **more}
    return {**document, "collection": collection}


def chosen(instance: dg.DagsterInstance, *items: dict[str, Any], criteria: Criteria | None = None) -> Chosen:
    return choose_published(items, History(instance), criteria or Criteria(), NOW, WISHES)


def test_retired_order_is_chosen_by_its_item(instance: dg.DagsterInstance) -> None:
    order = Order(key="X", item_id="X", href="s3://b/X.zip", derived_from="https://s.test/X", owner="local")
    record_order(instance, order)
    href = "https://c.test/collections/s/items/E"
    instance.report_runless_asset_event(
        dg.AssetMaterialization(PUBLISHED, partition="X", metadata={"item": dg.MetadataValue.url(href)})
    )
    instance.delete_dynamic_partition(str(safe_items.name), "X")
    assert chosen(instance, published("https://s.test/X", href)) == Chosen(("X",))


def test_order_that_the_history_has_lost_is_made_anew_from_the_source(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    folder = tmp_path / S2_NAME
    folder.mkdir()
    (folder / "manifest.safe").touch()
    gone = (tmp_path / S1_NAME).as_uri()
    found = chosen(
        instance,
        published(folder.as_uri(), "file:///c/local/s/d/A.json", collection="sentinel-2-l1c"),
        published(folder.as_uri(), "file:///c/me/mine/d/A.json", collection="mine", owner="me"),
        published(gone, "file:///c/local/s/d/B.json"),
        {**published("", "file:///c/local/s/d/C.json"), "links": []},
    )
    assert found.keys == ()
    plain, special = found.lost
    assert (plain.key, plain.owner, plain.target.collection) == (S2_NAME.removesuffix(".SAFE"), "local", None)
    assert (special.owner, special.target.collection) == ("me", "mine")
    assert found.all_keys == (plain.key, special.key)
    assert [reason.partition(":")[0] for reason in found.refusals] == ["B", "C"]
    assert "no such file" in found.refusals[0]
    assert chosen(instance, criteria=Criteria(failed=True)).lost == ()


def test_what_converted_a_lost_order_is_told_by_its_item(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    folder = tmp_path / S2_NAME
    folder.mkdir()
    (folder / "manifest.safe").touch()
    older = Criteria(older_than_eopf=eopf_version_called("2.8.1", "2.8.1"))
    old = published(folder.as_uri(), "file:///c/local/s/d/A.json", eopf="2.7.0")
    new = published(folder.as_uri(), "file:///c/local/s/d/B.json", eopf="2.8.1")
    assert len(chosen(instance, old, new, criteria=older).lost) == 1
    assert len(chosen(instance, old, new, criteria=Criteria(stale=True)).lost) == 1
    assert not chosen(instance, old, criteria=Criteria(product_types=frozenset({"S01SIWGRD"}))).lost
