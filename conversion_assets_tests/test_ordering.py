from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from conversion_assets.errors import OrderError, PermanentError, TransientError
from conversion_assets.ordering import LARGEST_DOCUMENT, Wishes, order_each, orders_from
from conversion_assets.orders import Order, TargetRule
from conversion_assets.web.addresses import HrefRules
from conversion_assets_tests.resources.http_files import HttpFiles, serving
from conversion_assets_tests.safe.products import S1_NAME, S3_NAME, product

NAME = S1_NAME.removesuffix(".SAFE")
WISHES = Wishes(
    owner="local",
    default_owner="local",
    rules=HrefRules(("file", "s3", "https", "http"), private_hosts=("127.0.0.1",)),
)


@pytest.fixture
def site() -> Iterator[HttpFiles]:
    with serving() as files:
        yield files


def one(source: object, wishes: Wishes = WISHES) -> Order:
    (order,) = orders_from(str(source), wishes)
    return order


def feature(name: str, **changes: object) -> dict[str, Any]:
    asset = {"href": f"./{name}.SAFE.zip", "type": "application/zip", "roles": ["data"]}
    return {"type": "Feature", "id": name, "geometry": None, "assets": {"product": asset}} | changes


def archive(folder: Path, name: str) -> Path:
    path = folder / name
    with ZipFile(path, "w") as target:
        target.writestr(f"{S1_NAME}/manifest.safe", "x")
    return path


