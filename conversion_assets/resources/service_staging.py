"""Staging by a service: it fetches the archive to S3 or a folder; we copy and verify what it put there."""

from __future__ import annotations

import shutil
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from conversion_assets.errors import OrderError, PermanentError, PoisonedInputError, TransientError
from conversion_assets.orders import Order
from conversion_assets.resources.authentication import Authentication
from conversion_assets.resources.catalogue import CollectionSpec
from conversion_assets.resources.job_service import Failure, JobOutcome, JobService, JobTask
from conversion_assets.resources.object_store import Kept, KeptFor, kept_below
from conversion_assets.resources.s3_storage import S3Storage
from conversion_assets.resources.source_credentials import SourceCredentials
from conversion_assets.resources.staging import CopyStaging, StagedCopy, Staging, file_name_of
from conversion_assets.resources.upstream_catalogue import UpstreamCatalogue
from conversion_assets.safe.naming import PRODUCT_SUFFIXES
from conversion_assets.safe.product_types import product_type_of_name
from conversion_assets.stac.formats import parse_date_time
from conversion_assets.storage.faults import explained
from conversion_assets.storage.prefixes import Prefix
from conversion_assets.storage.transfer import FileSystem, delete_prefix
from conversion_assets.web.addresses import HrefRules, redacted
from conversion_assets.web.client import WebClient

Progress = Callable[[str], None]
Feature = dict[str, Any]

GONE = (HTTPStatus.OK, HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND)
ASSET = "product"
STATION = "source"
AWS = "https://s3.amazonaws.com"
IDENTITY = "conversion_assets:source"
"""Property of a staged item: changes with the source, so that a copy of a former one is told apart."""
UNTIMED = "1970-01-01T00:00:00Z"
"""A staged item needs a time; nobody searches for it."""
LASTING = (
    "Loading station token service failed",
    "Failed to retrieve the ItemCollection",
    "401 Client Error",
    "403 Client Error",
    "404 Client Error",
    "410 Client Error",
)
"""What the upstream service says of a source that it will not get tomorrow either."""


class ServiceStaging(Staging):
    """A service brings the archive near to us; from there it is copied and verified as from any source.

    What a service cannot fetch is copied without it: files of this machine, and folders, of which a service
    knows no list.

    Attributes:
        service: the process.
        copying: for these; its rules of what may be read hold for all sources.
        storage: S3, when the service puts its copies there.
    """

    service: JobService
    copying: CopyStaging
    storage: S3Storage | None = None

    def stage(self, order: Order, folder: Path, tell: Progress) -> StagedCopy:
        """See ``Staging.stage``."""
        if not _is_for_services(order.href):
            tell(f"copying {redacted(order.href)} without the {self.service.name}")
            return self.copying.stage(order, folder, tell)
        rules = self.copying
        HrefRules(tuple(rules.schemes), tuple(rules.hosts), tuple(rules.private_hosts)).check(order.href)
        self._check(order)
        href = self._brought_near(order, tell)
        return self._copied(order, href, folder, tell)

    def release(self, order: Order) -> None:
        """See ``Staging.release``."""
        if _is_for_services(order.href):
            self._remove(order)

    @abstractmethod
    def _check(self, order: Order) -> None:
        """Refuse an order that cannot be staged here.

        Raises:
            OrderError: with the reason.
        """

    @abstractmethod
    def _brought_near(self, order: Order, tell: Progress) -> str:
        """Let the service fetch the archive and give the address of its copy."""

    @abstractmethod
    def _remove(self, order: Order) -> None:
        """Remove the copy of the service, if there is one."""

    @property
    def _service_name(self) -> str:
        return self.service.name

    def _filesystem(self) -> FileSystem:
        return (self.storage or S3Storage()).access().filesystem()

    def _run(self, order: Order, inputs: Mapping[str, Any], tell: Progress) -> JobOutcome:
        task = JobTask(
            key=order.key, identity=identity_of(order), inputs=lambda _: inputs, judge=partial(_judge, order)
        )
        return self.service.run(task, tell)

    def _copied(self, order: Order, href: str, folder: Path, tell: Progress) -> StagedCopy:
        credentials = SourceCredentials(storage=self.storage)
        near = CopyStaging(schemes=[urlsplit(href).scheme], credentials=credentials)
        try:
            return near.stage(order.model_copy(update={"href": href}), folder, tell)
        except PoisonedInputError as error:
            self._remove(order)
            raise PoisonedInputError(
                redacted(order.href), f"as the {self.service.name} copied it: {error.rule}", error.way_out
            ) from error
        except OrderError as error:
            self._remove(order)
            raise TransientError(
                error.subject,
                f"the {self.service.name} says that it is there: {error.rule}",
                "It is staged again.",
            ) from error


