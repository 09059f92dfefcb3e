"""What a stored product was made of."""

from __future__ import annotations

import re
from datetime import datetime

from pydantic import BaseModel, ConfigDict

STORED_NAME = re.compile(r"(?P<name>.+)\.v(?P<number>[2-9]|[1-9][0-9]{1,8})")


class Provenance(BaseModel):
    """What a stored product was made of: compared before a conversion is repeated.

    Attributes:
        name: EOPF product name.
        safe_name: name of the SAFE product.
        fingerprint: of the SAFE product's content.
        eopf_version: version of the converter.
        converted: when the conversion ended.
        created: when the SAFE was first converted to this place.
        metadata_sha256: of the product's root ``.zmetadata``, which is written last and holds the time.
        stored_as: name it is stored under, see ``stored_name``; None where that is its EOPF name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    safe_name: str
    fingerprint: str
    eopf_version: str
    converted: datetime
    created: datetime
    metadata_sha256: str
    stored_as: str | None = None

    @property
    def place(self) -> str:
        """The name it is stored under."""
        return self.stored_as or self.name


def stored_name(name: str, number: int) -> str:
    """Give the name under which a conversion is stored: conversions of one SAFE lie side by side.

    Args:
        name: EOPF product name, which has no dot.
        number: 1 for the first conversion, which has the name for itself.
    """
    return name if number == 1 else f"{name}.v{number}"


def name_and_number(stored: str) -> tuple[str, int]:
    """Undo ``stored_name``."""
    parts = STORED_NAME.fullmatch(stored)
    return (parts["name"], int(parts["number"])) if parts else (stored, 1)
