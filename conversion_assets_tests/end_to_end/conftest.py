from __future__ import annotations

import pytest

from conversion_assets_tests.end_to_end.shared import PublishedProducts, published_products


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> PublishedProducts:
    return published_products(tmp_path_factory)
