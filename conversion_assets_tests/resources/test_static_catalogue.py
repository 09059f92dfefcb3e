from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import pystac
import pytest

from conversion_assets.errors import OrderError
from conversion_assets.resources.catalogue import CollectionSpec, differences
from conversion_assets.resources.static_catalogue import StaticCatalogue
from conversion_assets.stac.validation import validate_catalog, validate_collection, validate_item
from conversion_assets.stac.versions import self_href
from conversion_assets_tests.contracts.catalogue import Bench, CatalogueContract
from conversion_assets_tests.resources.items import SPEC, START, item

VALIDATE = {"Feature": validate_item, "Collection": validate_collection, "Catalog": validate_catalog}
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["conversion_assets.resources.object_store", "conversion_assets_tests.resources.test_static_catalogue"]
)


@pytest.fixture
def catalogue(tmp_path: Path) -> StaticCatalogue:
    return StaticCatalogue(root=str(tmp_path / "catalogue"))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("nothing may be fetched")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def bench(catalogue: StaticCatalogue) -> Bench:
    root = Path(catalogue.root)
    collection = root / SPEC.owner / SPEC.id / "collection.json"
    return Bench(
        catalogue=catalogue,
        spec=SPEC,
        place=lambda name: f"s3://bucket/{name}.zarr",
        collection=lambda: json.loads(collection.read_bytes()),
        items=lambda: item_ids(root),
        state=lambda: state(root),
    )


class TestStaticCatalogue(CatalogueContract):
    pass


