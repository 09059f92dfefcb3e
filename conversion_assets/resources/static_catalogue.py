"""A static STAC catalogue on disk: the embedded default. Root → owner → collection → day → items."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pystac

from conversion_assets.errors import OrderError, PermanentError
from conversion_assets.orders import CATALOGUE_DOCUMENTS, valid_identifier, valid_key
from conversion_assets.resources.catalogue import (
    CATALOGUE_LINKS,
    Catalogue,
    CollectionSpec,
    Document,
    collection_document,
)
from conversion_assets.resources.file_exchange import write_whole
from conversion_assets.stac.extents import grown
from conversion_assets.stac.validation import validate_catalog, validate_collection
from conversion_assets.stac.versions import VERSION_LINKS


class StaticCatalogue(Catalogue):
    """A self-contained static catalogue in a folder, safe under concurrent writers.

    A document is written before anything links to it, removed after everything that links to it, and
    replaced as a whole, so that a reader finds no dangling link at any time, wherever a writer was killed.
    One day of one collection is one sub-catalogue: adding an item rewrites that one, not the whole
    collection. An item stays where it was put first, also when its time changes: others link to it.

    Attributes:
        root: folder of the catalogue.
        title: title of its root.
    """

    root: str
    title: str = "EOPF products"

    def publish(self, item: Document, collection: CollectionSpec) -> str:
        """See ``Catalogue.publish``."""
        folder = self._folder(collection)
        _check_item_id(item["id"])
        with self._locked():
            path = self._path_of(item["id"], collection) or folder / _day_of(item) / f"{item['id']}.json"
            day = path.parent
            _write(path, _placed_item(item, path, collection))
            self._link_day(day, path, item)
            self._link_collection(folder, day, item, collection)
            self._link_owner(folder)
        return path.as_uri()

    def read(self, href: str) -> Document:
        """See ``Catalogue.read``."""
        item = _opened(Path(unquote(urlsplit(href).path)))
        if item is None:
            raise PermanentError(href, "the catalogue has no such item", "Publish the product again.")
        return item

    def find(self, item_id: str, collection: CollectionSpec) -> Document | None:
        """See ``Catalogue.find``."""
        path = self._path_of(item_id, collection)
        return None if path is None else _opened(path)

    def remove(self, item_id: str, collection: CollectionSpec) -> None:
        """See ``Catalogue.remove``; the last item of a day takes the day's sub-catalogue with it."""
        folder = self._folder(collection)
        _check_item_id(item_id)
        with self._locked():
            path = self._path_of(item_id, collection)
            if path is not None:
                _remove(path, folder / "collection.json")

    def items(self, collection: CollectionSpec) -> Iterator[Document]:
        """See ``Catalogue.items``."""
        for day in _linked(self._folder(collection) / "collection.json", "child"):
            for path in _linked(day, "item"):
                item = _opened(path)
                if item is not None:
                    yield item

    def unlinked(self, collection: CollectionSpec) -> Iterator[Document]:
        """See ``Catalogue.unlinked``."""
        folder = self._folder(collection)
        days = _linked(folder / "collection.json", "child")
        linked = {path for day in days for path in _linked(day, "item")}
        for path in sorted(folder.glob("*/[!.]*.json")):
            item = None if path in linked or path.name in CATALOGUE_DOCUMENTS else _opened(path)
            if item is not None:
                yield item

    def collections(self) -> Iterator[CollectionSpec]:
        """See ``Catalogue.collections``."""
        for owner in _linked(self._root / "catalog.json", "child"):
            for path in _linked(owner, "child"):
                document = _read(path)
                if document is not None:
                    yield CollectionSpec(owner.parent.name, document["id"], document.get("title", ""))

    @property
    def _root(self) -> Path:
        return Path(self.root)

    def _folder(self, collection: CollectionSpec) -> Path:
        for name in (collection.owner, collection.id):
            valid_identifier("name", name)
        return self._root / collection.owner / collection.id

    def _path_of(self, item_id: str, collection: CollectionSpec) -> Path | None:
        """Find an item's document, whatever day it is of."""
        folder = self._folder(collection)
        _check_item_id(item_id)
        return next(folder.glob(f"*/{item_id}.json"), None)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _link_day(self, day: Path, item_path: Path, item: Document) -> None:
        path = day / "catalog.json"
        document = _read(path) or _catalogue_document(day.name, f"Products of {day.name}.", levels=3)
        _add_link(document, "item", f"./{item_path.name}", item["id"])
        _write(path, document)

    def _link_collection(self, folder: Path, day: Path, item: Document, spec: CollectionSpec) -> None:
        path = folder / "collection.json"
        document = _read(path) or _collection_document(spec, item)
        document["extent"] = grown(document["extent"], item)
        _add_link(document, "child", f"./{day.name}/catalog.json", day.name)
        validate_collection(document)
        _write(path, document)

    def _link_owner(self, folder: Path) -> None:
        owner = folder.parent
        path = owner / "catalog.json"
        document = _read(path) or _catalogue_document(owner.name, f"Collections of {owner.name}.", levels=1)
        _add_link(document, "child", f"./{folder.name}/collection.json", folder.name)
        _write(path, document)
        root = self._root / "catalog.json"
        document = _read(root) or _catalogue_document("eopf-products", self.title, levels=0)
        _add_link(document, "child", f"./{owner.name}/catalog.json", owner.name)
        validate_catalog(document)
        _write(root, document)


