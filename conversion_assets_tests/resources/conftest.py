"""Servers on this machine that the tests of the services share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conversion_assets_tests.peers.fixtures import stac_api, upstream_bucket, upstream_catalogue
from conversion_assets_tests.resources.http_files import HttpFiles, serving

__all__ = ["site", "stac_api", "upstream_bucket", "upstream_catalogue"]


@pytest.fixture
def site() -> Iterator[HttpFiles]:
    with serving() as files:
        yield files
