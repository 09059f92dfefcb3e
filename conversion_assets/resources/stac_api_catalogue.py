"""Any STAC API with the Transaction extension, stac-fastapi-pgstac in particular, as the catalogue."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from http import HTTPStatus

from pydantic import PrivateAttr

from conversion_assets.errors import OrderError, PermanentError, TransientError
from conversion_assets.orders import IDENTIFIER, valid_identifier, valid_key
from conversion_assets.resources.authentication import Authentication
from conversion_assets.resources.catalogue import (
    CATALOGUE_LINKS,
    Catalogue,
    CollectionSpec,
    Document,
    collection_document,
    differences,
)
from conversion_assets.stac.extents import grown, holds, searches_beyond
from conversion_assets.web.client import EXPECTED, Answer, WebClient

ROUNDS = 10
"""How often a change is tried when others change the same thing at the same time."""
STRAYS = 50
"""How many items beyond an extent are taken in at once."""
PAGE = 100
"""How many documents are asked for at once when all are listed."""
MADE_LINKS = CATALOGUE_LINKS | {"items", "item", "child", "queryables"}
"""Links that the server makes anew whenever a document is read."""


class StacApiCatalogue(Catalogue):
    """A catalogue behind a STAC API (https://api.stacspec.org) with the Transaction extension.

    Every request may be sent twice without harm: an item is known by its id, so a second POST is a
    conflict, which is answered by comparing. The API knows no conditional writes, so of two writers who
    grow an extent at once the later can undo what the earlier did. Each therefore looks for items beyond
    the extent that it wrote and takes them in, and sees to its own item once more when it is published:
    whoever writes last sees what all others need.

    A collection has no owner here: several may share it, and ``owner`` of each item says whose it is. What
    is another owner's is never replaced or removed. ``collections`` therefore names no owner.

    Attributes:
        url: root of the API.
        authentication: credentials for it.
        timeout: seconds to wait for each part of an answer.
        retries: how many times a request that failed in passing is sent again.
    """

    url: str
    authentication: Authentication
    timeout: float = 30
    retries: int = 3

    _sleep: Callable[[float], None] = PrivateAttr(default=time.sleep)

    def publish(self, item: Document, collection: CollectionSpec) -> str:
        """See ``Catalogue.publish``."""
        self._check_names(item["id"], collection)
        with self._client() as client, _refusals_named(item["id"], collection):
            self._make_room(client, collection, item)
            self._upsert(client, collection, item)
            self._make_room(client, collection, item)
            return f"{client.base_url}/{self._item_path(collection, item['id'])}"

    def read(self, href: str) -> Document:
        """See ``Catalogue.read``."""
        with self._client() as client:
            answer = client.get(href, expect=(HTTPStatus.OK, HTTPStatus.NOT_FOUND))
        if answer.status == HTTPStatus.NOT_FOUND:
            raise PermanentError(href, "the catalogue has no such item", "Publish the product again.")
        return self._received(_item(answer.json, href))

    def find(self, item_id: str, collection: CollectionSpec) -> Document | None:
        """See ``Catalogue.find``."""
        self._check_place(item_id, collection)
        with self._client() as client:
            found = self._found_item(client, collection, item_id)
        return found if found is not None and _is_of(found, collection) else None

    def remove(self, item_id: str, collection: CollectionSpec) -> None:
        """See ``Catalogue.remove``."""
        self._check_place(item_id, collection)
        with self._client() as client:
            found = self._found_item(client, collection, item_id)
            if found is None:
                return
            _refuse_foreign(item_id, collection.owner, found)
            self._remove(client, collection, found)

    def items(self, collection: CollectionSpec) -> Iterator[Document]:
        """See ``Catalogue.items``."""
        valid_identifier("collection", collection.id)
        path = f"{self._collection_path(collection)}/items"
        with self._client() as client:
            for feature in self._listed(client, path, "features"):
                item = self._received(_item(feature, path))
                if _is_of(item, collection):
                    yield item

    def search(
        self, parameters: Mapping[str, str], collections: Sequence[CollectionSpec] = ()
    ) -> Iterator[Document]:
        """See ``Catalogue.search``."""
        among = ",".join(self._in_search(collection) for collection in collections)
        chosen = {**parameters, **({"collections": among} if among else {})}
        with self._client() as client:
            self._require_filter(client)
            answer = client.get("search", params={"limit": PAGE, **chosen})
            for feature in self._pages(client, answer, "search", "features"):
                yield self._received(_item(feature, "search"))

    def collections(self) -> Iterator[CollectionSpec]:
        """See ``Catalogue.collections``."""
        with self._client() as client:
            for listed in self._listed(client, "collections", "collections"):
                document = _object(listed, "collections")
                name = str(document.get("id"))
                if IDENTIFIER.fullmatch(name):
                    yield CollectionSpec(self._owner_of(document), name, str(document.get("title", "")))

    def _client(self) -> WebClient:
        root = self._root()
        return WebClient(
            root,
            auth=self.authentication.auth(root),
            timeout=self.timeout,
            retries=self.retries,
            service="catalogue",
            secrets=set(self.authentication.secrets()),
            sleep=self._sleep,
        )

    # What a particular server wants otherwise.

    def _root(self) -> str:
        """Give the address of the API's landing page."""
        return self.url

    def _check_names(self, item_id: str, collection: CollectionSpec) -> None:
        valid_identifier("owner", collection.owner)
        self._check_place(item_id, collection)

    def _owner_of(self, document: Document) -> str:
        """Name the owner of a collection, empty where the server knows none."""
        del document
        return ""

    def _remove(self, client: WebClient, collection: CollectionSpec, item: Document) -> None:
        """Let the server remove an item, which may be gone."""
        path = self._item_path(collection, item["id"])
        client.delete(path, expect=(*EXPECTED, HTTPStatus.NOT_FOUND))

    def _in_path(self, collection: CollectionSpec) -> str:
        """Name a collection in a path."""
        return collection.id

    def _in_search(self, collection: CollectionSpec) -> str:
        """Name a collection in a search."""
        return collection.id

    def _sent(self, item: Document, collection: CollectionSpec) -> Document:
        """Give an item the form in which the server takes it."""
        links = [link for link in item["links"] if link["rel"] not in CATALOGUE_LINKS]
        return {**item, "collection": collection.id, "links": links}

    def _sent_collection(self, document: Document, collection: CollectionSpec) -> Document:
        """Give a collection the form in which the server takes it."""
        links = [link for link in document["links"] if link["rel"] not in MADE_LINKS]
        return {**document, "id": collection.id, "links": links}

    def _received(self, item: Document) -> Document:
        """Lay aside what the server added to an item."""
        return item

    # What is listed.

    def _listed(self, client: WebClient, path: str, member: str) -> Iterator[object]:
        """Give what a listing has; nothing where there is none."""
        answer = client.get(path, params={"limit": PAGE}, expect=(HTTPStatus.OK, HTTPStatus.NOT_FOUND))
        yield from self._pages(client, answer, path, member)

    def _require_filter(self, client: WebClient) -> None:
        """Refuse a server that would leave the filter aside and give all that it has."""
        conformance = _object(client.get("").json, client.base_url).get("conformsTo", ())
        if not any("item-search#filter" in str(name) for name in conformance):
            raise OrderError(
                "the catalogue query",
                "the server of the catalogue does not say that it can filter",
                "Select by collection, box and time.",
            )

    def _pages(self, client: WebClient, answer: Answer, path: str, member: str) -> Iterator[object]:
        """Give what an answer and those that follow it have, as the server's own links lead."""
        followed: set[str] = set()
        while answer.status == HTTPStatus.OK:
            page = _object(answer.json, path)
            yield from page.get(member, ())
            following = next((link for link in page.get("links", ()) if link.get("rel") == "next"), None)
            if following is None:
                return
            _refuse_circle(path, following, followed)
            answer = client.call(
                following.get("method", "GET"), following["href"], json=following.get("body"), repeat=True
            )

    def _check_place(self, item_id: str, collection: CollectionSpec) -> None:
        valid_key(item_id)
        valid_identifier("collection", collection.id)

    # The collection.

    def _make_room(self, client: WebClient, collection: CollectionSpec, item: Document) -> None:
        """See that the collection is there and that its extents hold the item."""
        newcomers = [item]
        for _ in range(ROUNDS):
            document = self._found(client, self._collection_path(collection))
            if document is None:
                if self._created(client, collection, item):
                    return
            elif all(holds(document["extent"], newcomer) for newcomer in newcomers):
                return
            else:
                extent = reduce(grown, newcomers, document["extent"])
                widened = self._sent_collection({**document, "extent": extent}, collection)
                client.put(self._collection_path(collection), json=widened)
                newcomers = [item, *self._items_beyond(client, collection, extent)]
        document = self._found(client, self._collection_path(collection))
        if document is None or not holds(document["extent"], item):
            raise TransientError(
                f"collection {collection.id}",
                "others change it again and again while its extents are to grow",
                "It is tried again later.",
            )

    def _created(self, client: WebClient, collection: CollectionSpec, item: Document) -> bool:
        """Make the collection; False where somebody else just did."""
        document = self._sent_collection(collection_document(collection, item), collection)
        answer = client.post(
            "collections", json=document, repeat=True, expect=(*EXPECTED, HTTPStatus.CONFLICT)
        )
        return answer.status != HTTPStatus.CONFLICT

    def _items_beyond(
        self, client: WebClient, collection: CollectionSpec, extent: Document
    ) -> Iterator[Document]:
        for parameters in searches_beyond(extent):
            search = {"collections": [self._in_search(collection)], "limit": STRAYS, **parameters}
            answer = client.post("search", json=search, repeat=True)
            features = _object(answer.json, f"{client.base_url}/search").get("features", ())
            yield from (found for found in features if found.get("bbox"))

    # The item.

    def _upsert(self, client: WebClient, collection: CollectionSpec, item: Document) -> None:
        try:
            self._added_or_replaced(client, collection, item)
        except TransientError:
            # The answer was lost, which says nothing about the work.
            found = self._found_item(client, collection, item["id"])
            if found is None or differences(item, found):
                raise

    def _added_or_replaced(self, client: WebClient, collection: CollectionSpec, item: Document) -> None:
        document = self._sent(item, collection)
        for _ in range(ROUNDS):
            answer = client.post(
                f"{self._collection_path(collection)}/items",
                json=document,
                repeat=True,
                expect=(*EXPECTED, HTTPStatus.CONFLICT),
            )
            if answer.status != HTTPStatus.CONFLICT:
                return
            found = self._found_item(client, collection, item["id"])
            if found is None:
                continue
            _refuse_foreign(item["id"], item["properties"].get("owner"), found)
            if not differences(item, found) or self._replaced(client, collection, document):
                return
        raise TransientError(
            f"item {item['id']}", "others add and remove it at the same time", "It is tried again later."
        )

    def _replaced(self, client: WebClient, collection: CollectionSpec, document: Document) -> bool:
        """Replace the item; False where it is gone, which not every server tells by the same status."""
        try:
            client.put(self._item_path(collection, document["id"]), json=document)
        except PermanentError:
            if self._found_item(client, collection, document["id"]) is None:
                return False
            raise
        return True

    def _found_item(self, client: WebClient, collection: CollectionSpec, item_id: str) -> Document | None:
        path = self._item_path(collection, item_id)
        found = self._found(client, path)
        return None if found is None else self._received(_item(found, path))

    def _found(self, client: WebClient, path: str) -> Document | None:
        answer = client.get(path, expect=(HTTPStatus.OK, HTTPStatus.NOT_FOUND))
        found = answer.status == HTTPStatus.OK
        return _object(answer.json, f"{client.base_url}/{path}") if found else None

    def _collection_path(self, collection: CollectionSpec) -> str:
        return f"collections/{self._in_path(collection)}"

    def _item_path(self, collection: CollectionSpec, item_id: str) -> str:
        return f"{self._collection_path(collection)}/items/{item_id}"


def _object(body: object, href: str) -> Document:
    if isinstance(body, dict):
        return body
    raise PermanentError(
        href, "the answer is no JSON object", "Check that the setting of the catalogue leads to a STAC API."
    )


def _item(body: object, href: str) -> Document:
    """Let a document pass that has the parts of an item, since others may write to the catalogue, too."""
    item = _object(body, href)
    parts: dict[str, type] = {"id": str, "properties": dict, "assets": dict, "links": list}
    for name, kind in parts.items():
        if not isinstance(item.get(name), kind):
            raise PermanentError(href, f"it has no STAC item: {name} is missing", "See who published it.")
    return item


def _is_of(item: Document, collection: CollectionSpec) -> bool:
    """Say whether an item is of the collection's owner, where both are known."""
    return not collection.owner or item["properties"].get("owner", collection.owner) == collection.owner


def _refuse_circle(path: str, following: Document, followed: set[str]) -> None:
    """Refuse a page that was seen: when others change what is listed, some servers begin anew."""
    page = json.dumps([following.get("href"), following.get("body")], sort_keys=True)
    if page in followed:
        raise TransientError(path, "its pages lead in a circle", "It is listed again later.")
    followed.add(page)


def _refuse_foreign(item_id: str, ours: str | None, found: Document) -> None:
    """Let nobody change what is another owner's."""
    theirs = found["properties"].get("owner")
    if ours and theirs and ours != theirs:
        raise OrderError(
            f"item {item_id} of {ours}",
            f"the catalogue has this item in this collection already, and it is {theirs}'s",
            "Order it into another collection.",
        )


@contextmanager
def _refusals_named(item_id: str, collection: CollectionSpec) -> Iterator[None]:
    try:
        yield
    except OrderError:
        raise
    except PermanentError as error:
        raise PermanentError(
            f"item {item_id} for collection {collection.id} of {collection.owner}",
            f"it cannot be published: {error.subject}: {error.rule}",
            error.way_out,
        ) from error
