"""Bucket rules: in which bucket a product is kept, and for how long."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from pathlib import Path

import dagster as dg
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from conversion_assets.errors import PermanentError
from conversion_assets.orders import ANY

COLUMNS = ("owner", "collection", "product_type", "expiration_days", "bucket")
WRITE_ROWS = f"Write rows of {len(COLUMNS)} columns: {', '.join(COLUMNS)}."
BUCKET_PATTERN = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"


class BucketRule(BaseModel):
    """One row: products of this owner, collection and type go to this bucket.

    Attributes:
        owner: an owner, or ``*`` for any.
        collection: a collection id, or ``*`` for any.
        product_type: an EOPF product type, or ``*`` for any.
        expiration_days: how long a product is kept.
        bucket: name of the bucket, by the rules of S3.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    owner: str = Field(min_length=1)
    collection: str = Field(min_length=1)
    product_type: str = Field(min_length=1)
    expiration_days: int = Field(gt=0)
    bucket: str = Field(pattern=BUCKET_PATTERN)


DEFAULT_BUCKET = "eopf-products"
DEFAULT_DAYS = 36_500


class BucketRules(dg.ConfigurableResource, ABC):  # type: ignore[type-arg] # the resource provides itself
    """Tells the bucket of a product."""

    @abstractmethod
    def rule_for(self, owner: str, collection: str, product_type: str) -> BucketRule:
        """Find the most specific rule.

        Raises:
            PermanentError: no rule fits, or the rules cannot be read.
        """

    def buckets(self) -> frozenset[str]:
        """Give the buckets that the rules name.

        Raises:
            PermanentError: the rules cannot be read.
        """
        return frozenset()


class CsvBucketRules(BucketRules):
    """Rules from a CSV file without header, or one built-in rule for everything.

    Attributes:
        path: the CSV file; None for the built-in rule.
        bucket: the bucket of the built-in rule.
    """

    path: str | None = None
    bucket: str = DEFAULT_BUCKET

    def rule_for(self, owner: str, collection: str, product_type: str) -> BucketRule:
        """See ``BucketRules.rule_for``."""
        return most_specific(self._rules(), owner, collection, product_type)

    def buckets(self) -> frozenset[str]:
        """See ``BucketRules.buckets``."""
        return frozenset(rule.bucket for rule in self._rules())

    def _rules(self) -> tuple[BucketRule, ...]:
        return read_rules(Path(self.path)) if self.path else (self._built_in(),)

    def _built_in(self) -> BucketRule:
        """Give the rule that needs no file; its bucket is as free as those of a file."""
        try:
            return BucketRule(
                owner=ANY, collection=ANY, product_type=ANY, expiration_days=DEFAULT_DAYS, bucket=self.bucket
            )
        except ValidationError as error:
            raise PermanentError(
                f"bucket {self.bucket!r}",
                "it is not a bucket name by the rules of S3",
                "Correct CONVERSION_ASSETS_BUCKET.",
            ) from error


def most_specific(
    rules: tuple[BucketRule, ...], owner: str, collection: str, product_type: str
) -> BucketRule:
    """Choose by exact match in five levels, as the upstream catalogue and staging services do.

    (owner, collection, type), then (owner, collection, any), (owner, any, type), (owner, any, any) and
    (any, any, any). Of equal rules the later one counts, for the last level the earlier one.

    Raises:
        PermanentError: no rule fits.
    """
    by_key: dict[tuple[str, str, str], BucketRule] = {}
    for rule in rules:
        key = (rule.owner, rule.collection, rule.product_type)
        if key != (ANY, ANY, ANY) or key not in by_key:
            by_key[key] = rule
    levels = (
        (owner, collection, product_type),
        (owner, collection, ANY),
        (owner, ANY, product_type),
        (owner, ANY, ANY),
        (ANY, ANY, ANY),
    )
    for level in levels:
        if level in by_key:
            return by_key[level]
    raise PermanentError(
        f"owner {owner}, collection {collection}, type {product_type}",
        "no bucket rule fits",
        "Add a row such as *,*,*,365,my-bucket to the bucket rules.",
    )


def read_rules(path: Path) -> tuple[BucketRule, ...]:
    """Read a CSV of five columns: owner, collection, product type, expiration days, bucket.

    Raises:
        PermanentError: the file cannot be read, or a row breaks a rule; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PermanentError(path, f"the bucket rules cannot be read ({error})", WRITE_ROWS) from error
    rows = csv.reader(text.splitlines(keepends=True))
    try:
        return tuple(rule_of_row(row) for row in rows if row)
    except (csv.Error, ValueError) as error:
        raise PermanentError(f"{path}, line {rows.line_num}", f"{error}", WRITE_ROWS) from error


def rule_of_row(row: list[str]) -> BucketRule:
    """Read one row.

    Raises:
        ValueError: it breaks a rule.
    """
    if len(row) != len(COLUMNS):
        raise ValueError(f"a bucket rule has {len(COLUMNS)} columns, this one {len(row)}")
    try:
        return BucketRule.model_validate(dict(zip(COLUMNS, row, strict=True)))
    except ValidationError as error:
        fault = error.errors()[0]
        raise ValueError(f"{fault['loc'][0]} {fault['input']!r}: {fault['msg']}") from error
