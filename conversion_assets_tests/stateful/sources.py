"""What is ordered: tiny Sentinel-1 archives that their provider replaces, damages and takes away."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from itertools import count
from pathlib import Path

from conversion_assets_tests.safe.building import Tree, zip_bytes
from conversion_assets_tests.safe.products import document, entry

NAMES = (
    "S1A_IW_GRDH_1SDV_20210809T173953_20210809T174018_039156_049F13_6FF8",
    "S1A_IW_GRDH_1SDV_20210809T173953_20210809T174018_039156_049F13_7AA1",
    "S1B_IW_GRDH_1SDV_20210810T173953_20210810T174018_028156_035F13_0BC5",
)
"""The first two differ in the unique digits only: eopf gives both the same name."""
FIRST_DAY = 9
IN_THE_OCEAN = "<g:coordinates>-30.03,-110.51 -30.43,-107.85 -31.93,-107.18 -31.53,-110.93</g:coordinates>"
"""Maps of the sea are drawn quickly."""


class Health(StrEnum):
    """How an archive is."""

    GOOD = "good"
    DAMAGED = "damaged"  # a file is not as the manifest says
    TRUNCATED = "truncated"
    MISSING = "missing"


@dataclass(frozen=True)
class Content:
    """What an archive holds.

    Attributes:
        name: of the product.
        edition: the provider publishes it again, with other data and another start of sensing.
        health: how it is.
    """

    name: str
    edition: int = 0
    health: Health = Health.GOOD


class Sources:
    """A folder of archives.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._clock = count(1_700_000_000)
        self.contents = {name: Content(name) for name in NAMES}
        folder.mkdir(parents=True)
        for content in self.contents.values():
            self._write(content)

    def path(self, name: str) -> Path:
        """Give the path of an archive."""
        return self._folder / f"{name}.zip"

    def change(self, name: str, *, edition: int, health: Health) -> None:
        """Put something else in the place of an archive."""
        content = replace(self.contents[name], edition=edition, health=health)
        if content != self.contents[name]:
            self.contents[name] = content
            self._write(content)

    def _write(self, content: Content) -> None:
        path = self.path(content.name)
        path.unlink(missing_ok=True)
        if content.health is not Health.MISSING:
            path.write_bytes(archive(content))
            moment = next(self._clock)
            os.utime(path, (moment, moment))


@cache
def archive(content: Content) -> bytes:
    """Write an archive."""
    whole = zip_bytes(_tree(content), method=0)
    return whole[: len(whole) // 2] if content.health is Health.TRUNCATED else whole


def _tree(content: Content) -> Tree:
    data = f"edition {content.edition}".encode()
    sensed = f"2021-08-{FIRST_DAY + content.edition:02d}T17"
    period = f"<a:startTime>{sensed}:39:53.5</a:startTime><a:stopTime>{sensed}:40:18.5</a:stopTime>"
    manifest = document(entry("./data.bin", data), period, IN_THE_OCEAN)
    stored = data.upper() if content.health is Health.DAMAGED else data
    root = f"{content.name}.SAFE"
    return {f"{root}/manifest.safe": manifest.encode(), f"{root}/data.bin": stored}
