"""How much memory a conversion is expected to need, by product type.

The rows of ``memory_needs.csv`` give bytes that every conversion of a type needs, bytes for each thread and
bytes for each byte of the SAFE; the first row whose pattern fits a type counts. Measured with the engine of
this package on Python 3.11, eopf 2.8.1, from products of full size.
"""

from __future__ import annotations

import csv
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, Field


class MemoryNeed(BaseModel):
    """What conversions of some product types need.

    Attributes:
        eopf_type: pattern of EOPF product types, such as ``S02MSI*``.
        base_bytes: whatever the product.
        bytes_per_thread: for each thread of the conversion.
        bytes_per_byte: for each byte of the SAFE.
        source: where the numbers come from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    eopf_type: str = Field(min_length=1)
    base_bytes: int = Field(ge=0)
    bytes_per_thread: int = Field(ge=0)
    bytes_per_byte: float = Field(ge=0)
    source: str = Field(min_length=1)

    def total(self, safe_bytes: int, threads: int) -> int:
        """Give the resident bytes of one conversion."""
        return self.base_bytes + self.bytes_per_thread * threads + int(self.bytes_per_byte * safe_bytes)


@cache
def all_memory_needs() -> tuple[MemoryNeed, ...]:
    """Give the rows of the table, in its order."""
    text = files(__package__).joinpath("memory_needs.csv").read_text(encoding="utf-8")
    return tuple(MemoryNeed.model_validate(row) for row in csv.DictReader(text.splitlines()))


def expected_memory(product_type: str, safe_bytes: int, threads: int) -> int:
    """Tell the resident bytes that a conversion is expected to need.

    Args:
        product_type: EOPF product type; any other text for one that is not known.
        safe_bytes: size of the SAFE folder.
        threads: of the conversion.
    """
    row = next(row for row in all_memory_needs() if fnmatchcase(product_type, row.eopf_type))
    return row.total(safe_bytes, threads)