def documents(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in root.rglob("*.json"):
        yield path, json.loads(path.read_bytes())


def reachable(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Walk down from a document as a reader does; a child or item that is not there fails the walk."""
    document = json.loads(path.read_bytes())
    yield path, document
    for link in document["links"]:
        if link["rel"] in ("child", "item"):
            yield from reachable(Path(os.path.normpath(path.parent / link["href"])))


def dangling(root: Path) -> list[str]:
    """Name the links of documents that a reader can reach which lead nowhere."""
    return [
        f"{path.relative_to(root)} -> {link['href']}"
        for path, document in reachable(root / "catalog.json")
        for link in document["links"]
        if "://" not in link["href"] and not (path.parent / link["href"]).is_file()
    ]


def item_ids(root: Path) -> list[str]:
    catalogue = pystac.Catalog.from_file(str(root / "catalog.json"))
    return sorted(found.id for found in catalogue.get_items(recursive=True))


def state(root: Path) -> dict[str, tuple[int, int]]:
    return {
        path.relative_to(root).as_posix(): (path.stat().st_mtime_ns, path.stat().st_ino)
        for path, _ in documents(root)
    }


@pytest.mark.usefixtures("offline")
def test_published_catalogue_opens_and_is_valid_offline(catalogue: StaticCatalogue) -> None:
    root = Path(catalogue.root)
    for number in range(4):
        day = START + timedelta(days=number // 2)
        catalogue.publish(item(f"I{number}", start=day), SPEC)
    catalogue.publish(item("I0"), CollectionSpec(owner="another", id="own", title="Own"))
    for _, document in documents(root):
        VALIDATE[document["type"]](document)
    assert dangling(root) == []
    assert item_ids(root) == ["I0", "I0", "I1", "I2", "I3"]
    opened = pystac.Catalog.from_file(str(root / "catalog.json"))
    assert [child.id for child in opened.get_children()] == ["someone", "another"]
    collection = next(found for found in opened.get_all_collections() if found.id == SPEC.id)
    assert collection.title == SPEC.title
    assert [day.id for day in collection.get_children()] == ["2024-06-15", "2024-06-16"]
    for found in collection.get_items(recursive=True):
        assert found.get_collection() is not None
        assert found.get_root() is opened


def test_item_is_read_back_as_it_was_sent(catalogue: StaticCatalogue, tmp_path: Path) -> None:
    place = tmp_path / "products with blanks, 100% and #1" / "product.zarr"
    place.mkdir(parents=True)
    sent = item(href=place.as_uri())
    href = catalogue.publish(sent, SPEC)
    found = catalogue.read(href)
    assert differences(sent, found) == ()
    assert found["assets"]["product"]["href"] == place.as_uri()
    stored = pystac.Item.from_file(href)
    assert not stored.assets["product"].href.startswith("file:")
    resolved = stored.assets["product"].get_absolute_href()
    assert resolved is not None
    assert sent == item(href=place.as_uri())


def test_catalogue_and_products_may_be_moved_together(catalogue: StaticCatalogue, tmp_path: Path) -> None:
    product = tmp_path / "products" / "product.zarr"
    product.mkdir(parents=True)
    catalogue.publish(item(href=product.as_uri()), SPEC)
    for name in ("catalogue", "products"):
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    opened = pystac.Catalog.from_file(str(tmp_path / "elsewhere" / "catalogue" / "catalog.json"))
    (found,) = opened.get_items(recursive=True)
    assert Path(str(found.assets["product"].get_absolute_href())).is_dir()


def test_item_whose_day_changes_stays_where_others_link_to_it(catalogue: StaticCatalogue) -> None:
    href = catalogue.publish(item("I1"), SPEC)
    assert catalogue.publish(item("I1", start=START + timedelta(days=1)), SPEC) == href
    assert item_ids(Path(catalogue.root)) == ["I1"]
    assert dangling(Path(catalogue.root)) == []


def test_publishing_again_replaces_the_item_alone(catalogue: StaticCatalogue) -> None:
    root = Path(catalogue.root)
    catalogue.publish(item("I1"), SPEC)
    before = state(root)
    href = catalogue.publish(item("I1", href="s3://bucket/newer.zarr"), SPEC)
    assert catalogue.read(href)["assets"]["product"]["href"] == "s3://bucket/newer.zarr"
    changed = {name for name, stamp in state(root).items() if before.get(name) != stamp}
    assert changed == {"someone/sentinel-2-l1c/2024-06-15/I1.json"}
    assert item_ids(root) == ["I1"]


def test_adding_an_item_does_not_rewrite_other_days(catalogue: StaticCatalogue) -> None:
    root = Path(catalogue.root)
    catalogue.publish(item("I1"), SPEC)
    catalogue.publish(item("I2", start=START + timedelta(days=1)), SPEC)
    before = state(root)
    catalogue.publish(item("I3", start=START + timedelta(days=1)), SPEC)
    changed = {name for name, stamp in state(root).items() if before.get(name) != stamp}
    assert changed == {
        "someone/sentinel-2-l1c/2024-06-16/I3.json",
        "someone/sentinel-2-l1c/2024-06-16/catalog.json",
    }


def test_what_a_killed_publication_or_removal_left_is_given_as_unlinked(catalogue: StaticCatalogue) -> None:
    root = Path(catalogue.root)
    day = root / SPEC.owner / SPEC.id / "2024-06-15"
    for name in ("removed", "stays"):
        catalogue.publish(item(name, href=f"s3://bucket/{name}.zarr"), SPEC)
    assert list(catalogue.unlinked(SPEC)) == []
    assert list(catalogue.unlinked(CollectionSpec("nobody", "nothing", ""))) == []

    document = json.loads((day / "catalog.json").read_bytes())
    document["links"] = [link for link in document["links"] if link["href"] != "./removed.json"]
    (day / "catalog.json").write_text(json.dumps(document))
    next_day = day.with_name("2024-06-16")
    next_day.mkdir()
    shutil.copy(day / "stays.json", next_day / "added.json")
    (next_day / ".half.json").write_text("{")
    left = {Path(self_href(found)).name: found for found in catalogue.unlinked(SPEC)}
    assert sorted(left) == ["added.json", "removed.json"]
    assert left["removed.json"]["assets"]["product"]["href"] == "s3://bucket/removed.zarr"
    assert item_ids(root) == ["stays"]

    catalogue.remove("removed", SPEC)
    assert [Path(self_href(found)).name for found in catalogue.unlinked(SPEC)] == ["added.json"]


def extent_of(catalogue: StaticCatalogue) -> dict[str, Any]:
    path = Path(catalogue.root, SPEC.owner, SPEC.id, "collection.json")
    document: dict[str, Any] = json.loads(path.read_bytes())
    validate_collection(document)
    extent: dict[str, Any] = document["extent"]
    return extent


@pytest.mark.parametrize("name", ["catalog", "Collection"])
def test_names_of_its_own_documents_are_refused(catalogue: StaticCatalogue, name: str) -> None:
    with pytest.raises(OrderError):
        catalogue.publish(item(name), SPEC)
    for spec in (
        CollectionSpec(owner=f"{name}.json", id="c", title=""),
        CollectionSpec(owner="o", id=f"{name}.json", title=""),
    ):
        with pytest.raises(OrderError):
            catalogue.publish(item(), spec)
    assert list(documents(Path(catalogue.root))) == []


# --- several writers, and writers that are killed ---------------------------------------------------


def _publish_many(root: str, names: list[str]) -> None:
    catalogue = StaticCatalogue(root=root)
    for number, name in enumerate(names):
        start = START + timedelta(days=number % 3)
        catalogue.publish(item(name, start=start, bbox=(number, 0, number + 1, 1)), SPEC)


def test_writers_at_once_lose_nothing(catalogue: StaticCatalogue) -> None:
    names = [[f"W{writer}I{number}" for number in range(12)] + ["shared"] for writer in range(4)]
    writers = [PROCESSES.Process(target=_publish_many, args=(catalogue.root, mine)) for mine in names]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0] * 4
    root = Path(catalogue.root)
    assert item_ids(root) == sorted({name for mine in names for name in mine})
    assert dangling(root) == []
    assert extent_of(catalogue)["spatial"]["bbox"] == [[0, 0, 13, 1]]


def _publish_for_ever(root: str, prefix: str) -> None:
    catalogue = StaticCatalogue(root=root)
    for number in range(1_000_000):
        spec = CollectionSpec(owner=f"{prefix}{number % 3}", id=f"c{number % 5}", title="")
        catalogue.publish(item(f"{prefix}{number}", start=START + timedelta(days=number)), spec)


def test_killed_writer_leaves_no_dangling_link(catalogue: StaticCatalogue) -> None:
    root = Path(catalogue.root)
    catalogue.publish(item("before"), SPEC)
    for attempt in range(12):
        writer = PROCESSES.Process(target=_publish_for_ever, args=(catalogue.root, f"K{attempt}"))
        writer.start()
        while not (root / f"K{attempt}0").is_dir() and writer.is_alive():
            time.sleep(0.001)
        time.sleep(0.003 * attempt)
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join(60)
        assert writer.exitcode == -signal.SIGKILL
        assert dangling(root) == []
    catalogue.publish(item("after"), SPEC)
    assert {"before", "after"} <= set(item_ids(root))
    for _, document in reachable(root / "catalog.json"):
        VALIDATE[document["type"]](document)
