"""What is ordered: one small product as a folder, as an archive, and as one that is damaged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from conversion_assets_tests.safe_products import SMALLEST_SCALE, ProductKind, make_archive, make_product

KIND = ProductKind.S1_IW_GRDH
BYTES_CUT_OFF = 1000


@dataclass(frozen=True)
class Sources:
    """The same product three times.

    Attributes:
        folder: the SAFE folder.
        archive: a zip file of it.
        corrupt: the zip file without its end.
    """

    folder: Path
    archive: Path
    corrupt: Path


def make_sources(parent: Path) -> Sources:
    """Make them."""
    folder = make_product(KIND, parent, scale=SMALLEST_SCALE[KIND])
    archive = make_archive(folder)
    corrupt = parent / "corrupt" / archive.name
    corrupt.parent.mkdir()
    corrupt.write_bytes(archive.read_bytes()[:-BYTES_CUT_OFF])
    return Sources(folder, archive, corrupt)


def make_archives(parent: Path, count: int) -> list[Path]:
    """Make archives of so many other products, each of a day of its own."""
    days = [datetime(2024, 6, day, 5, 25, tzinfo=UTC) for day in range(1, count + 1)]
    return [make_archive(make_product(KIND, parent, scale=SMALLEST_SCALE[KIND], start=day)) for day in days]
