from __future__ import annotations

import json
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from conversion_assets_tests.end_to_end.command import (
    Ended,
    convert,
    inventory,
    leftovers,
    timeless,
    visible,
)
from conversion_assets_tests.end_to_end.shared import ARCHIVES, PublishedProducts
from conversion_assets_tests.safe_products import ProductKind

TYPES = {
    ProductKind.S1_IW_GRDH: ("S01SIWGRD", "sentinel-1-iw-grd"),
    ProductKind.S2_MSI_L1C: ("S02MSIL1C", "sentinel-2-l1c"),
    ProductKind.S2_MSI_L2A: ("S02MSIL2A", "sentinel-2-l2a"),
    ProductKind.S3_OL_EFR: ("S03OLCEFR", "sentinel-3-olci-l1-efr"),
    ProductKind.S3_OL_ERR: ("S03OLCERR", "sentinel-3-olci-l1-err"),
}
ASSETS = ("staged_safe_item", "unzipped_safe", "zarr_product", "stac_item", "published_item")
FIELDS = {"order", "source", "status", "product_type", "product", "item", "derived_from", "seconds"}
SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
REAL_TYPES = {"s1_iw_grdh": "S01SIWGRD", "s2_l1c": "S02MSIL1C"}
every_kind = pytest.mark.parametrize("kind", ARCHIVES)


def properties(href: str) -> dict[str, str]:
    document: dict[str, dict[str, str]] = json.loads(local(href).read_text())
    return document["properties"]


def local(uri: str) -> Path:
    assert urlsplit(uri).scheme == "file"
    return Path(unquote(urlsplit(uri).path))


def copy_of(published: PublishedProducts, folder: Path) -> Path:
    """Copy the shared home, for a test that orders more."""
    return Path(shutil.copytree(published.home, folder / "home", symlinks=True))


def test_both_commands_succeed(published: PublishedProducts) -> None:
    for ended in (published.by_archive, published.by_folder):
        assert ended.code == 0, ended.stdout
        assert len(ended.orders) == len(ARCHIVES)
        assert "Traceback" not in ended.stderr


@every_kind
def test_archive_is_published(published: PublishedProducts, kind: ProductKind) -> None:
    result, (product_type, collection) = published.result(kind), TYPES[kind]
    assert set(result) >= FIELDS
    assert not any(field.startswith("error") for field in result)
    assert result["order"] == published.folders[kind].stem
    assert result["status"] == "published"
    assert result["product_type"] == product_type
    assert result["source"] == result["derived_from"] == published.archives[kind].as_uri()
    assert tuple(result["seconds"]) == ASSETS
    assert all(seconds > 0 for seconds in result["seconds"].values())
    product, item = local(result["product"]), local(result["item"])
    assert product.is_relative_to(published.home / "products")
    assert item.is_relative_to(published.home / "catalogue" / "local" / collection)
    assert product.stem == item.stem
    assert product.stem.startswith(product_type)
    assert (product / ".zmetadata").is_file()


@every_kind
def test_folder_of_the_same_product_is_the_same_order(
    published: PublishedProducts, kind: ProductKind
) -> None:
    first, second = published.result(kind), published.result_of_folder(kind)
    same = ("order", "status", "product_type", "product", "item")
    assert [first[field] for field in same] == [second[field] for field in same]
    assert second["derived_from"] == published.folders[kind].as_uri()


def test_identical_input_is_not_converted_again(published: PublishedProducts) -> None:
    assert inventory(published.home / "products") == published.products
    assert "starting eopf" in published.by_archive.stderr
    assert "starting eopf" not in published.by_folder.stderr


def test_input_is_untouched(published: PublishedProducts) -> None:
    assert published.input_after == published.input_before


def test_nothing_but_products_is_left(published: PublishedProducts) -> None:
    assert leftovers(published.home) == []
    assert len(list(published.home.glob("products/**/*.zarr"))) == len(ARCHIVES)
    assert list(published.home.glob("products/**/*.idx")) == []


def test_folder_converts_to_the_same_files_when_asked_to(
    published: PublishedProducts, tmp_path: Path
) -> None:
    home, kind = copy_of(published, tmp_path), ProductKind.S2_MSI_L2A
    ended = convert("--reconvert", published.folders[kind], home=home)
    assert ended.code == 0, ended.stdout
    former, product = local(published.result(kind)["product"]), local(ended.orders[0]["product"])
    beside = home / former.relative_to(published.home)
    assert product == beside.with_name(f"{beside.stem}.v2.zarr")
    assert timeless(beside) == timeless(former)
    assert (product / ".zmetadata").read_bytes() != (former / ".zmetadata").read_bytes()
    assert timeless(product) == timeless(former)
    before, after = (properties(path) for path in (published.result(kind)["item"], ended.orders[0]["item"]))
    assert after["created"] == before["created"] < after["updated"]
    assert leftovers(home) == []
    assert len(visible(home)) == len(visible(published.home)) + 2  # the former product and its item


def test_feature_collection_is_one_order_a_feature(published: PublishedProducts, tmp_path: Path) -> None:
    home = copy_of(published, tmp_path)
    kinds = (ProductKind.S2_MSI_L1C, ProductKind.S3_OL_EFR)
    features = [
        {
            "type": "Feature",
            "id": f"item-{number}",
            "links": [{"rel": "self", "href": f"file:///items/item-{number}.json"}],
            "assets": {"product": {"href": published.archives[kind].as_uri(), "roles": ["data"]}},
        }
        for number, kind in enumerate(kinds)
    ]
    document = tmp_path / "search.json"
    document.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    ended = convert(document, home=home)
    assert ended.code == 0, ended.stdout
    assert [result["order"] for result in ended.orders] == ["item-0", "item-1"]
    for kind, feature, result in zip(kinds, features, ended.orders, strict=True):
        assert result["derived_from"] == f"file:///items/{feature['id']}.json"
        assert local(result["product"]).name == local(published.result(kind)["product"]).name
    assert leftovers(home) == []


@pytest.fixture(scope="module")
def real_metadata(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended, bool]:
    if not SAMPLES.is_dir():
        pytest.skip("the samples with real metadata are not beside this checkout")
    sources = [next((SAMPLES / name).glob("*.SAFE")) for name in REAL_TYPES]
    home = tmp_path_factory.mktemp("real") / "home"
    before = [inventory(source.parent) for source in sources]
    ended = convert(*sources, home=home)
    return home, ended, before == [inventory(source.parent) for source in sources]


@pytest.mark.timeout(600)
def test_products_with_real_metadata_are_published(real_metadata: tuple[Path, Ended, bool]) -> None:
    home, ended, untouched = real_metadata
    assert ended.code == 0, ended.stdout
    assert [result["product_type"] for result in ended.orders] == list(REAL_TYPES.values())
    assert all((local(result["product"]) / ".zmetadata").is_file() for result in ended.orders)
    assert untouched
    assert leftovers(home) == []
