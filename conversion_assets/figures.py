"""Numbers of conversions and publications, added up by day, product type or order.

Two days matter. Orders, and what became of them, count on the day on which they were made; work, delays and
sizes count on the day of publication, so that what is converted again shows on the day of its work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Self

from pydantic import BaseModel, ConfigDict

from conversion_assets.zarr.conversion import ConversionReport

MEGABYTE = 1_000_000
CPU_SECONDS = "cpu seconds"
PEAK_MEMORY = "peak memory MB"
READ, WRITTEN, SIZE = "MB read", "MB written", "MB"
OBJECTS = "objects"
SINCE_ORDER = "seconds since order"
SINCE_SOURCE = "seconds since publication at source"
MIDDLE, NEARLY_ALL = 0.5, 0.95

Number = int | float


class Figures(BaseModel):
    """What one product took and gave; None where nobody knows.

    Attributes:
        cpu_seconds: processor seconds of the conversion.
        peak_memory_bytes: its largest resident size.
        bytes_read: what it read from files.
        bytes_written: what it wrote to files.
        product_bytes: size of the stored product.
        objects: its objects (files).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    bytes_read: int | None = None
    bytes_written: int | None = None
    product_bytes: int | None = None
    objects: int | None = None

    @classmethod
    def of(cls, report: ConversionReport | None, product_bytes: int, objects: int) -> Self:
        """Give the figures of a stored product.

        Args:
            report: of its conversion; None where it was converted before, or elsewhere.
            product_bytes: its size.
            objects: how many it has.
        """
        if report is None:
            return cls(product_bytes=product_bytes, objects=objects)
        return cls(
            cpu_seconds=report.cpu_seconds,
            peak_memory_bytes=report.peak_memory_bytes,
            bytes_read=report.bytes_read,
            bytes_written=report.bytes_written,
            product_bytes=product_bytes,
            objects=objects,
        )

    def numbers(self) -> dict[str, Number]:
        """Give what is known by the names that people read."""
        found: dict[str, Number | None] = {
            CPU_SECONDS: self.cpu_seconds,
            PEAK_MEMORY: _megabytes(self.peak_memory_bytes),
            READ: _megabytes(self.bytes_read),
            WRITTEN: _megabytes(self.bytes_written),
            SIZE: _megabytes(self.product_bytes),
            OBJECTS: self.objects,
        }
        return {name: number for name, number in found.items() if number is not None}

    @classmethod
    def of_numbers(cls, numbers: Mapping[str, Number]) -> Self:
        """Read what ``numbers`` gave."""
        return cls(
            cpu_seconds=numbers.get(CPU_SECONDS),
            peak_memory_bytes=_bytes(numbers.get(PEAK_MEMORY)),
            bytes_read=_bytes(numbers.get(READ)),
            bytes_written=_bytes(numbers.get(WRITTEN)),
            product_bytes=_bytes(numbers.get(SIZE)),
            objects=None if (objects := numbers.get(OBJECTS)) is None else int(objects),
        )


def _megabytes(number: int | None) -> float | None:
    return None if number is None else round(number / MEGABYTE, 3)


def _bytes(megabytes: Number | None) -> int | None:
    return None if megabytes is None else round(megabytes * MEGABYTE)


@dataclass(frozen=True)
class Delays:
    """How long a publication took; None where it is not known, or not the first of its order.

    Attributes:
        since_order: seconds since the order was made.
        since_source: seconds since the source published the product.
    """

    since_order: float | None = None
    since_source: float | None = None

    def numbers(self) -> dict[str, Number]:
        """Give what is known by the names that people read."""
        found = {SINCE_ORDER: self.since_order, SINCE_SOURCE: self.since_source}
        return {name: number for name, number in found.items() if number is not None}


@dataclass(frozen=True)
class Ordered:
    """One order, and what became of it.

    Attributes:
        key: partition key.
        when: it was made.
        product_type: EOPF product type, where it is known.
        is_published: whether its item was published since.
        is_failed: whether it was not, and its latest run failed or was cancelled.
    """

    key: str
    when: datetime
    product_type: str
    is_published: bool = False
    is_failed: bool = False


@dataclass(frozen=True)
class Publication:
    """One publication of an item.

    Attributes:
        key: partition key.
        when: it was published.
        product_type: EOPF product type, where it is known.
        figures: of the product.
        delays: of the publication.
    """

    key: str
    when: datetime
    product_type: str
    figures: Figures
    delays: Delays