@pytest.mark.parametrize("name", [S1_NAME, S3_NAME])
@pytest.mark.parametrize("form", ["path", "path/", "url", "localhost", "relative"])
def test_folder_on_this_machine(
    name: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = product(tmp_path / "a place, 100%", name)
    monkeypatch.chdir(folder.parent)
    source = {
        "path": str(folder),
        "path/": f"{folder}/",
        "url": folder.as_uri(),
        "localhost": folder.as_uri().replace("file://", "file://localhost"),
        "relative": name,
    }[form]
    order = one(source)
    assert (order.key, order.href, order.derived_from) == (
        name.rpartition(".")[0],
        folder.as_uri(),
        folder.as_uri(),
    )
    assert order.updated is not None


@pytest.mark.parametrize("name", [f"{S1_NAME}.zip", f"{NAME}.zip", f"{NAME}.ZIP"])
def test_archive_on_this_machine(name: str, tmp_path: Path) -> None:
    path = archive(tmp_path, name)
    for source in (path, path.as_uri()):
        order = one(source)
        assert (order.key, order.item_id, order.href) == (NAME, NAME, path.as_uri())


def test_home_of_the_user_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    archive(tmp_path, f"{NAME}.zip")
    assert one(f"~/{NAME}.zip").key == NAME


@pytest.mark.parametrize("scheme", ["https", "s3", "http"])
@pytest.mark.parametrize(
    "name", [f"{S1_NAME}/", f"{S1_NAME}.zip", f"{NAME}.tgz", f"{NAME}.tar.zst", f"{NAME}.TAR"]
)
def test_product_elsewhere_is_ordered_without_being_asked_for(scheme: str, name: str) -> None:
    order = one(f"{scheme}://host/a/place/{name}")
    assert (order.key, order.href) == (NAME, f"{scheme}://host/a/place/{name}")


@pytest.mark.parametrize("name", [S1_NAME, S3_NAME])
@pytest.mark.parametrize(
    ("status", "content"),
    [(404, b""), (401, b""), (403, b""), (None, b"<html>a list of files"), (None, b'{"type": "Catalog"}')],
)
def test_folder_elsewhere_is_told_from_an_item(
    name: str, status: int | None, content: bytes, site: HttpFiles
) -> None:
    site.add(f"public/{name}", content).status = status
    order = one(site.url(f"public/{name}"))
    assert (order.item_id, order.href) == (name.rpartition(".")[0], site.url(f"public/{name}"))


@pytest.mark.parametrize("collected", [False, True])
def test_item_whose_address_ends_like_a_folder_is_an_item(collected: bool, site: HttpFiles) -> None:
    asset = {"href": "https://download.test/product.zip", "type": "application/zip"}
    item = feature(S1_NAME, assets={"PRODUCT": asset})
    document = {"type": "FeatureCollection", "features": [item]} if collected else item
    site.add(f"items/{S1_NAME}", json.dumps(document).encode())
    order = one(site.url(f"items/{S1_NAME}"))
    assert (order.item_id, order.href) == (S1_NAME, asset["href"])
    assert order.derived_from == site.url(f"items/{S1_NAME}")
    assert len(site.requests) == 1


def test_busy_server_that_may_have_an_item_or_a_folder_is_asked_again_later(site: HttpFiles) -> None:
    site.add(S1_NAME).status = 503
    with pytest.raises(TransientError, match="503"):
        one(site.url(S1_NAME))


@pytest.mark.parametrize("name", [S1_NAME, S3_NAME])
def test_folder_on_s3_is_not_asked_for(name: str) -> None:
    order = one(f"s3://bucket/a/place/{name}")
    assert order.key == (S3_NAME.removesuffix(".SEN3") if name == S3_NAME else NAME)
    assert order.href == f"s3://bucket/a/place/{name}"


def test_secret_of_a_url_is_kept_out_of_what_is_published() -> None:
    order = one(f"https://host/{NAME}.zip?version=2")
    assert order.derived_from == f"https://host/{NAME}.zip"
    assert order.href.endswith("?version=2")
    with pytest.raises(OrderError, match=r"signed \(signature\)") as caught:
        one(f"https://host/{NAME}.zip?signature=hunter2")
    assert "hunter2" not in str(caught.value)


def test_user_and_password_in_a_url_are_refused() -> None:
    with pytest.raises(OrderError, match="user name or password") as caught:
        one(f"https://someone:hunter2@host/{NAME}.zip")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [f"https://someone:hunter2@{host}/{NAME}.zip" for host in ("ho\u2100st", "[", "host:port")],
)
def test_what_is_wrong_with_a_url_is_told_without_its_password(url: str) -> None:
    with pytest.raises(OrderError, match="it is not a URL") as caught:
        one(url)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_item_by_path_and_by_file_url(tmp_path: Path) -> None:
    path = tmp_path / "item.json"
    path.write_text(json.dumps(feature("X", properties={"updated": "2026-01-02T03:04:05Z"})))
    for source in (path, path.as_uri()):
        order = one(source)
        assert (order.key, order.href) == ("X", (tmp_path / "X.SAFE.zip").as_uri())
        assert order.derived_from == path.as_uri()
        assert order.updated == "2026-01-02T03:04:05+00:00"


def test_item_by_http(site: HttpFiles) -> None:
    digest = "1220" + "ab" * 32
    asset = {"href": "./X.SAFE.zip", "file:size": 7, "file:checksum": digest, "roles": ["data"]}
    site.add("c/items/X", json.dumps(feature("X", assets={"product": asset})).encode())
    order = one(site.url("c/items/X"))
    assert order.href == site.url("c/items/X.SAFE.zip")
    assert order.derived_from == site.url("c/items/X")
    assert order.size == 7
    assert order.checksum is not None
    assert (order.checksum.algorithm, order.checksum.digest) == ("sha256", "ab" * 32)


def test_bare_feature_and_collection_of_features(tmp_path: Path) -> None:
    names = [f"X{number}" for number in range(5)]
    path = tmp_path / "found.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature(name) for name in names]}))
    assert [order.key for order in orders_from(str(path), WISHES)] == names


def test_wishes_reach_every_order(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature("X"), feature("Y")]}))
    wishes = Wishes(
        owner="someone", default_owner="local", target=TargetRule(collection="mine"), assets=("product",)
    )
    orders = orders_from(str(path), wishes)
    assert [order.item_id for order in orders] == ["X", "Y"]
    assert {(order.owner, order.target.collection, order.assets) for order in orders} == {
        ("someone", "mine", ("product",))
    }
    assert all(order.key.startswith(f"{order.item_id}.someone-mine-product-") for order in orders)


