"""The platform of a soak, kept running and looked at."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import httpx

from benchmarks.soak.memory import Sample, samples_of
from benchmarks.soak.platform import Platform

SECONDS_BETWEEN_SAMPLES = 15.0
RUN_LIST = "{ runsOrError(limit: 25) { ... on Runs { results { runId status tags { key value } } } } }"


@dataclass
class Watched:
    """The platform, kept running and looked at.

    Attributes:
        platform: which.
        samples: what its servers used.
    """

    platform: Platform
    samples: list[Sample] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _next: float = 0.0

    def begin(self) -> None:
        """Let the time begin."""
        self._began = time.monotonic()

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def look(self) -> None:
        """Keep it running; now and then take a sample, and look at the list of runs as a person does."""
        self.platform.keep_running()
        if self.now < self._next:
            return
        self._next = self.now + SECONDS_BETWEEN_SAMPLES
        self.platform.note_processes()
        self.samples += samples_of(self.platform.servers(), self.now)
        if url := self.platform.url:
            try:
                httpx.post(f"{url}/graphql", json={"query": RUN_LIST}, timeout=SECONDS_BETWEEN_SAMPLES)
            except httpx.HTTPError:
                return  # it is just being started again
