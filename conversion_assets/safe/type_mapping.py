"""The upstream system's own table of product types, beside ours.

eopf writes the type of a product, and nothing overrules it. The table of an upstream installation
(variable ``PTYPE_MAPPING_CONFIG`` there) may call some types otherwise; rules that its operators wrote
with those names are understood.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from conversion_assets.errors import PermanentError
from conversion_assets.safe.product_types import ProductType, all_product_types


class MappedType(BaseModel):
    """One row.

    Attributes:
        product_type: the upstream's name of the EOPF type.
        legacy_type: regular expression of the type's name before EOPF, or that name itself.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    product_type: str = Field(alias="productType")
    legacy_type: str = Field(alias="legacyType")

    def is_of(self, legacy_type: str) -> bool:
        """Tell whether the row is for a legacy type; what is no regular expression is compared as it is."""
        try:
            return re.fullmatch(self.legacy_type, legacy_type) is not None
        except re.error:
            return self.legacy_type == legacy_type


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    types: tuple[MappedType, ...] = Field(min_length=1)


def read_type_mapping(path: Path) -> tuple[MappedType, ...]:
    """Read a table: YAML with a list ``types`` of rows with ``productType`` and ``legacyType``.

    Raises:
        PermanentError: it cannot be read, or is something else.
    """
    try:
        return _Table.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).types
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise PermanentError(
            path,
            f"it is no table of product types ({type(error).__name__})",
            "Write YAML with a list 'types', each with productType and legacyType, or unset the variable"
            " PTYPE_MAPPING_CONFIG.",
        ) from error


def names_of_types(table: tuple[MappedType, ...]) -> dict[str, str]:
    """Map the upstream's names to the types that eopf writes, where the two differ.

    Args:
        table: rows; of several for one name the first counts.
    """
    names: dict[str, str] = {}
    for row in table:
        written = next((kind.eopf_type for kind in all_product_types() if _is_same(row, kind)), None)
        if written is not None and row.product_type != written:
            names.setdefault(row.product_type, written)
    ours = {kind.eopf_type for kind in all_product_types()}
    return {name: written for name, written in names.items() if name not in ours}


def _is_same(row: MappedType, kind: ProductType) -> bool:
    spelling = row.legacy_type.upper().rstrip("_")
    return row.is_of(kind.legacy_type) or re.fullmatch(kind.legacy_pattern, spelling) is not None
