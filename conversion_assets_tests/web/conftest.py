"""A server that answers as told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conversion_assets_tests.web.server import Site, serving_replies


@pytest.fixture
def site() -> Iterator[Site]:
    with serving_replies() as served:
        yield served
