"""A prefix of an S3 bucket as a source of products."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from itertools import groupby
from typing import Any

from pydantic import PrivateAttr

from conversion_assets.errors import ConversionAssetsError, TransientError
from conversion_assets.resources.inbox_folder import is_finished_name
from conversion_assets.resources.input_source import Arrival, InputSource, Look, Skipped
from conversion_assets.resources.item_filter import DOCUMENT_SUFFIXES, SPARE, ItemFilter, Verdict
from conversion_assets.resources.source_credentials import SourceCredentials
from conversion_assets.resources.source_position import Position, mark_of
from conversion_assets.safe.manifest import MANIFEST_NAMES
from conversion_assets.safe.naming import ARCHIVE_SUFFIXES, PRODUCT_SUFFIXES
from conversion_assets.stac.documents import MAX_DOCUMENT_BYTES
from conversion_assets.storage.access import S3Access
from conversion_assets.storage.faults import explained
from conversion_assets.web.addresses import HrefRules

S3_ONLY = HrefRules(("s3",))


class S3Prefix(InputSource):
    """Archives, product folders and STAC documents below a prefix, in the order in which they changed last.

    A folder counts as complete when its manifest is there, and everything when it has not changed for a
    while. What S3 tells as the time of a change is that of its own clock; that of an object uploaded in
    parts may be when the upload began, so that the overlap must be longer than an upload takes.

    Attributes:
        bucket: its name.
        prefix: only what is below.
        stable_seconds: for how long a product must not have changed.
        overlap_seconds: how late a product may become visible after the time of its change.
        wanted: which products the watch is about; of archives and folders, as far as names tell.
        credentials: of sources.
    """

    bucket: str
    prefix: str = ""
    stable_seconds: float = 60
    overlap_seconds: float = 600
    wanted: ItemFilter = ItemFilter()
    credentials: SourceCredentials | None = None

    _page_size: int = PrivateAttr(default=1000)
    _now: Callable[[], datetime] = PrivateAttr(default=partial(datetime.now, UTC))

    def look(self, cursor: str | None, most: int) -> Look:
        """See ``InputSource.look``."""
        now, overlap = self._now(), timedelta(seconds=self.overlap_seconds)
        position = Position.read(cursor, f"s3://{self.bucket}/{self.prefix}")
        since, stable = position.since(overlap), now - timedelta(seconds=self.stable_seconds)
        new = (
            product
            for product in _products(self._objects(), self.prefix)
            if since <= product.changed <= stable
            and product.is_complete
            and not position.knows(product.changed, product.version)
        )
        sweep = _Sweep(self._judge, position, now)
        # One more than is taken tells whether the rest can be waited for.
        candidates = heapq.nsmallest(most * SPARE + 1, new, key=lambda product: product.rank)
        is_complete = sweep.took_all(candidates, most) and len(candidates) <= most * SPARE
        position.newest = position.until if is_complete else max(one.changed for one in candidates)
        return self._told(sweep)

    def _told(self, sweep: _Sweep) -> Look:
        overlap = timedelta(seconds=self.overlap_seconds)

        def cursor_without(left: Collection[Arrival]) -> str:
            places = ((sweep.arrivals[arrival].changed, sweep.arrivals[arrival].version) for arrival in left)
            return sweep.position.without(places).text(overlap)

        return Look(
            cursor_without,
            tuple(sweep.arrivals),
            tuple(sweep.skipped),
            summary=f"Nothing new in s3://{self.bucket}/{self.prefix}.",
        )

    def _objects(self) -> Iterator[dict[str, Any]]:
        """List the objects, page by page, in the order of their keys."""
        token: dict[str, str] = {}
        while True:
            page = self._page(MaxKeys=self._page_size, **token)
            yield from page.get("Contents", ())
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _page(self, **options: object) -> dict[str, Any]:
        with explained(f"s3://{self.bucket}"):
            page: dict[str, Any] = self._filesystem.call_s3(
                "list_objects_v2", Bucket=self.bucket, Prefix=self.prefix, **options
            )
        return page

    @cached_property
    def _filesystem(self) -> Any:  # noqa: ANN401 - s3fs ships no types
        storage = self.credentials.storage if self.credentials else None
        return (storage.access() if storage else S3Access()).filesystem()

    def _judge(self, product: _Product, now: datetime) -> tuple[Verdict, Arrival]:
        href = f"s3://{self.bucket}/{product.key}"
        arrival = Arrival(product.name, href, product.version, product.changed)
        if not product.name.lower().endswith(DOCUMENT_SUFFIXES):
            return self.wanted.of_name(product.name, now), arrival
        try:
            return self.wanted.of_document(self._read(href), arrival, now)
        except TransientError:
            raise
        except ConversionAssetsError as error:
            return Verdict(wanted=False, reason=str(error)), arrival

    def _read(self, href: str) -> bytes:
        files = (self.credentials or SourceCredentials()).files(href, S3_ONLY)
        return b"".join(files.read(href, limit=MAX_DOCUMENT_BYTES + 1))


@dataclass(frozen=True)
class _Product:
    """One product below the prefix; its version tells it from all others."""

    key: str
    changed: datetime
    version: str
    is_complete: bool

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def rank(self) -> tuple[datetime, str]:
        return self.changed, self.key


@dataclass
class _Sweep:
    judge: Callable[[_Product, datetime], tuple[Verdict, Arrival]]
    position: Position
    now: datetime
    arrivals: dict[Arrival, _Product] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)

    def took_all(self, products: Iterable[_Product], most: int) -> bool:
        """Take products, up to so many; what cannot be read just now is left for the next look."""
        for product in products:
            taken = len(self.arrivals) + len(self.skipped)
            if taken == most:
                return False
            try:
                self._take(product)
            except TransientError:
                if not taken:
                    raise
                return False
        return True

    def _take(self, product: _Product) -> None:
        verdict, arrival = self.judge(product, self.now)
        if verdict.wanted:
            self.arrivals[arrival] = product
        elif verdict.reason:
            self.skipped.append(Skipped(arrival.name, arrival.source, arrival.version, verdict.reason))
        self.position.take(product.changed, product.version, self.now)


def _products(objects: Iterable[dict[str, Any]], prefix: str) -> Iterator[_Product]:
    """Make products of objects that come in the order of their keys: those of a folder come together."""
    for key, members in groupby(objects, key=lambda one: _product_key(one["Key"], prefix)):
        if key is not None:
            yield _product(key, list(members))


def _product(key: str, members: list[dict[str, Any]]) -> _Product:
    manifests = {f"{key}/{name}" for name in MANIFEST_NAMES}
    is_folder = key.endswith(PRODUCT_SUFFIXES)
    return _Product(
        key,
        max(one["LastModified"].astimezone(UTC) for one in members),
        mark_of(*(f"{one['Key']} {one['Size']} {one['ETag']}" for one in members)),
        is_complete=not is_folder or any(one["Key"] in manifests for one in members),
    )


def _product_key(key: str, prefix: str) -> str | None:
    """Name the product that an object belongs to; None where it is of none."""
    above, _, _ = prefix.rpartition("/")
    parts = key.removeprefix(above).lstrip("/").split("/")
    if any(not is_finished_name(part) for part in parts if part):
        return None
    for number, part in enumerate(parts):
        if part.endswith(PRODUCT_SUFFIXES):
            rest = "/".join(parts[number + 1 :])
            return key[: len(key) - len(rest) - 1] if number + 1 < len(parts) else None
    return key if key.lower().endswith((*ARCHIVE_SUFFIXES, *DOCUMENT_SUFFIXES)) else None
