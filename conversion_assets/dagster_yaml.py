"""The ``dagster.yaml`` of a home: renewed by later versions as long as nobody changed it.

Its first line tells which version wrote it, from which template, and what it held then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import yaml
from packaging.version import Version

OF_THE_HOME = ("storage", "compute_logs")
"""What was settled when the home was made: where its history and its logs are."""
FIRST_LINE = re.compile(
    r"# Written by conversion-assets (?P<version>\d+(?:\.\d+)*), template (?P<template>[0-9a-f]{12})"
    r"(?:, content (?P<content>[0-9a-f]{12}))?\.\n"
)
EXPLANATION = "# A later version renews this file, unless somebody changes it: it is yours to change.\n"


@dataclass(frozen=True)
class Template:
    """What a version of the platform writes.

    Attributes:
        text: the configuration without what is of one home.
        version: of the platform; only its release counts.
    """

    text: str
    version: str

    @property
    def first_line(self) -> str:
        """The first line of a file that agrees with this template, whoever wrote it."""
        return f"# Written by conversion-assets {self._release}, template {_digest(self.text)}."

    def written(self, of_the_home: Mapping[str, Any]) -> str:
        """Give the whole file.

        Args:
            of_the_home: the entries of ``OF_THE_HOME`` that it has.
        """
        more = yaml.safe_dump(dict(of_the_home), sort_keys=False) if of_the_home else ""
        body = f"{EXPLANATION}{self.text}{more}"
        return f"{self.first_line.removesuffix('.')}, content {_digest(body)}.\n{body}"

    def renewed(self, found: str) -> str:
        """Give a file as this version writes it, where an earlier one wrote it and nobody changed it.

        Args:
            found: the file.

        Returns:
            The file as it is to be; the same text where it is to stay.
        """
        first = FIRST_LINE.match(found)
        if first is None or first["content"] != _digest(found[first.end() :]) or not self._follows(first):
            return found
        former = yaml.safe_load(found)
        return self.written({name: former[name] for name in OF_THE_HOME if name in former})

    def overlooked(self, found: str) -> tuple[str, ...]:
        """Name the entries that this version writes otherwise than a file that somebody changed.

        There are none where the file was made of this template, or by a later version.
        """
        first = FIRST_LINE.match(found)
        if first is not None and not self._follows(first):
            return ()
        return tuple(_differing(yaml.safe_load(found), yaml.safe_load(self.text)))

    @property
    def _release(self) -> str:
        return Version(self.version).base_version

    def _follows(self, first: re.Match[str]) -> bool:
        is_later = Version(first["version"]) > Version(self._release)
        return not is_later and first["template"] != _digest(self.text)


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12]


def _differing(found: Any, wanted: Mapping[str, Any], above: str = "") -> Iterator[str]:  # noqa: ANN401 - any YAML
    known = found if isinstance(found, dict) else {}
    for name, entry in wanted.items():
        if isinstance(entry, dict) and isinstance(known.get(name), dict):
            yield from _differing(known[name], entry, f"{above}{name}.")
        elif known.get(name) != entry:
            yield f"{above}{name}"