class UpstreamStaging(ServiceStaging):
    """The upstream staging service, which puts an item for each archive into the upstream catalogue.

    Its items are ours until they are released: in a collection apart, one for each order, by its key. To
    remove one is the catalogue's part, which deletes the object on S3 first.

    Attributes:
        catalogue_url: the upstream catalogue; ``/catalog`` may be left out.
        authentication: credentials for it.
        owner: whom the service takes us for.
        collection: of the staged items.
        station: URL of the S3 service that sources with ``s3:`` are on, as the staging service knows it.
    """

    catalogue_url: str
    authentication: Authentication
    owner: str
    collection: str = "safe-staging"
    station: str = AWS

    def kept(self) -> Iterator[Kept]:
        """See ``Staging.kept``."""
        items = _StagedItems(url=self.catalogue_url, authentication=self.authentication)
        for item in items.items(CollectionSpec(self.owner, self.collection, "")):
            changed = parse_date_time(str(item["properties"].get("updated")))
            if changed is not None and changed.tzinfo and IDENTITY in item["properties"]:
                yield Kept(item["id"], KeptFor.STAGING, str(self._path_of(item["id"])), changed)

    def _check(self, order: Order) -> None:
        if order.target.collection == self.collection:
            raise OrderError(
                f"collection {self.collection}",
                "the staged copies are kept in it for a while, so no products can be",
                "Order it into another collection, or set CONVERSION_ASSETS_STAGING_COLLECTION.",
            )

    def _brought_near(self, order: Order, tell: Progress) -> str:
        found = self._item(order)
        if found is not None and found["properties"].get(IDENTITY) != identity_of(order):
            tell("removing the staged copy of a former version of the source")
            self._remove(order)
        item = _feature(order, self.station)
        inputs = {"collection": self.collection, "items": {"value": item}, "asset_names": [ASSET]}
        outcome = self._run(order, inputs, tell)
        found = self._item(order)
        if found is None or not found["assets"]:
            said = outcome.status.message or "nothing"
            raise PermanentError(
                redacted(order.href),
                f"the {self._service_name} ended its job {outcome.status.job_id} as successful and has staged"
                f" nothing; it says: {said[:200]}",
                "Ask those who run the service.",
            )
        return self._staged_href(order, found)

    def _staged_href(self, order: Order, item: Feature) -> str:
        """Give the address of the staged object, which has to be where this order's are put."""
        hrefs = [str(asset.get("href", "")) for asset in item["assets"].values()]
        where = f"/{self.owner}/{self.collection}/{order.key}/{file_name_of(order.href)}"
        if len(hrefs) != 1 or not (hrefs[0].startswith("s3://") and hrefs[0].endswith(where)):
            raise PermanentError(
                f"staged item {order.key}",
                f"it should have one object at s3://<bucket>{where}, and has"
                f" {', '.join(map(redacted, hrefs)) or 'none'}",
                f"Remove the item from {self.owner}:{self.collection} by hand, then order again.",
            )
        return hrefs[0]

    def _item(self, order: Order) -> Feature | None:
        with self._catalogue() as catalogue:
            answer = catalogue.get(self._path(order), expect=(HTTPStatus.OK, HTTPStatus.NOT_FOUND))
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        item = answer.json
        if isinstance(item, dict) and all(
            isinstance(item.get(name), dict) for name in ("assets", "properties")
        ):
            return item
        raise PermanentError(
            f"staged item {order.key}",
            "the catalogue's answer is no STAC item",
            "Check the address of the catalogue.",
        )

    def _remove(self, order: Order) -> None:
        item = self._item(order)
        if item is None:
            return
        if item["assets"]:
            self._staged_href(order, item)  # what it names is deleted with it
        with self._catalogue() as catalogue:
            catalogue.delete(self._path(order), expect=GONE)

    def _catalogue(self) -> WebClient:
        root = f"{self.catalogue_url.rstrip('/').removesuffix('/catalog')}/catalog"
        return WebClient(
            root,
            auth=self.authentication.auth(root),
            service="catalogue",
            secrets=set(self.authentication.secrets()),
        )

    def _path(self, order: Order) -> str:
        return self._path_of(order.key)

    def _path_of(self, key: str) -> str:
        return f"/collections/{self.owner}:{self.collection}/items/{quote(key)}"