def test_chosen_asset_is_taken(tmp_path: Path) -> None:
    assets = {name: {"href": f"s3://bucket/{name}.zip"} for name in ("first", "second")}
    path = tmp_path / "item.json"
    path.write_text(json.dumps(feature("X", assets=assets)))
    wishes = Wishes(owner="local", default_owner="local", assets=("absent", "second"))
    assert one(path, wishes).href == "s3://bucket/second.zip"
    with pytest.raises(OrderError, match=r"several assets .*--asset"):
        one(path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("X.SAFE.zip", b"not an archive", "neither an archive nor a STAC document"),
        ("X.txt", b"text", "neither an archive nor a STAC document"),
        ("item.json", b"{}", "JSON without a type"),
        ("item.json", b"<html>", "HTML"),
        ("item.json", b"", "empty"),
        ("item.json", b'{"type": "Catalog"}', "STAC Catalog"),
        ("item.json", b'{"type": "FeatureCollection", "features": []}', "empty"),
        ("item.json", json.dumps(feature("../../x")).encode(), "an item id has"),
        (
            "item.json",
            json.dumps(feature("X", assets={"product": {"href": "ftp://h/x.zip"}})).encode(),
            "'ftp'",
        ),
        ("item.json", b" " * (LARGEST_DOCUMENT + 1), "larger"),
    ],
)
def test_file_that_is_no_product_is_refused(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OrderError, match=says) as caught:
        one(tmp_path / name)
    assert caught.value.exit_code == 2


def test_folder_that_is_no_product_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OrderError, match="no such file or folder"):
        one(tmp_path / "absent.SAFE")
    (tmp_path / S1_NAME).mkdir()
    with pytest.raises(OrderError, match="a folder without a manifest"):
        one(tmp_path / S1_NAME)


def test_product_folder_that_lost_its_suffix_is_told_so(tmp_path: Path) -> None:
    for name in (S1_NAME, S3_NAME):
        folder = product(tmp_path, name)
        for other in ("renamed", f"{NAME}.safe"):
            path = folder.rename(tmp_path / other)
            with pytest.raises(OrderError, match=r"its name must end in \.SAFE or \.SEN3"):
                one(path)
            folder = path.rename(folder)


def test_folder_elsewhere_is_called_exactly_as_on_disk(site: HttpFiles) -> None:
    """Staging would take a folder in small letters for an archive."""
    with pytest.raises(OrderError, match="404"):
        one(site.url(f"{NAME}.safe"))


def test_source_that_cannot_be_read_is_a_permanent_error() -> None:
    unreadable = Path("/proc/self/mem")  # whoever reads its first byte gets an error
    if not unreadable.is_file():
        pytest.skip("needs Linux's /proc")
    with pytest.raises(PermanentError, match=r"/proc/self/mem: it cannot be read \(.+\)\. Check the rights"):
        one(unreadable)


def test_asset_of_what_has_none_is_refused(tmp_path: Path) -> None:
    wishes = Wishes(owner="local", default_owner="local", assets=("product",))
    for source in (product(tmp_path), archive(tmp_path, f"{NAME}.zip"), f"s3://bucket/{S1_NAME}"):
        with pytest.raises(OrderError, match="assets are chosen from a STAC document, and this is a product"):
            one(source, wishes)


def test_bad_features_do_not_hold_up_the_others(tmp_path: Path) -> None:
    features: list[object] = [
        feature("X"),
        feature("../x"),
        feature("no-product", assets={}),
        feature("twice"),
        {"type": "Catalog"},
        feature("twice"),
        "nothing",
        feature("Y"),
    ]
    path = tmp_path / "found.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    outcomes = list(order_each(str(path), WISHES))
    expected = ["X", "an item id has", "no asset looks like", "twice", "no GeoJSON feature", "twice"]
    for outcome, words in zip(outcomes, [*expected, "no GeoJSON feature", "Y"], strict=True):
        assert isinstance(outcome, Order if len(words) == 1 else OrderError)
        assert words in (outcome.key if isinstance(outcome, Order) else str(outcome))
    with pytest.raises(OrderError, match="an item id has"):
        orders_from(str(path), WISHES)


