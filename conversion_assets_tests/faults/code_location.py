"""The platform with nothing to convert, as the daemons of these tests load it."""

from __future__ import annotations

from conversion_assets.definitions import build_definitions
from conversion_assets.settings import Settings
from conversion_assets_tests.faults.converter import NamingConverter

defs = build_definitions(Settings(), converter=NamingConverter())
