from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from conversion_assets_tests.faults import work
from conversion_assets_tests.faults.rig import Copier, Rig, copier
from conversion_assets_tests.faults.sources import make_archives


@pytest.fixture(scope="session")
def warm() -> Iterator[Copier]:
    with copier() as started:
        yield started


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Make four products."""
    return make_archives(tmp_path_factory.mktemp("archives"), 4)


@pytest.fixture
def rig(warm: Copier, tmp_path: Path) -> Rig:
    """Make a home in which nothing was ordered, and whose converter converts nothing."""
    made = Rig(warm, tmp_path / "home", {})
    made.run(work.make_instance)
    return made
