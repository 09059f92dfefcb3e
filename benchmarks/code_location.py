"""The code location of the benchmarks: the platform's own, with a null converter."""

from __future__ import annotations

from benchmarks.null_conversion import NullConverter
from conversion_assets.definitions import build_definitions
from conversion_assets.settings import Settings

defs = build_definitions(Settings(), converter=NullConverter())
