from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pystac
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_assets.errors import OrderError, PermanentError
from conversion_assets.resources.catalogue import CollectionSpec, StaticCatalogue, _united, differences
from conversion_assets.stac.validation import validate_catalog, validate_collection, validate_item
from conversion_assets_tests.resources.items import SPEC, START, item

VALIDATE = {"Feature": validate_item, "Collection": validate_collection, "Catalog": validate_catalog}
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["conversion_assets.resources.object_store", "conversion_assets_tests.resources.test_catalogue"]
)
Box = tuple[float, float, float, float]


@pytest.fixture
def catalogue(tmp_path: Path) -> StaticCatalogue:
    return StaticCatalogue(root=str(tmp_path / "catalogue"))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("nothing may be fetched")

    monkeypatch.setattr(socket.socket, "connect", refuse)


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


def boxes_hold(boxes: list[list[float]], box: Box) -> bool:
    west, south, east, north = box
    return any(
        w <= west and s <= south and east <= e and north <= n
        if w <= e
        else s <= south and north <= n and (west >= w if west > east else west >= w or east <= e)
        for w, s, e, n in boxes
    )


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


def test_publishing_twice_changes_nothing(catalogue: StaticCatalogue) -> None:
    first = catalogue.publish(item(bbox=(170, -10, -170, 10)), SPEC)
    before = state(Path(catalogue.root))
    assert catalogue.publish(item(bbox=(170, -10, -170, 10)), SPEC) == first
    assert state(Path(catalogue.root)) == before


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


def test_extents_grow(catalogue: StaticCatalogue) -> None:
    boxes: list[Box] = [(10, 45, 11, 46), (-5, 40, 10.5, 45.5), (20, -60, 21, -59)]
    for number, box in enumerate(boxes):
        catalogue.publish(item(f"I{number}", bbox=box, start=START - timedelta(days=number)), SPEC)
    extent = extent_of(catalogue)
    assert extent["spatial"]["bbox"] == [[-5, -60, 21, 46]]
    (interval,) = extent["temporal"]["interval"]
    assert [datetime.fromisoformat(text) for text in interval] == [
        START - timedelta(days=2),
        START + timedelta(seconds=25),
    ]


def test_extent_holds_products_at_the_antimeridian(catalogue: StaticCatalogue) -> None:
    boxes: list[Box] = [(175, -10, -178, 10), (160, 20, 161, 21), (-5, 40, 10, 45)]
    for number, box in enumerate(boxes):
        catalogue.publish(item(f"I{number}", bbox=box), SPEC)
        grown = extent_of(catalogue)["spatial"]["bbox"]
        assert all(boxes_hold(grown, known) for known in boxes[: number + 1])


@given(
    st.lists(
        st.tuples(st.floats(-180, 180), st.floats(-90, 90), st.floats(-180, 180), st.floats(-90, 90)).map(
            lambda box: (box[0], min(box[1], box[3]), box[2], max(box[1], box[3]))
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_extent_holds_all_its_items(boxes: list[Box]) -> None:
    union = list(boxes[0])
    for box in boxes:
        union = _united(union, list(box))
    assert all(boxes_hold([union], box) for box in boxes)


def extent_of(catalogue: StaticCatalogue) -> dict[str, Any]:
    path = Path(catalogue.root, SPEC.owner, SPEC.id, "collection.json")
    document: dict[str, Any] = json.loads(path.read_bytes())
    validate_collection(document)
    extent: dict[str, Any] = document["extent"]
    return extent


HOSTILE = ("../x", "a/b", "", ".hidden", "a\0", "x" * 300)


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        *((name, SPEC) for name in (*HOSTILE, "catalog")),
        *(("I", CollectionSpec(owner=name, id="c", title="")) for name in (*HOSTILE, "catalog.json")),
        *(("I", CollectionSpec(owner="o", id=name, title="")) for name in (*HOSTILE, "catalog.json")),
    ],
)
def test_names_that_lead_astray_are_refused(
    name: str, spec: CollectionSpec, catalogue: StaticCatalogue
) -> None:
    with pytest.raises(OrderError):
        catalogue.publish(item(name), spec)
    assert list(documents(Path(catalogue.root))) == []


def test_missing_item_is_told(catalogue: StaticCatalogue, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="no such item"):
        catalogue.read((tmp_path / "absent.json").as_uri())


def test_differences_are_named() -> None:
    sent, found = item(), item(href="s3://elsewhere/x.zarr")
    found["properties"]["datetime"] = "2000-01-01T00:00:00Z"
    found["links"] = [{"rel": "root", "href": "./catalog.json"}]
    found["bbox"] = [0, 0, 1, 1]
    assert differences(sent, found) == ("assets.product", "bbox", "links", "properties.datetime")
    assert differences(sent, item()) == ()


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
