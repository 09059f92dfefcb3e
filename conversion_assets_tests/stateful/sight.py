"""What a reader finds: the catalogue from its root down, the products on the shelves, and what lies about.

Read with the standard library alone, so that no fault of ours can hide itself.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from conversion_assets_tests.stateful.numbering_converter import MADE_BY

VERSION = re.compile(r"(?P<name>.+)\.v(?P<number>\d+)")
TO_VERSIONS = ("predecessor-version", "successor-version", "latest-version")
CONSOLIDATED = ".zmetadata"

Document = dict[str, Any]
Identity = frozenset[tuple[str, int, int, int]]


class Family(NamedTuple):
    """An item with all its versions."""

    owner: str
    collection: str
    name: str


class ItemPlace(NamedTuple):
    """Where an item is: whose it is, and its id."""

    family: Family
    id: str

    @property
    def is_current(self) -> bool:
        """Whether it is no earlier version."""
        return self.id == self.family.name


@dataclass(frozen=True)
class SeenItem:
    """An item as a reader finds it.

    Attributes:
        path: its document.
        product: path of its product.
        number: its version; the first where it names none.
        expires: until when it stays, of an earlier version.
        eopf: which eopf it says has converted.
        versions: paths of the items to which it links, by relation.
    """

    path: Path
    product: Path
    number: int
    expires: datetime | None
    eopf: str
    versions: Mapping[str, Path]


@dataclass(frozen=True)
class SeenProduct:
    """A product as a reader finds it.

    Attributes:
        identity: paths, inodes, sizes and times of its files: the same as long as nobody touches it.
        eopf: which eopf made it; None where it cannot be opened.
        digest: SHA-256 of its root metadata; empty where it cannot be opened.
    """

    identity: Identity
    eopf: str | None
    digest: str


@dataclass(frozen=True)
class Sight:
    """All that can be seen of a home.

    Attributes:
        dangling: links that lead nowhere, but those to other versions.
        doubles: ids that two items of a collection have.
        items: by their place.
        products: by their path.
        staged: keys of which there is a staged copy.
        quarantined: classes of the orders in quarantine.
        evidence: keys of which there is a copy in quarantine.
        scratch: keys of which there is a scratch folder.
        workspaces: keys of which there is a hidden folder on a shelf.
    """

    dangling: tuple[str, ...]
    doubles: tuple[ItemPlace, ...]
    items: Mapping[ItemPlace, SeenItem]
    products: Mapping[Path, SeenProduct]
    staged: frozenset[str]
    quarantined: Mapping[str, str]
    evidence: frozenset[str]
    scratch: frozenset[str]
    workspaces: frozenset[str]


def look(home: Path) -> Sight:
    """Look at everything."""
    dangling: list[str] = []
    found = list(_items(home / "catalogue", dangling))
    counted = Counter(place for place, _ in found)
    return Sight(
        dangling=tuple(dangling),
        doubles=tuple(place for place, times in counted.items() if times > 1),
        items=dict(found),
        products={path: _product(path) for path in home.glob("products/*/*/*/*.zarr")},
        staged=_names(home / "staging"),
        quarantined={
            path.stem: json.loads(path.read_bytes())["error_class"]
            for path in home.glob("quarantine/orders/[!.]*.json")
        },
        evidence=_names(home / "quarantine" / "evidence"),
        scratch=_names(home / "scratch"),
        workspaces=frozenset(
            path.name.removeprefix(".converting-") for path in home.glob("products/*/*/*/.converting-*")
        ),
    )


def _names(folder: Path) -> frozenset[str]:
    return frozenset(path.name for path in folder.iterdir()) if folder.is_dir() else frozenset()


def _items(catalogue: Path, dangling: list[str]) -> Iterator[tuple[ItemPlace, SeenItem]]:
    root = catalogue / "catalog.json"
    for path, document in _reachable(root, dangling) if root.is_file() else ():
        if document["type"] == "Feature":
            owner, collection, _, _ = path.relative_to(catalogue).parts
            item = _item(path, document)
            form = VERSION.fullmatch(document["id"]) if item.expires else None
            name = form["name"] if form else document["id"]
            place = ItemPlace(Family(owner, collection, name), document["id"])
            yield place, item


def _reachable(path: Path, dangling: list[str]) -> Iterator[tuple[Path, Document]]:
    document: Document = json.loads(path.read_bytes())
    yield path, document
    for link in document["links"]:
        if "://" in link["href"] or link["rel"] in TO_VERSIONS:
            continue
        target = _resolved(path, link["href"])
        if not target.is_file():
            dangling.append(f"{path} -> {link['href']}")
        elif link["rel"] in ("child", "item"):
            yield from _reachable(target, dangling)


def _resolved(path: Path, href: str) -> Path:
    return Path(os.path.normpath(path.parent / unquote(href)))


def _item(path: Path, document: Document) -> SeenItem:
    properties = document["properties"]
    return SeenItem(
        path=path,
        product=_resolved(path, document["assets"]["product"]["href"]),
        number=int(properties.get("version", 1)),
        expires=datetime.fromisoformat(properties["expires"]) if properties.get("deprecated") else None,
        eopf=properties["processing:software"]["eopf"],
        versions={
            link["rel"]: _resolved(path, link["href"])
            for link in document["links"]
            if link["rel"] in TO_VERSIONS
        },
    )


def _product(path: Path) -> SeenProduct:
    files = [
        (os.path.join(folder, name), os.stat(os.path.join(folder, name)))  # noqa: PTH116, PTH118 - ten thousand times
        for folder, _, names in os.walk(path)
        for name in names
    ]
    identity = frozenset((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in files)
    try:
        metadata = (path / CONSOLIDATED).read_bytes()
    except FileNotFoundError:
        return SeenProduct(identity, None, "")
    eopf = json.loads(metadata)["metadata"][".zattrs"][MADE_BY]
    return SeenProduct(identity, eopf, sha256(metadata).hexdigest())
