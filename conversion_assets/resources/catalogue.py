"""The catalogue: where readers find what was converted.

The embedded default is a static STAC catalogue on disk: root → owner → collection → day → items.
"""

from __future__ import annotations

import fcntl
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import dagster as dg
import pystac

from conversion_assets.errors import OrderError, PermanentError
from conversion_assets.orders import CATALOGUE_DOCUMENTS, valid_identifier, valid_key
from conversion_assets.resources.file_exchange import write_whole
from conversion_assets.stac.validation import validate_catalog, validate_collection

CATALOGUE_LINKS = frozenset({"self", "root", "parent", "collection"})
LICENCE = pystac.Link(
    "license",
    "https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice",
    title="Legal notice on the use of Copernicus Sentinel data and service information",
)
Document = dict[str, Any]


@dataclass(frozen=True)
class CollectionSpec:
    """What a collection is made with when the first item arrives.

    Attributes:
        owner: whose collection.
        id: STAC collection id.
        title: for people.
    """

    owner: str
    id: str
    title: str


class Catalogue(dg.ConfigurableResource, ABC):  # type: ignore[type-arg] # the resource provides itself
    """Publishes STAC items."""

    @abstractmethod
    def publish(self, item: Document, collection: CollectionSpec) -> str:
        """Add an item or replace it; nothing happens when it is there already.

        The collection is made when missing, and its extents grow to hold the item.

        Returns:
            Where the item can be read.

        Raises:
            TransientError: the catalogue cannot be reached just now.
            PermanentError: it refuses the item; with its own words.
        """

    @abstractmethod
    def read(self, href: str) -> Document:
        """Read a published item back, with absolute asset hrefs.

        Raises:
            PermanentError: there is none.
        """


def differences(sent: Document, found: Document) -> tuple[str, ...]:
    """Name the fields in which a published item differs from what was sent.

    Links that belong to the catalogue are left aside.
    """
    one, other = _comparable(sent), _comparable(found)
    return tuple(sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name)))


def _comparable(item: Document) -> Document:
    links = [link for link in item.get("links", ()) if link.get("rel") not in CATALOGUE_LINKS]
    flat: Document = {f"properties.{k}": v for k, v in item.get("properties", {}).items()}
    flat |= {f"assets.{k}": v for k, v in item.get("assets", {}).items()}
    rest = {k: v for k, v in item.items() if k not in ("properties", "assets", "links")}
    return json.loads(json.dumps(flat | rest | {"links": links}))  # type: ignore[no-any-return] # tuples become lists


class StaticCatalogue(Catalogue):
    """A self-contained static catalogue in a folder, safe under concurrent writers.

    A document is written before anything links to it, and replaced as a whole, so that a reader finds
    no dangling link at any time, wherever a writer was killed. One day of one collection is one
    sub-catalogue: adding an item rewrites that one, not the whole collection.

    Attributes:
        root: folder of the catalogue.
        title: title of its root.
    """

    root: str
    title: str = "EOPF products"

    def publish(self, item: Document, collection: CollectionSpec) -> str:
        """See ``Catalogue.publish``."""
        valid_key(item["id"])
        for name in (collection.owner, collection.id):
            valid_identifier("name", name)
        _refuse_reserved(item["id"])
        with self._locked():
            folder = self._root / collection.owner / collection.id
            day = folder / _day_of(item)
            path = day / f"{item['id']}.json"
            _write(path, _placed_item(item, path, collection))
            self._link_day(day, path, item)
            self._link_collection(folder, day, item, collection)
            self._link_owner(folder)
        return path.as_uri()

    def read(self, href: str) -> Document:
        """See ``Catalogue.read``."""
        path = Path(unquote(urlsplit(href).path))
        item = _read(path)
        if item is None:
            raise PermanentError(href, "the catalogue has no such item", "Publish the product again.")
        for asset in item["assets"].values():
            if not urlsplit(asset["href"]).scheme:
                asset["href"] = Path(os.path.normpath(path.parent / unquote(asset["href"]))).as_uri()
        return item

    @property
    def _root(self) -> Path:
        return Path(self.root)

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
        _grow(document["extent"], item)
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


def _refuse_reserved(item_id: str) -> None:
    """Keep apart what is the catalogue's own: its documents stand beside the items."""
    if f"{item_id}.json".lower() in CATALOGUE_DOCUMENTS:
        raise OrderError(item_id, "the catalogue keeps a document of its own under this name", "Rename it.")


def _day_of(item: Document) -> str:
    return datetime.fromisoformat(item["properties"]["datetime"]).date().isoformat()


def _placed_item(item: Document, path: Path, spec: CollectionSpec) -> Document:
    """Give an item the links of its place, and hrefs relative to it for products on the same disk."""
    placed = deepcopy(item)
    links = [link for link in item["links"] if link["rel"] not in CATALOGUE_LINKS]
    placed["links"] = [
        {"rel": "root", "href": "../../../catalog.json", "type": "application/json"},
        {"rel": "parent", "href": "./catalog.json", "type": "application/json"},
        {"rel": "collection", "href": "../collection.json", "type": "application/json"},
        *links,
    ]
    placed["collection"] = spec.id
    for asset in placed["assets"].values():
        parts = urlsplit(asset["href"])
        if parts.scheme == "file":
            asset["href"] = quote(os.path.relpath(unquote(parts.path), path.parent))
    return placed


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
    extent = pystac.Extent(
        pystac.SpatialExtent([item["bbox"]]),
        pystac.TemporalExtent([[_instant(item, "start_datetime"), _instant(item, "end_datetime")]]),
    )
    collection = pystac.Collection(
        id=spec.id,
        title=spec.title,
        description=f"{spec.title} in EOPF Zarr.",
        extent=extent,
        license="other",
    )
    collection.add_link(LICENCE.clone())
    document = collection.to_dict(include_self_link=False)
    document["links"] = [*_upward_links(2), *(link for link in document["links"] if link["rel"] == "license")]
    return document


def _instant(item: Document, name: str) -> datetime:
    return datetime.fromisoformat(item["properties"].get(name) or item["properties"]["datetime"])


def _grow(extent: Document, item: Document) -> None:
    extent["spatial"]["bbox"] = [_united(extent["spatial"]["bbox"][0], item["bbox"])]
    start, end = (datetime.fromisoformat(text) for text in extent["temporal"]["interval"][0])
    start, end = min(start, _instant(item, "start_datetime")), max(end, _instant(item, "end_datetime"))
    extent["temporal"]["interval"] = [[pystac.utils.datetime_to_str(t) for t in (start, end)]]


def _united(one: list[float], other: list[float]) -> list[float]:
    """Unite two boxes; one that crosses the antimeridian (west > east) makes the union go round."""
    if one[0] > one[2] or other[0] > other[2]:
        west, east = -180.0, 180.0
    else:
        west, east = min(one[0], other[0]), max(one[2], other[2])
    return [west, min(one[1], other[1]), east, max(one[3], other[3])]


def _add_link(document: Document, rel: str, href: str, title: str) -> None:
    media_type = "application/geo+json" if rel == "item" else "application/json"
    if not any(link["rel"] == rel and link["href"] == href for link in document["links"]):
        document["links"].append({"rel": rel, "href": href, "type": media_type, "title": title})


def _read(path: Path) -> Document | None:
    try:
        document: Document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return document


def _write(path: Path, document: Document) -> None:
    if _read(path) != document:
        write_whole(path, json.dumps(document, indent=1).encode())
