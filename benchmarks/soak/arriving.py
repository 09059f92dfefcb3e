"""Products come: dropped into the inbox, or as items of the STAC source."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.soak.plan import Arrival, Flaw, Way
from benchmarks.soak.products import Made
from benchmarks.soak.source import Source

HOSTILE = "../../../"


@dataclass(frozen=True)
class Arrivals:
    """Lets products come.

    Attributes:
        inbox: the watched folder.
        source: the watched API.
        made: the products by number.
    """

    inbox: Path
    source: Source
    made: Mapping[int, Made]

    def bring(self, arrival: Arrival) -> None:
        """Let one come."""
        made = self.made[arrival.product.number]
        content = made.contents[arrival.content]
        if arrival.way is Way.INBOX:
            hidden = self.inbox / f".{content.archive.name}"
            shutil.copyfile(content.archive, hidden)
            hidden.rename(self.inbox / content.archive.name)
        else:
            prefix = HOSTILE if arrival.product.flaw is Flaw.HOSTILE_ID else ""
            self.source.offer(prefix + made.key, content)