def test_document_as_a_whole_is_refused_at_once(tmp_path: Path, site: HttpFiles) -> None:
    path = tmp_path / "item.json"
    path.write_text('{"type": "Catalog"}')
    with pytest.raises(OrderError, match="STAC Catalog"):
        order_each(str(path), WISHES)
    site.add("secret", b"[]")
    with pytest.raises(OrderError, match="a list") as caught:
        order_each(f"{site.url('secret')}?signature=hunter2", WISHES)
    assert "hunter2" not in str(caught.value)


UNKNOWN_TYPE = S3_NAME.replace("OL_1_EFR", "SL_2_WST")
ONLY_S2 = Wishes(
    owner="local", default_owner="local", target=TargetRule(product_type="S02MSIL2A", collection="c")
)


@pytest.mark.parametrize("source", [f"s3://bucket/{S1_NAME}", f"https://host/{NAME}.zip"])
def test_target_rule_that_does_not_fit_is_refused_at_once(source: str) -> None:
    with pytest.raises(OrderError, match="no target for a product of type S01SIWGRD"):
        one(source, ONLY_S2)


def test_target_rule_is_held_against_the_name_of_an_item(tmp_path: Path) -> None:
    path = tmp_path / "item.json"
    path.write_text(json.dumps(feature(NAME, assets={"product": {"href": "https://host/download"}})))
    with pytest.raises(OrderError, match="no target for a product of type S01SIWGRD"):
        one(path, ONLY_S2)


def test_product_of_a_type_without_mapping_is_refused_at_once(tmp_path: Path) -> None:
    for source in (f"s3://bucket/{UNKNOWN_TYPE}", product(tmp_path, UNKNOWN_TYPE)):
        with pytest.raises(OrderError, match="has no mapping for its type"):
            one(source)


def item_of_type(folder: Path, product_type: str, item_id: str, href: str) -> Path:
    path = folder / f"{item_id}.json"
    document = feature(item_id, properties={"product:type": product_type}, assets={"product": {"href": href}})
    path.write_text(json.dumps(document))
    return path


def remarking(remarks: list[str], wishes: Wishes = WISHES) -> Wishes:
    return replace(wishes, remark=remarks.append)


def test_announced_type_without_mapping_is_refused_at_once(tmp_path: Path) -> None:
    path = item_of_type(tmp_path, "SL_2_WST___", "X", "s3://b/product.zip")
    with pytest.raises(OrderError, match=r"item X: its product:type is 'SL_2_WST___'.* no mapping"):
        one(path)


@pytest.mark.parametrize("announced", ["IW_GRDH_1S", "iw_grdh_1s-cog", "S01SIWGRD"])
def test_announced_type_stands_where_no_name_tells(announced: str, tmp_path: Path) -> None:
    remarks: list[str] = []
    path = item_of_type(tmp_path, announced, "X", "s3://b/product.zip")
    assert one(path, remarking(remarks)).item_id == "X"
    with pytest.raises(OrderError, match="no target for a product of type S01SIWGRD"):
        one(path, ONLY_S2)
    assert remarks == []


@pytest.mark.parametrize(
    ("announced", "remarked"),
    [("IW_GRDH_1S", False), ("S2MSI1C", True), ("GRD", True), ("SL_2_WST___", True)],
)
def test_name_counts_where_the_announced_type_differs(announced: str, remarked: bool, tmp_path: Path) -> None:
    remarks: list[str] = []
    path = item_of_type(tmp_path, announced, NAME, f"s3://b/{S1_NAME}.zip")
    assert one(path, remarking(remarks)).item_id == NAME
    assert [f"its product:type is {announced!r}" in remark for remark in remarks] == [True] * remarked
    with pytest.raises(OrderError, match="no target for a product of type S01SIWGRD"):
        one(path, remarking(remarks, ONLY_S2))