class Row(BaseModel):
    """Numbers of a day, a product type or an order.

    Attributes:
        day: of the orders and of the publications, UTC.
        product_type: EOPF product type.
        order: partition key.
        orders: how many were made.
        published: how many of them were published since, at any time.
        failed: how many of the others ended badly.
        completeness_percent: ``published`` of ``orders``.
        publications: how many items were published, again or for the first time.
        order_seconds_p50: seconds from order to publication: half took no longer.
        order_seconds_p95: 95 of 100 took no longer.
        source_seconds_p50: seconds from publication at the source to publication here, likewise.
        source_seconds_p95: see above.
        cpu_seconds: of all conversions.
        peak_memory_bytes: of the largest one.
        bytes_read: of all of them.
        bytes_written: of all of them.
        product_bytes: of all published products.
        objects: of all published products.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    day: date | None = None
    product_type: str | None = None
    order: str | None = None
    orders: int = 0
    published: int = 0
    failed: int = 0
    completeness_percent: float | None = None
    publications: int = 0
    order_seconds_p50: float | None = None
    order_seconds_p95: float | None = None
    source_seconds_p50: float | None = None
    source_seconds_p95: float | None = None
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    product_bytes: int = 0
    objects: int = 0


@dataclass(frozen=True)
class Group:
    """What one row is about; None for all.

    Attributes:
        day: UTC.
        product_type: EOPF product type.
        order: partition key.
    """

    day: date | None = None
    product_type: str | None = None
    order: str | None = None


Grouping = Callable[[Ordered | Publication], Group]


def everything(_: Ordered | Publication) -> Group:
    """Put all into one row."""
    return Group()


def by_day(entry: Ordered | Publication) -> Group:
    """Give each day a row."""
    return Group(day=day_of(entry))


def by_type(entry: Ordered | Publication) -> Group:
    """Give each product type a row."""
    return Group(product_type=entry.product_type)


def by_day_and_type(entry: Ordered | Publication) -> Group:
    """Give each product type of each day a row."""
    return Group(day=day_of(entry), product_type=entry.product_type)


def by_order(entry: Ordered | Publication) -> Group:
    """Give each order a row."""
    return Group(order=entry.key, product_type=entry.product_type)


def day_of(entry: Ordered | Publication) -> date:
    """Give the day on which something counts, UTC."""
    return entry.when.astimezone(UTC).date()


@dataclass
class _Sum:
    """What is added up for one row."""

    orders: int = 0
    published: int = 0
    failed: int = 0
    figures: dict[str, float] = field(default_factory=dict)
    peak_memory_bytes: int = 0
    publications: int = 0
    since_order: list[float] = field(default_factory=list)
    since_source: list[float] = field(default_factory=list)

    def add_order(self, order: Ordered) -> None:
        self.orders += 1
        self.published += order.is_published
        self.failed += order.is_failed

    def add_publication(self, publication: Publication) -> None:
        self.publications += 1
        figures, delays = publication.figures, publication.delays
        for name in ("cpu_seconds", "bytes_read", "bytes_written", "product_bytes", "objects"):
            self.figures[name] = self.figures.get(name, 0) + (getattr(figures, name) or 0)
        self.peak_memory_bytes = max(self.peak_memory_bytes, figures.peak_memory_bytes or 0)
        for known, all_of_them in (
            (delays.since_order, self.since_order),
            (delays.since_source, self.since_source),
        ):
            if known is not None:
                all_of_them.append(known)

    def row(self, group: Group) -> Row:
        complete = round(100 * self.published / self.orders, 2) if self.orders else None
        cpu_seconds = round(self.figures.get("cpu_seconds", 0), 3)
        return Row(
            **vars(group),
            orders=self.orders,
            published=self.published,
            failed=self.failed,
            completeness_percent=complete,
            publications=self.publications,
            order_seconds_p50=quantile(self.since_order, MIDDLE),
            order_seconds_p95=quantile(self.since_order, NEARLY_ALL),
            source_seconds_p50=quantile(self.since_source, MIDDLE),
            source_seconds_p95=quantile(self.since_source, NEARLY_ALL),
            peak_memory_bytes=self.peak_memory_bytes,
            **{**self.figures, "cpu_seconds": cpu_seconds},
        )


class Tally:
    """Adds up what it is told, once for each grouping.

    Args:
        groupings: which rows there are to be.
    """

    def __init__(self, *groupings: Grouping) -> None:
        self._groupings = groupings
        self._sums: tuple[dict[Group, _Sum], ...] = tuple({} for _ in groupings)

    def add_orders(self, orders: Iterable[Ordered]) -> None:
        """Count orders."""
        for order in orders:
            for total in self._sums_of(order):
                total.add_order(order)

    def add_publications(self, publications: Iterable[Publication]) -> None:
        """Count publications."""
        for publication in publications:
            for total in self._sums_of(publication):
                total.add_publication(publication)

    def rows(self, number: int = 0) -> list[Row]:
        """Give the rows of a grouping, in the order of what they are about."""
        sums = self._sums[number]
        return [sums[group].row(group) for group in sorted(sums, key=_place)]

    def _sums_of(self, entry: Ordered | Publication) -> list[_Sum]:
        pairs = zip(self._groupings, self._sums, strict=True)
        return [sums.setdefault(grouping(entry), _Sum()) for grouping, sums in pairs]


def _place(group: Group) -> tuple[date, str, str]:
    return (group.day or date.min, group.product_type or "", group.order or "")


def quantile(numbers: Iterable[float], share: float) -> float | None:
    """Give the smallest number that such a share of all does not exceed (nearest rank)."""
    ranked = sorted(numbers)
    return ranked[max(math.ceil(share * len(ranked)) - 1, 0)] if ranked else None
