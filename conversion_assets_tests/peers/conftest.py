from __future__ import annotations

from conversion_assets_tests.peers.fixtures import (
    osam,
    stac_api,
    upstream_bucket,
    upstream_catalogue,
    upstream_dpr,
    upstream_staging,
)
from conversion_assets_tests.resources.conftest import site

__all__ = [
    "osam",
    "site",
    "stac_api",
    "upstream_bucket",
    "upstream_catalogue",
    "upstream_dpr",
    "upstream_staging",
]
