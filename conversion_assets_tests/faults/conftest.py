from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from conversion_assets_tests.faults import work
from conversion_assets_tests.faults.points import ORDERED
from conversion_assets_tests.faults.rig import Copier, Rig, copier
from conversion_assets_tests.faults.sources import Sources, make_archives, make_sources

OpenRig = Callable[..., Rig]


@pytest.fixture(scope="session")
def warm() -> Iterator[Copier]:
    with copier() as started:
        yield started


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return make_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="session")
def empty_home(warm: Copier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    rig = Rig(warm, tmp_path_factory.mktemp("empty") / "home", {})
    rig.run(work.make_instance)
    return rig.home


@pytest.fixture(scope="session")
def published_home(
    warm: Copier, empty_home: Path, sources: Sources, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return _ordered(warm, empty_home, sources.archive, tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="session")
def superseded_home(
    warm: Copier, published_home: Path, sources: Sources, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("superseded")
    return _ordered(warm, published_home, sources.archive, folder, reconvert=True)


@pytest.fixture(scope="session")
def quarantined_home(
    warm: Copier, empty_home: Path, sources: Sources, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return _ordered(warm, empty_home, sources.corrupt, tmp_path_factory.mktemp("quarantined"))


@pytest.fixture(scope="session")
def dropped_home(
    warm: Copier, empty_home: Path, sources: Sources, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Make a home in which an order was killed with its item unlinked, and was then dropped."""
    home = tmp_path_factory.mktemp("dropped") / "home"
    shutil.copytree(empty_home, home)
    rig = Rig(warm, home, {})
    (killed,) = (point for point in ORDERED if point.id == "publish-day-linked")
    rig.run_killed(partial(work.order, source=sources.archive), killed.place)
    rig.run(work.close)
    rig.run(work.drop)
    return home


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Make two products."""
    return make_archives(tmp_path_factory.mktemp("archives"), 2)


@pytest.fixture(scope="session")
def two_published_home(
    warm: Copier, empty_home: Path, archives: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    home = tmp_path_factory.mktemp("two_published") / "home"
    shutil.copytree(empty_home, home)
    Rig(warm, home, {}).run(partial(work.order_all, sources=archives))
    return home


@pytest.fixture(scope="session")
def long_home(
    warm: Copier, two_published_home: Path, archives: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Make a home of which much can be pruned: two products converted twice, one retired, and a backfill."""
    home = tmp_path_factory.mktemp("long") / "home"
    shutil.copytree(two_published_home, home)
    rig = Rig(warm, home, {})
    rig.run(partial(work.order_all, sources=archives, reconvert=True))
    rig.run(work.backfill)
    rig.run(work.end_backfill)
    rig.run(work.retire_published)
    return home


@pytest.fixture
def rig_of(warm: Copier, tmp_path: Path) -> OpenRig:
    """Open a rig on a copy of a home."""

    def opened(home: Path, variables: Mapping[str, str] | None = None) -> Rig:
        shutil.copytree(home, tmp_path / "home")
        return Rig(warm, tmp_path / "home", variables or {})

    return opened


def _ordered(warm: Copier, home: Path, source: Path, folder: Path, *, reconvert: bool = False) -> Path:
    shutil.copytree(home, folder / "home")
    Rig(warm, folder / "home", {}).run(partial(work.order, source=source, reconvert=reconvert))
    return folder / "home"
