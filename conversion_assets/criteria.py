"""Which orders a backfill is for: what may be asked of them, and the answer for one order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from importlib.metadata import version
from typing import Self

from packaging.version import InvalidVersion, Version

from conversion_assets.errors import OrderError
from conversion_assets.safe.product_types import (
    all_product_types,
    product_type_of_legacy,
    product_type_of_name,
)

CURRENT = "current"
OPEN_ENDS = ("", "..")
NAMED_TIME = re.compile(r"\d{8}T\d{6}")
"""The first time in the name of a Sentinel product is the start of its acquisition."""
EOPF_PART, TYPES_PART = "-eopf-", "-types-"
"""What stands before the version of the converter, and of the product type, in a data version."""


@dataclass(frozen=True)
class Product:
    """What is known of the product of an order.

    Attributes:
        product_type: EOPF product type.
        start: start of the acquisition.
    """

    product_type: str
    start: datetime

    @classmethod
    def named(cls, name: str) -> Self | None:
        """Read the name of a Sentinel product; None for any other name."""
        with suppress(OrderError, ValueError):
            kind = product_type_of_name(name)
            if found := NAMED_TIME.search(name):
                start = datetime.strptime(found.group(), "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
                return cls(product_type=kind.eopf_type, start=start)
        return None


@dataclass(frozen=True)
class TimeRange:
    """From a point in time on, up to and without another; None where it is open."""

    start: datetime | None
    end: datetime | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``START/END``, or a day; a day as END is meant whole, ``..`` is an open end.

        Raises:
            OrderError: it is something else.
        """
        first, slash, last = text.partition("/")
        try:
            start = None if first in OPEN_ENDS else _begin_of(first)
            closing = last if slash else first
            end = None if closing in OPEN_ENDS else _end_of(closing)
        except (ValueError, OverflowError):
            raise _no_time_range(text) from None
        if (start is None and end is None) or (start and end and start >= end):
            raise _no_time_range(text)
        return cls(start, end)

    def __contains__(self, moment: datetime) -> bool:
        """Tell whether a point in time lies within."""
        return (self.start is None or self.start <= moment) and (self.end is None or moment < self.end)

    def interval(self) -> str:
        """Write it as STAC's ``datetime`` parameter, both ends of which belong to it."""
        end = self.end - timedelta(microseconds=1) if self.end else None
        return "/".join(
            moment.isoformat().replace("+00:00", "Z") if moment else ".." for moment in (self.start, end)
        )


def _begin_of(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _end_of(text: str) -> datetime:
    with suppress(ValueError):
        return datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(), UTC)
    return _begin_of(text)


def _no_time_range(text: str) -> OrderError:
    return OrderError(
        f"time {text!r}",
        "it is no range of times",
        "Write START/END such as 2024-06-01/2024-06-30, with .. for an open end, or one day.",
    )


@dataclass(frozen=True)
class CodeVersions:
    """With what orders would be converted now.

    Attributes:
        eopf: version of the converter.
        types: versions of all product types; see ``ProductType.version``.
    """

    eopf: str
    types: frozenset[str]


@dataclass(frozen=True)
class DataVersions:
    """The data versions of what was made last; None where it was never made.

    Attributes:
        unzipped: of the verified SAFE.
        product: of the Zarr product.
    """

    unzipped: str | None
    product: str | None

    def is_older_than(self, eopf: Version) -> bool:
        """Tell whether the product was converted, and by an older eopf than this."""
        if self.product is None:
            return False
        with suppress(InvalidVersion):
            return Version(self.product.rpartition(EOPF_PART)[2]) < eopf
        return True

    def is_stale(self, now: CodeVersions) -> bool:
        """Tell whether it was made of other files, by another converter or as something else than now."""
        if self.product is None:
            return False
        source, _, eopf = self.product.rpartition(EOPF_PART)
        if self.unzipped is None:
            return eopf != now.eopf
        unzipped, _, product_type = self.unzipped.rpartition(TYPES_PART)
        return (unzipped, eopf) != (source, now.eopf) or product_type not in now.types


@dataclass(frozen=True)
class Criteria:
    """What an order must be like; what is not set is not asked.

    Attributes:
        product_types: its EOPF product type is one of these.
        time: when its acquisition starts.
        older_than_eopf: it was converted by an older eopf.
        stale: it was made by another converter, by another row for its type, or of other files, than now.
        failed: its latest run failed or was cancelled, or it was never published and nothing is under way;
            runs of published orders that were withdrawn before they began do not count.
    """

    product_types: frozenset[str] = frozenset()
    time: TimeRange | None = None
    older_than_eopf: Version | None = None
    stale: bool = False
    failed: bool = False

    @property
    def are_of_the_product(self) -> bool:
        """Whether type or time of the product is asked for."""
        return bool(self.product_types) or self.time is not None

    def fit(self, product: Product | None) -> bool:
        """Tell whether type and time of a product are those that are asked for."""
        if not self.are_of_the_product:
            return True
        return (
            product is not None
            and (not self.product_types or product.product_type in self.product_types)
            and (self.time is None or product.start in self.time)
        )


def product_types_called(names: Iterable[str], other_names: Mapping[str, str]) -> frozenset[str]:
    """Give the EOPF product types that people call so.

    Args:
        names: EOPF types, types from before EOPF, or names of the upstream's table.
        other_names: of the upstream's table; see ``safe.type_mapping``.

    Raises:
        OrderError: a name means no type.
    """
    return frozenset(_product_type_called(name, other_names) for name in names)


def _product_type_called(name: str, other_names: Mapping[str, str]) -> str:
    meant = other_names.get(name, name)
    if meant in {kind.eopf_type for kind in all_product_types()}:
        return meant
    try:
        return product_type_of_legacy(meant).eopf_type
    except OrderError:
        raise OrderError(
            f"product type {name!r}",
            "no product type is called so",
            "Name one as EOPF does, such as S02MSIL1C, or by an older name of it, such as MSI_L1C.",
        ) from None


def eopf_version_called(text: str, current: str) -> Version:
    """Read a version of eopf; ``current`` is the one that would convert now.

    Raises:
        OrderError: it is no version.
    """
    try:
        return Version(current if text == CURRENT else text)
    except InvalidVersion:
        raise OrderError(
            f"version {text!r}",
            "it is no version of eopf",
            f"Write one such as {version('eopf')}, or {CURRENT}.",
        ) from None