class _StagedItems(UpstreamCatalogue):
    """The upstream catalogue, whose items keep the times that it set."""

    def _received(self, item: Feature) -> Feature:
        return item


class StandardStaging(ServiceStaging):
    """A process with the inputs ``item``, a STAC item with one asset, and ``destination``, a folder's URI.

    It puts the archive into that folder; its output ``href`` is the URI of the copy.

    Attributes:
        destination: URI of a folder in which each order gets one: ``file:`` or ``s3:``.
    """

    destination: str

    def kept(self) -> Iterator[Kept]:
        """See ``Staging.kept``."""
        parts = urlsplit(self.destination)
        if parts.scheme == "file":
            yield from kept_below(Path(unquote(parts.path)), KeptFor.STAGING)
            return
        folder, changed = Prefix.of(self.destination), dict[str, datetime]()
        with explained(folder.uri):
            try:
                found = self._filesystem().find(folder.root, detail=True)
            except FileNotFoundError:
                return
        for path, facts in found.items():
            key = path.removeprefix(f"{folder.root}/").partition("/")[0]
            changed[key] = max(facts["LastModified"], changed.get(key, facts["LastModified"]))
        for key, when in changed.items():
            yield Kept(key, KeptFor.STAGING, folder.below(key).uri, when)

    def _check(self, order: Order) -> None:
        """Take every order."""

    def _brought_near(self, order: Order, tell: Progress) -> str:
        folder = self._folder(order)
        item = _feature(order, "")
        outcome = self._run(order, {"item": {"value": item}, "destination": folder}, tell)
        href = outcome.outputs.get("href")
        if not isinstance(href, str) or href.rpartition("/")[0] != folder:
            raise PermanentError(
                f"{self._service_name} (job {outcome.status.job_id})",
                f"it was to put a file into {folder} and says that it put {href!r:.200}",
                "Check address and version of this service.",
            )
        return href

    def _folder(self, order: Order) -> str:
        return f"{self.destination.rstrip('/')}/{order.key}"

    def _remove(self, order: Order) -> None:
        folder = self._folder(order)
        if urlsplit(folder).scheme == "file":
            shutil.rmtree(unquote(urlsplit(folder).path), ignore_errors=True)
        else:
            delete_prefix(self._filesystem(), Prefix.of(folder))


def identity_of(order: Order) -> str:
    """Tell versions of a source apart."""
    facts = (order.href, order.updated, order.checksum, order.size)
    return sha256(repr(facts).encode()).hexdigest()


def _is_for_services(href: str) -> bool:
    parts = urlsplit(href)
    return parts.scheme != "file" and not parts.path.rstrip("/").endswith(PRODUCT_SUFFIXES)


def _feature(order: Order, station: str) -> Feature:
    """Make the least item that stands for a source; an order does not keep the source's own."""
    properties: dict[str, Any] = {
        "datetime": UNTIMED,
        "product:type": _legacy_type(order),
        IDENTITY: identity_of(order),
    }
    asset: dict[str, Any] = {"href": order.href, "file:local_path": file_name_of(order.href)}
    if order.size is not None:
        asset["file:size"] = order.size
    if order.href.startswith("s3:") and station:
        asset["storage:refs"] = [STATION]
        properties["storage:schemes"] = {STATION: {"type": "custom-s3", "platform": station}}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": order.key,
        "geometry": None,
        "bbox": None,
        "properties": properties,
        "links": [],
        "assets": {ASSET: asset},
    }


def _legacy_type(order: Order) -> str:
    for name in (file_name_of(order.href), order.item_id):
        try:
            return product_type_of_name(name).legacy_type
        except OrderError:
            continue
    return "unknown"


def _judge(order: Order, message: str) -> Failure:
    if any(words in message for words in LASTING):
        return PermanentError, f"Check that the service may fetch {redacted(order.href)}, then order again."
    return TransientError, "It is submitted again a few times."
