"""The converter: eopf, wherever it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.metadata import version

import dagster as dg

from conversion_assets.zarr.conversion import ConversionReport, ConversionRequest
from conversion_assets.zarr.process import ProcessLimits, run_conversion


class Converter(dg.ConfigurableResource, ABC):  # type: ignore[type-arg] # the resource provides itself
    """Turns a SAFE folder into a Zarr product.

    Attributes:
        threads: threads of one conversion.
    """

    threads: int = 2

    @abstractmethod
    def convert(self, request: ConversionRequest, tell: Callable[[str], None]) -> ConversionReport:
        """Convert one product; see ``run_conversion`` for arguments and errors."""

    @abstractmethod
    def eopf_version(self) -> str:
        """Tell the version of eopf that will convert."""


class ChildProcessConverter(Converter):
    """Runs eopf in a child process of this one.

    Attributes:
        memory_limit_bytes: resident bytes the process may use.
        time_limit_seconds: wall seconds it may take.
    """

    memory_limit_bytes: int
    time_limit_seconds: float

    def convert(self, request: ConversionRequest, tell: Callable[[str], None]) -> ConversionReport:
        """See ``Converter.convert``."""
        limits = ProcessLimits(self.memory_limit_bytes, self.time_limit_seconds)
        return run_conversion(request, limits, tell)

    def eopf_version(self) -> str:
        """See ``Converter.eopf_version``."""
        return version("eopf")
