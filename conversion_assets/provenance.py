"""What a stored product was made of."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict


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
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    safe_name: str
    fingerprint: str
    eopf_version: str
    converted: datetime
    created: datetime
    metadata_sha256: str
