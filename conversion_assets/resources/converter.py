"""The converter: eopf, wherever it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.metadata import version

import dagster as dg

from conversion_assets.zarr.conversion import Assignment, Conversion, ConversionRequest
from conversion_assets.zarr.process import ProcessLimits, run_conversion


class Converter(dg.ConfigurableResource, ABC):  # type: ignore[type-arg] # the resource provides itself
    """Turns a SAFE folder into a Zarr product.

    Attributes:
        threads: threads of one conversion.
    """

    threads: int = 2

    @abstractmethod
    def convert(self, assignment: Assignment, tell: Callable[[str], None]) -> Conversion:
        """Convert one product.

        What ends this call early, an exception of a cancelled run included, ends the conversion first,
        wherever it runs.

        Args:
            assignment: what to convert.
            tell: receives a sentence now and then.

        Raises:
            PoisonedInputError: eopf refused the product.
            PermanentError: a limit was exceeded, the disk is full, or a service refused the work.
            TransientError: the process, its machine or its service was lost.
        """

    @abstractmethod
    def eopf_version(self) -> str:
        """Tell the version of eopf that will convert."""

    def is_converting(self, key: str) -> bool:
        """Tell whether a conversion of this order, begun before a restart of ours, may still go on."""
        del key
        return False


class ChildProcessConverter(Converter):
    """Runs eopf in a child process of this one.

    Attributes:
        memory_limit_bytes: resident bytes the process may use.
        time_limit_seconds: wall seconds it may take.
    """

    memory_limit_bytes: int
    time_limit_seconds: float

    def convert(self, assignment: Assignment, tell: Callable[[str], None]) -> Conversion:
        """See ``Converter.convert``."""
        request = ConversionRequest(
            safe=assignment.safe,
            output=assignment.workspace.local_output(),
            scratch=assignment.scratch,
            threads=self.threads,
        )
        limits = ProcessLimits(self.memory_limit_bytes, self.time_limit_seconds)
        report = run_conversion(request, limits, tell)
        return Conversion(report.product.as_uri(), report.name, report.eopf_version, report)

    def eopf_version(self) -> str:
        """See ``Converter.eopf_version``."""
        return version("eopf")
