from __future__ import annotations

from pathlib import Path

import pytest

from conversion_assets.errors import PoisonedInputError
from conversion_assets.safe.members import ExtractionLimits
from conversion_assets.safe.unzip import unzip
from conversion_assets_tests.safe.building import NAME, ROOT, read_tree, zip_bytes

TREE = {f"{ROOT}/": b"", f"{ROOT}/manifest.safe": b"<xml/>", f"{ROOT}/image.jp2": bytes(range(256))}
LIMITS = ExtractionLimits()


def ignore(_: str) -> None:
    """Take no interest."""


def archive(folder: Path) -> Path:
    path = folder / f"{NAME}.zip"
    path.write_bytes(zip_bytes(TREE))
    return path


def test_archive_is_unpacked_and_said(tmp_path: Path) -> None:
    told: list[str] = []
    folder = unzip(archive(tmp_path), tmp_path / "unzipped", LIMITS, told.append)
    assert folder == tmp_path / "unzipped" / ROOT
    assert read_tree(folder) == TREE
    assert told == [f"unpacking {NAME}.zip"]


def test_archive_stays_until_somebody_has_verified_the_folder(tmp_path: Path) -> None:
    path = archive(tmp_path)
    unzip(path, tmp_path / "unzipped", LIMITS, ignore)
    assert path.read_bytes() == zip_bytes(TREE)


def test_folder_is_left_where_it_is(tmp_path: Path) -> None:
    folder = tmp_path / ROOT
    folder.mkdir()
    assert unzip(folder, tmp_path / "unzipped", LIMITS, ignore) == folder
    assert list(tmp_path.iterdir()) == [folder]


def test_folder_of_an_earlier_attempt_serves_when_the_archive_is_gone(tmp_path: Path) -> None:
    path = archive(tmp_path)
    first = unzip(path, tmp_path / "unzipped", LIMITS, ignore)
    path.unlink()
    assert unzip(path, tmp_path / "unzipped", LIMITS, ignore) == first


@pytest.mark.parametrize(
    "remains", [f"{ROOT}/manifest.safe", ".extracting-1/half", "other.SAFE/manifest.safe"]
)
def test_remains_of_an_attempt_that_was_interrupted_are_replaced(tmp_path: Path, remains: str) -> None:
    left = tmp_path / "unzipped" / remains
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    folder = unzip(archive(tmp_path), tmp_path / "unzipped", LIMITS, ignore)
    assert read_tree(folder) == TREE
    assert list((tmp_path / "unzipped").iterdir()) == [folder]


def test_limits_hold(tmp_path: Path) -> None:
    with pytest.raises(PoisonedInputError, match="more than"):
        unzip(archive(tmp_path), tmp_path / "unzipped", ExtractionLimits(max_total_bytes=10), ignore)
    assert list((tmp_path / "unzipped").iterdir()) == []