def _check_item_id(item_id: str) -> None:
    """Keep apart what is the catalogue's own: its documents stand beside the items."""
    valid_key(item_id)
    if f"{item_id}.json".lower() in CATALOGUE_DOCUMENTS:
        raise OrderError(item_id, "the catalogue keeps a document of its own under this name", "Rename it.")


def _day_of(item: Document) -> str:
    return datetime.fromisoformat(item["properties"]["datetime"]).date().isoformat()


def _placed_item(item: Document, path: Path, spec: CollectionSpec) -> Document:
    """Give an item the links of its place, and hrefs relative to it for products on the same disk."""
    placed = deepcopy(item)
    links = [link for link in placed["links"] if link["rel"] not in CATALOGUE_LINKS]
    placed["links"] = [
        {"rel": "root", "href": "../../../catalog.json", "type": "application/json"},
        {"rel": "parent", "href": "./catalog.json", "type": "application/json"},
        {"rel": "collection", "href": "../collection.json", "type": "application/json"},
        *links,
    ]
    placed["collection"] = spec.id
    for target in _own_targets(placed):
        parts = urlsplit(target["href"])
        if parts.scheme == "file":
            target["href"] = quote(os.path.relpath(unquote(parts.path), path.parent))
    return placed


def _own_targets(item: Document) -> list[Document]:
    """Give what leads to the same disk, and moves with the catalogue: assets, and items of other versions."""
    return [*item["assets"].values(), *(link for link in item["links"] if link["rel"] in VERSION_LINKS)]


def _opened(path: Path) -> Document | None:
    """Read an item with absolute hrefs, as it was before it was placed."""
    item = _read(path)
    if item is None:
        return None
    for target in _own_targets(item):
        if not urlsplit(target["href"]).scheme:
            target["href"] = Path(os.path.normpath(path.parent / unquote(target["href"]))).as_uri()
    item["links"].append({"rel": "self", "href": path.as_uri(), "type": "application/geo+json"})
    return item


def _catalogue_document(name: str, description: str, *, levels: int) -> Document:
    document = pystac.Catalog(id=name, description=description, title=name).to_dict(include_self_link=False)
    document["links"] = _upward_links(levels)
    return document


def _upward_links(levels: int) -> list[Document]:
    root = {"rel": "root", "href": f"{'../' * levels or './'}catalog.json", "type": "application/json"}
    if not levels:
        return [root]
    parent = "../collection.json" if levels == 3 else "../catalog.json"  # noqa: PLR2004 - root, owner, collection, day
    return [root, {"rel": "parent", "href": parent, "type": "application/json"}]


def _collection_document(spec: CollectionSpec, item: Document) -> Document:
    document = collection_document(spec, item)
    return {**document, "links": [*_upward_links(2), *document["links"]]}


def _add_link(document: Document, rel: str, href: str, title: str) -> None:
    media_type = "application/geo+json" if rel == "item" else "application/json"
    if not any(link["rel"] == rel and link["href"] == href for link in document["links"]):
        document["links"].append({"rel": rel, "href": href, "type": media_type, "title": title})


def _linked(path: Path, rel: str) -> list[Path]:
    """Give the documents to which a document links, none where it is not there."""
    document = _read(path) or {"links": []}
    hrefs = [link["href"] for link in document["links"] if link["rel"] == rel]
    return [Path(os.path.normpath(path.parent / unquote(href))) for href in hrefs]


def _remove(path: Path, collection: Path) -> None:
    """Remove an item's document after the links that lead to it, and so its day when it is the last one."""
    day = path.parent / "catalog.json"
    if not [other for other in _linked(day, "item") if other != path]:
        _remove_link(collection, day)
        day.unlink(missing_ok=True)
    else:
        _remove_link(day, path)
    path.unlink(missing_ok=True)
    with suppress(OSError):  # something else is in it
        if not day.exists():
            path.parent.rmdir()


def _remove_link(path: Path, target: Path) -> None:
    document = _read(path)
    if document is None:
        return
    href = f"./{target.relative_to(path.parent).as_posix()}"
    document["links"] = [link for link in document["links"] if link["href"] != href]
    _write(path, document)


def _read(path: Path) -> Document | None:
    try:
        document: Document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return document


def _write(path: Path, document: Document) -> None:
    if _read(path) != document:
        write_whole(path, json.dumps(document, indent=1).encode())
