"""Versions of an item: the extensions ``version`` 1.2.0 and ``timestamps`` 1.1.0 as this project uses them.

The item of a product keeps its id. What it was before a new conversion stands beside it under the id
``<id>.v<N>``, deprecated, until the time in ``expires``. An item whose order is published in another
collection, or under another id, by now keeps its place and id, deprecated, until then, too: it has moved.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from conversion_assets.stac.formats import format_date_time, parse_date_time

VERSION_EXTENSION = "https://stac-extensions.github.io/version/v1.2.0/schema.json"
TIMESTAMPS_EXTENSION = "https://stac-extensions.github.io/timestamps/v1.1.0/schema.json"
PREDECESSOR, SUCCESSOR, LATEST = "predecessor-version", "successor-version", "latest-version"
VERSION_LINKS = frozenset({PREDECESSOR, SUCCESSOR, LATEST})
"""Relations of RFC 5829, https://www.rfc-editor.org/rfc/rfc5829."""
GEOJSON = "application/geo+json"
VERSION_ID = re.compile(
    r"(?!.*\.\.\.)(?P<current>[A-Za-z0-9][A-Za-z0-9._-]{0,190})\.v(?P<number>[1-9][0-9]{0,8})"
)
NUMBER = re.compile(r"[1-9][0-9]{0,8}")

Document = dict[str, Any]


@dataclass(frozen=True)
class EarlierVersion:
    """What a superseded item says of itself.

    Attributes:
        current: id of the item that took its place; its own where it has moved.
        number: its version.
        expires: until when it stays.
        has_moved: whether its order is published in another collection, or under another id.
    """

    current: str
    number: int
    expires: datetime
    has_moved: bool = False

    @property
    def item_id(self) -> str:
        """Id under which it stands."""
        return self.current if self.has_moved else version_id(self.current, self.number)


def version_number(item: Document) -> int:
    """Give the version of an item; one that names none, or names it otherwise than we do, is the first."""
    version = item["properties"].get("version")
    return int(version) if isinstance(version, str) and NUMBER.fullmatch(version) else 1


def version_id(item_id: str, number: int) -> str:
    """Give the id under which a version stands when it is superseded."""
    return f"{item_id}.v{number}"


def earlier_version(item: Document) -> EarlierVersion | None:
    """Tell a superseded item from others, None for these.

    The form of its id alone says nothing: the item must be deprecated, its version and its expiry must be
    there, and its links must lead to the item whose id its own begins with, or, both of them, to one item
    that stands elsewhere.
    """
    properties = item["properties"]
    expires, number = properties.get("expires"), properties.get("version")
    moment = parse_date_time(expires) if isinstance(expires, str) else None
    if moment is None or moment.tzinfo is None or properties.get("deprecated") is not True:
        return None
    if not isinstance(number, str) or not NUMBER.fullmatch(number):
        return None
    form = VERSION_ID.fullmatch(item["id"])
    if form is not None and all(linked_id(item, rel) == form["current"] for rel in (SUCCESSOR, LATEST)):
        same = number == form["number"]
        return EarlierVersion(form["current"], int(number), moment) if same else None
    return EarlierVersion(item["id"], int(number), moment, has_moved=True) if _leads_away(item) else None


def _leads_away(item: Document) -> bool:
    """Tell whether its successor, which is the latest one, stands at another address than itself."""
    if linked_id(item, "self") != item["id"] or not all(linked_id(item, rel) for rel in (SUCCESSOR, LATEST)):
        return False
    here, successor, latest = (_path(_links(item, rel)[0]) for rel in ("self", SUCCESSOR, LATEST))
    return successor == latest != here


def superseded(item: Document, number: int, successor: str, expires: datetime) -> Document:
    """Describe an item as an earlier version.

    Args:
        item: as it was while it was the current one; its link to a version before it stays.
        number: its version.
        successor: address of the item that takes its place.
        expires: until when it stays, with time zone.
    """
    return {**moved(item, number, successor, expires), "id": version_id(item["id"], number)}


def moved(item: Document, number: int, successor: str, expires: datetime) -> Document:
    """Describe an item whose order is published in another collection, or under another id, by now.

    Args:
        item: as for ``superseded``; it keeps its id.
        number: its version.
        successor: address of the item that its order has now.
        expires: until when it stays, with time zone.
    """
    links = [_link(rel, successor, _id_in(successor)) for rel in (SUCCESSOR, LATEST)]
    changed = {
        "version": str(number),
        "deprecated": True,
        "expires": format_date_time(expires),
    }
    return {
        **item,
        "properties": item["properties"] | changed,
        "links": [*_without(item, {"self", SUCCESSOR, LATEST}), *links],
        "stac_extensions": _with(item["stac_extensions"], VERSION_EXTENSION, TIMESTAMPS_EXTENSION),
    }


def succeeding(item: Document, number: int, predecessor: Document) -> Document:
    """Describe an item as a version after another one.

    Args:
        item: without versions.
        number: its version.
        predecessor: the earlier version, with its link ``self``.
    """
    return preceded_by(
        {
            **item,
            "properties": item["properties"] | {"version": str(number)},
            "stac_extensions": _with(item["stac_extensions"], VERSION_EXTENSION),
        },
        predecessor,
    )


def carried_over(item: Document, former: Document) -> Document:
    """Give an item the version, and the link to the one before it, of the same item as it was."""
    version, before = former["properties"].get("version"), _links(former, PREDECESSOR)
    if not isinstance(version, str):
        return item
    return {
        **item,
        "properties": item["properties"] | {"version": version},
        "links": [*item["links"], *before],
        "stac_extensions": _with(item["stac_extensions"], VERSION_EXTENSION),
    }


def preceded_by(item: Document, predecessor: Document | None) -> Document:
    """Let an item link to another earlier version, or to none."""
    links = _without(item, {PREDECESSOR})
    if predecessor is not None:
        links.append(_link(PREDECESSOR, self_href(predecessor), predecessor["id"]))
    return {**item, "links": links}


def self_href(item: Document) -> str:
    """Give the address of an item that a catalogue gave."""
    return str(_links(item, "self")[0]["href"])


def linked_id(item: Document, rel: str) -> str | None:
    """Give the id of the item to which the one link of a relation leads, however its address is spelt."""
    links = _links(item, rel)
    if len(links) != 1:
        return None
    return _id_in(links[0]["href"])


def _id_in(href: str) -> str:
    return unquote(urlsplit(href).path).rpartition("/")[2].removesuffix(".json")


def _path(link: Document) -> str:
    return unquote(urlsplit(link["href"]).path)


def _links(item: Document, rel: str) -> list[Document]:
    return [link for link in item["links"] if link.get("rel") == rel and isinstance(link.get("href"), str)]


def _without(item: Document, rels: Iterable[str]) -> list[Document]:
    return [link for link in item["links"] if link.get("rel") not in rels]


def _link(rel: str, href: str, title: str) -> Document:
    return {"rel": rel, "href": href, "type": GEOJSON, "title": title}


def _with(extensions: list[str], *more: str) -> list[str]:
    return [*extensions, *(uri for uri in more if uri not in extensions)]
