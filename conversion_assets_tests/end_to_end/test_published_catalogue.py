from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

import pystac
import pytest
import rasterio  # noqa: F401 - its GDAL must be loaded before ecCodes' PROJ
import xarray as xr
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from shapely.geometry import shape

from conversion_assets.stac.validation import validate_catalog, validate_collection, validate_item
from conversion_assets_tests.end_to_end.shared import ARCHIVES, PublishedProducts
from conversion_assets_tests.safe_products import ProductKind

VALIDATE = {"Catalog": validate_catalog, "Collection": validate_collection, "Feature": validate_item}
every_kind = pytest.mark.parametrize("kind", ARCHIVES)


@pytest.fixture(autouse=True)
def _no_network(published: PublishedProducts, monkeypatch: pytest.MonkeyPatch) -> None:
    del published

    def refuse(*_: object) -> NoReturn:
        raise AssertionError("a reader of the catalogue reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def catalogue(home: Path) -> pystac.Catalog:
    return pystac.Catalog.from_file(str(home / "catalogue" / "catalog.json"))


def item_of(published: PublishedProducts, kind: ProductKind) -> pystac.Item:
    return pystac.Item.from_file(unquote(urlsplit(published.result(kind)["item"]).path))


def product_of(published: PublishedProducts, kind: ProductKind) -> Path:
    return Path(unquote(urlsplit(published.result(kind)["product"]).path))


def test_walk_finds_every_product_and_nothing_else(published: PublishedProducts) -> None:
    items = list(catalogue(published.home).get_items(recursive=True))
    found = {item.id: Path(str(item.get_self_href())) for item in items}
    assert len(items) == len(ARCHIVES)
    assert found == {
        product_of(published, kind).stem: Path(unquote(urlsplit(published.result(kind)["item"]).path))
        for kind in ARCHIVES
    }


def test_every_document_is_reached_and_valid(published: PublishedProducts) -> None:
    reached = {Path(str(catalogue(published.home).get_self_href()))}
    for parent, children, items in catalogue(published.home).walk():
        del parent
        reached |= {Path(str(entry.get_self_href())) for entry in (*children, *items)}
    assert reached == set(published.home.glob("catalogue/**/*.json"))
    for path in reached:
        document: dict[str, Any] = json.loads(path.read_bytes())
        VALIDATE[document["type"]](document)
        kind = pystac.STACObjectType(document["type"])
        JsonSchemaSTACValidator().validate_core(document, kind, document["stac_version"])


def test_every_link_within_the_catalogue_leads_somewhere(published: PublishedProducts) -> None:
    for path in published.home.glob("catalogue/**/*.json"):
        for link in json.loads(path.read_bytes())["links"]:
            if link["rel"] in ("root", "parent", "child", "item", "collection"):
                assert (path.parent / link["href"]).is_file(), f"{path}: {link}"


@every_kind
def test_item_describes_its_product(published: PublishedProducts, kind: ProductKind) -> None:
    item, product = item_of(published, kind), product_of(published, kind)
    assert item.id == product.stem
    assert item.to_dict()["stac_version"] == "1.1.0"
    assert item.properties["product:type"] == published.result(kind)["product_type"]
    start, end = item.properties["start_datetime"], item.properties["end_datetime"]
    assert start <= end
    sources = [link.href for link in item.links if link.rel == "derived_from"]
    assert sources == [published.folders[kind].as_uri()]


@every_kind
def test_footprint_is_right_handed_and_in_its_box(published: PublishedProducts, kind: ProductKind) -> None:
    item = item_of(published, kind)
    outline = shape(item.geometry)
    assert outline.is_valid
    assert outline.geom_type == "Polygon"
    assert outline.exterior.is_ccw
    assert item.bbox == pytest.approx(outline.bounds)
    west, south, east, north = outline.bounds
    assert -180 <= west < east <= 180
    assert -90 <= south < north <= 90


@every_kind
def test_assets_are_where_the_item_says(published: PublishedProducts, kind: ProductKind) -> None:
    item, product = item_of(published, kind), product_of(published, kind)
    paths = {key: Path(str(asset.get_absolute_href())) for key, asset in item.assets.items()}
    assert paths["product"].resolve() == product
    groups = [path.resolve() for key, path in paths.items() if key != "product"]
    assert groups
    for group in groups:
        assert group.is_relative_to(product)
        assert (group / ".zgroup").is_file() or (group / ".zarray").is_file()
    whole = item.assets["product"]
    files = [path for path in product.rglob("*") if path.is_file()]
    assert whole.media_type == "application/vnd.zarr; version=2"
    assert whole.extra_fields["file:size"] == sum(file.stat().st_size for file in files)
    assert whole.extra_fields["object_count"] == len(files)


@every_kind
def test_product_opens_with_xarray(published: PublishedProducts, kind: ProductKind) -> None:
    with xr.open_datatree(product_of(published, kind), engine="zarr") as tree:
        measured = [node for node in tree.subtree if "measurements" in node.path and node.ds.data_vars]
        assert measured
        variable = next(iter(measured[0].ds.data_vars.values()))
        assert variable.size > 0
        assert bool(variable.notnull().any())


@every_kind
def test_product_opens_with_xarray_eopf(published: PublishedProducts, kind: ProductKind) -> None:
    pytest.importorskip("xarray_eopf")
    product = str(product_of(published, kind))
    with (
        xr.open_datatree(product, engine="eopf-zarr", op_mode="native") as native,
        xr.open_datatree(product, engine="zarr") as plain,
    ):
        assert native.groups == plain.groups
        assert native.attrs["stac_discovery"]["type"] == "Feature"


def test_home_may_be_moved(published: PublishedProducts, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(published.home / "catalogue", moved / "catalogue")
    shutil.copytree(published.home / "products", moved / "products")
    for item in catalogue(moved).get_items(recursive=True):
        for asset in item.assets.values():
            path = Path(str(asset.get_absolute_href())).resolve()
            assert path.is_relative_to(moved)
            assert path.is_dir()