def test_checksum_that_cannot_be_used_is_remarked_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asset = {"href": "s3://b/X.zip", "file:checksum": "an-entity-tag"}
    path = tmp_path / "item.json"
    path.write_text(json.dumps(feature("X", assets={"product": asset})))
    remarks: list[str] = []
    assert one(path, remarking(remarks)).checksum is None
    assert caplog.messages == []
    (remark,) = remarks
    assert remark.startswith("item X, asset 'product': its file:checksum was left out")
    one(path)
    assert caplog.messages == [remark]


@pytest.mark.parametrize("name", ["holiday.zip", "S2A_sample.zip", "S2A_32TLN_20240615_0_L2A.zip"])
def test_archive_of_any_other_name_may_hold_any_product(name: str) -> None:
    assert one(f"s3://bucket/{name}", ONLY_S2).item_id == name.removesuffix(".zip")


@pytest.mark.parametrize(
    "source",
    [
        "ftp://host/X.zip",
        "ftp://host/item",
        "javascript://host/X.SAFE",
        "http://[/X.zip",
        "https://host:port/X.zip",
        "file://another-host/X.zip",
        "://x",
        "https://host/.zip",
        "https://host/a%2F..zip",
        "s3://bucket/...zip",
    ],
)
def test_url_that_must_not_be_followed_is_a_bad_order(source: str) -> None:
    with pytest.raises(OrderError) as caught:
        one(source)
    assert caught.value.exit_code == 2


def test_schemes_may_be_narrowed(tmp_path: Path) -> None:
    only_s3 = Wishes(owner="local", default_owner="local", rules=HrefRules(("s3",)))
    assert one(f"s3://bucket/{S1_NAME}", only_s3).key == NAME
    (tmp_path / "item.json").write_text(json.dumps(feature("X")))
    for source in (f"https://host/{S1_NAME}", (tmp_path / "item.json").as_uri(), str(tmp_path / "item.json")):
        with pytest.raises(OrderError, match="not allowed"):
            one(source, only_s3)


def test_hosts_may_be_narrowed(tmp_path: Path) -> None:
    rules = HrefRules(("file", "https"), hosts=("data.test",))
    wishes = Wishes(owner="local", default_owner="local", rules=rules)
    features = [
        feature(name, assets={"product": {"href": f"https://{host}/{NAME}.SAFE.zip"}})
        for name, host in (("A", "data.test"), ("B", "elsewhere.test"), ("C", "127.0.0.1"))
    ]
    document = tmp_path / "items.json"
    document.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    sound, elsewhere, private = order_each(str(document), wishes)
    assert isinstance(sound, Order)
    assert isinstance(elsewhere, OrderError)
    assert isinstance(private, OrderError)
    with pytest.raises(OrderError, match=r"only data\.test"):
        one(f"https://elsewhere.test/{NAME}.zip", wishes)


def test_answers_of_the_server_are_told_by_class(site: HttpFiles) -> None:
    with pytest.raises(OrderError, match="404"):
        one(site.url("absent"))
    site.add("busy").status = 503
    with pytest.raises(TransientError, match="503"):
        one(site.url("busy"))
    site.add("large", b" " * (LARGEST_DOCUMENT + 1))
    with pytest.raises(OrderError, match="larger than a document"):
        one(site.url("large"))


@pytest.mark.parametrize("owner", ["", "../x", "a b", "a/b"])
def test_owner_that_leads_astray_is_refused(owner: str, tmp_path: Path) -> None:
    with pytest.raises(OrderError, match="owner"):
        one(archive(tmp_path, f"{NAME}.zip"), Wishes(owner=owner, default_owner="local"))
