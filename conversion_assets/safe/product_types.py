"""Which EOPF product a SAFE product becomes, told by its name.

The rows of ``product_types.csv`` cover what eopf 2.8.1 converts: the ``recognition`` entries of the
mappings in its ``store/mapping``. Adding a type is adding a row.
"""

from __future__ import annotations

import csv
import json
import re
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from conversion_assets.errors import OrderError
from conversion_assets.safe.naming import product_name

_TABLE: Final = "product_types.csv"
_SENTINEL_NAME = re.compile(r"S[1-6][A-Z_]_[A-Z0-9_]{3,}", re.IGNORECASE)
_EOPF_NAME = re.compile(r"S0[1-3][A-Z0-9_]{6}_.*", re.IGNORECASE)
_WAY_OUT: Final = (
    "Order a product of a type that can be converted (see product_types.csv), "
    "or add a row for it once eopf has a mapping"
)


class ProductType(BaseModel):
    """One kind of product.

    Attributes:
        eopf_type: the type that eopf writes into the Zarr, such as ``S02MSIL1C``.
        legacy_type: its usual name before EOPF, such as ``S2MSI1C``.
        mission: ``sentinel-1``, ``sentinel-2`` or ``sentinel-3``.
        title: for people.
        collection: id of the STAC collection it goes to unless the order says otherwise.
        name_pattern: regular expression of the whole product name, without suffix.
        legacy_pattern: regular expression of all spellings of the legacy type, in capitals, without
            trailing underscores.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    eopf_type: str = Field(pattern=r"^S0[1-3][A-Z0-9_]{6}$")
    legacy_type: str = Field(pattern=r"^[A-Za-z0-9_]+$")
    mission: Literal["sentinel-1", "sentinel-2", "sentinel-3"]
    title: str = Field(min_length=1)
    collection: str = Field(pattern=r"^sentinel-[1-3](-[a-z0-9]+)+$")
    name_pattern: str = Field(min_length=1)
    legacy_pattern: str = Field(min_length=1)

    @field_validator("name_pattern", "legacy_pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return pattern

    @property
    def version(self) -> str:
        """The type, and a digest of what its row decides: which products are of it, and where they go.

        Titles and older names decide nothing about a product that is ordered again, and other rows neither:
        no name belongs to two types.
        """
        deciding = json.dumps([self.eopf_type, self.name_pattern, self.collection])
        return f"{self.eopf_type}-{sha256(deciding.encode()).hexdigest()[:12]}"


@cache
def all_product_types() -> tuple[ProductType, ...]:
    """Give all types that can be converted, in the order of the table."""
    return tuple(ProductType.model_validate(row) for row in csv.DictReader(_table().splitlines()))


def type_versions() -> frozenset[str]:
    """Give the versions of all types; see ``ProductType.version``."""
    return frozenset(kind.version for kind in all_product_types())


def types_version() -> str:
    """Give the version of the whole table: of what all its rows decide, in whatever order."""
    return sha256("\n".join(sorted(type_versions())).encode()).hexdigest()[:12]


def _table() -> str:
    return files(__package__).joinpath(_TABLE).read_text(encoding="utf-8")


def product_type_of_name(name: str) -> ProductType:
    """Tell the type of a product by its name.

    Args:
        name: a product's name, with or without ``.SAFE``, ``.SEN3`` and the suffix of an archive.

    Raises:
        OrderError: where no type has such a name; says whether it is a Sentinel name at all.
    """
    bare_name = product_name(name)
    for product_type in all_product_types():
        if re.fullmatch(product_type.name_pattern, bare_name):
            return product_type
    raise OrderError(name, f"unknown product type: {_reason(bare_name)}", _WAY_OUT)


def _reason(name: str) -> str:
    if _EOPF_NAME.fullmatch(name):
        return "this is the name of an EOPF product, which needs no conversion"
    if _SENTINEL_NAME.match(name):
        return "this is a Sentinel name, but eopf 2.8.1 has no mapping for its type"
    return "this is not the name of a Sentinel product, such as S2A_MSIL1C_…, S1A_IW_GRDH_… or S3A_OL_1_EFR_…"


def product_type_of_legacy(legacy: str) -> ProductType:
    """Tell the type of a product by its legacy type, in any of the spellings in use.

    Args:
        legacy: such as ``S2MSI1C``, ``MSI_L1C_DS``, ``OL_1_EFR___`` or ``IW_GRDH_1S``; trailing
            underscores, case and the ``-COG`` of some catalogues make no difference.

    Raises:
        OrderError: where no type is called so.
    """
    spelling = legacy.strip().upper().removesuffix("-COG").removesuffix("_COG").rstrip("_")
    for product_type in all_product_types():
        if re.fullmatch(product_type.legacy_pattern, spelling):
            return product_type
    raise OrderError(legacy, "unknown product type: eopf 2.8.1 has no mapping for this legacy type", _WAY_OUT)
