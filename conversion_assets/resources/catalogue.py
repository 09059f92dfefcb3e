"""The catalogue: where readers find what was converted."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import dagster as dg
import pystac

from conversion_assets.errors import OrderError
from conversion_assets.stac.extents import extent_of
from conversion_assets.stac.formats import parse_date_time

CATALOGUE_LINKS = frozenset({"self", "root", "parent", "collection"})
STAMPED = frozenset({"properties.owner", "properties.updated"})
"""What a catalogue may set by itself; then it does not give back what was sent."""
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
        owner: whose collection; empty where a catalogue lists collections that know no owner, and their items
            alone say whose they are.
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
        """Read a published item back, with absolute hrefs of assets and of links to other versions.

        Its link ``self`` says where it is.

        Raises:
            PermanentError: there is none.
        """

    @abstractmethod
    def find(self, item_id: str, collection: CollectionSpec) -> Document | None:
        """Give an item of a collection as ``read`` does; None if there is none, or it is another owner's.

        Raises:
            TransientError: the catalogue cannot be reached just now.
            OrderError: the names cannot be those of an item.
        """

    @abstractmethod
    def remove(self, item_id: str, collection: CollectionSpec) -> None:
        """Take an item out of the catalogue, and never its data; nothing happens when it is not there.

        The extents of the collection stay as they are.

        Raises:
            TransientError: the catalogue cannot be reached just now.
            PermanentError: it refuses; with its own words.
            OrderError: the item is another owner's, or the names cannot be those of an item.
        """

    @abstractmethod
    def items(self, collection: CollectionSpec) -> Iterator[Document]:
        """Give all items of a collection one after the other, as ``read`` does; none where there is no such.

        Superseded versions are among them. Whoever changes the collection meanwhile may miss items.

        Args:
            collection: of its owner only; of everyone where it names none.

        Raises:
            TransientError: the catalogue cannot be reached just now, or is changed while it is listed.
        """

    def unlinked(self, collection: CollectionSpec) -> Iterator[Document]:
        """Give items that ``find`` finds and no reader: what a killed publication or removal has left.

        A server has none. Nobody may publish or remove them meanwhile.
        """
        del collection
        return iter(())

    def search(
        self, parameters: Mapping[str, str], collections: Sequence[CollectionSpec] = ()
    ) -> Iterator[Document]:
        """Let the server search; gives what it finds as ``read`` does.

        Args:
            parameters: of a STAC API's ``GET /search``, without ``collections``.
            collections: only in these; empty for all.

        Raises:
            OrderError: the catalogue has no server that could, or it does not understand the parameters.
            TransientError: the catalogue cannot be reached just now.
        """
        del parameters, collections
        raise OrderError(
            "the catalogue query",
            "a static catalogue has no server that could search",
            "Select by collection, box and time, or publish to a STAC API.",
        )

    @abstractmethod
    def collections(self) -> Iterator[CollectionSpec]:
        """Give the collections that are there and whose names ours could have, also those of others.

        Raises:
            TransientError: the catalogue cannot be reached just now.
        """


def differences(sent: Document, found: Document) -> tuple[str, ...]:
    """Name the fields in which a published item differs from what was sent.

    Left aside are links that belong to the catalogue, the spelling of points in time, and what a catalogue
    set by itself and ``Catalogue.read`` therefore did not give.
    """
    one, other = _comparable(sent), _comparable(found)
    names = (one.keys() | other.keys()) - (STAMPED - other.keys())
    return tuple(sorted(name for name in names if one.get(name) != other.get(name)))


def collection_document(spec: CollectionSpec, item: Document) -> Document:
    """Write the collection that an item is the first of; its links within the catalogue are not set."""
    collection = pystac.Collection(
        id=spec.id,
        title=spec.title,
        description=f"{spec.title} in EOPF Zarr.",
        extent=pystac.Extent.from_dict(extent_of(item)),
        license="other",
    )
    collection.add_link(LICENCE.clone())
    document = collection.to_dict(include_self_link=False)
    links = [link for link in document["links"] if link["rel"] == "license"]
    return {**document, "extent": extent_of(item), "links": links}


def _comparable(item: Document) -> Document:
    links = [link for link in item.get("links", ()) if link.get("rel") not in CATALOGUE_LINKS]
    flat: Document = {f"properties.{k}": _instant(v) for k, v in item.get("properties", {}).items()}
    flat |= {f"assets.{k}": v for k, v in item.get("assets", {}).items()}
    rest = {k: v for k, v in item.items() if k not in ("properties", "assets", "links")}
    return json.loads(json.dumps(flat | rest | {"links": links}))  # type: ignore[no-any-return] # tuples become lists


def _instant(value: Any) -> Any:  # noqa: ANN401 - any JSON
    moment = parse_date_time(value) if isinstance(value, str) else None
    return moment.astimezone(UTC).isoformat() if moment and moment.tzinfo else value
