"""The converter: eopf, wherever it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import dagster as dg

from conversion_assets.criteria import Product
from conversion_assets.resources.machine_memory import default_budget
from conversion_assets.resources.memory_budget import MemoryBudget, Peak
from conversion_assets.zarr.conversion import (
    Assignment,
    Conversion,
    ConversionReport,
    ConversionRequest,
)
from conversion_assets.zarr.process import (
    MEMORY_BUDGET,
    MEMORY_LIMIT,
    ProcessLimits,
    run_conversion,
    size_of,
)


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
    """Runs eopf in a child process of this one, as soon as the memory of the machine has room for it.

    Attributes:
        memory_limit_bytes: resident bytes the process may use, and never more than all may together.
        time_limit_seconds: wall seconds it may take.
        memory_ledger: folder in which all conversions of a machine keep what memory they hold; none of them
            waits for another where there is none.
        memory_budget_bytes: what they may use together; what the machine has, less a reserve, when not set.
    """

    memory_limit_bytes: int
    time_limit_seconds: float
    memory_ledger: str | None = None
    memory_budget_bytes: int | None = None

    def convert(self, assignment: Assignment, tell: Callable[[str], None]) -> Conversion:
        """See ``Converter.convert``."""
        report = self._within_budget(assignment, tell)
        return Conversion(report.product.as_uri(), report.name, report.eopf_version, report)

    def eopf_version(self) -> str:
        """See ``Converter.eopf_version``."""
        return version("eopf")

    def _within_budget(self, assignment: Assignment, tell: Callable[[str], None]) -> ConversionReport:
        if self.memory_ledger is None:
            return self._run(assignment, tell)
        budget = MemoryBudget(Path(self.memory_ledger), self.memory_budget_bytes or default_budget())
        kind, size = _type_of(assignment), size_of(assignment.safe)
        needed = min(budget.expected(kind, size, self.threads), self.memory_limit_bytes)
        with budget.reserved(needed, tell):
            report = self._run(assignment, tell)
        used = Peak(memory_bytes=report.peak_memory_bytes, safe_bytes=size, threads=self.threads)
        budget.learn(kind, used)
        return report

    def _run(self, assignment: Assignment, tell: Callable[[str], None]) -> ConversionReport:
        request = ConversionRequest(
            safe=assignment.safe,
            output=assignment.workspace.local_output(),
            scratch=assignment.scratch,
            threads=self.threads,
        )
        return run_conversion(request, self._limits(), tell)

    def _limits(self) -> ProcessLimits:
        """Give what the process may use: not more than there is, even where it needs more than expected."""
        memory, setting = min(
            (self.memory_limit_bytes, MEMORY_LIMIT),
            (self.memory_budget_bytes or default_budget(), MEMORY_BUDGET),
        )
        return ProcessLimits(memory, self.time_limit_seconds, setting)


def _type_of(assignment: Assignment) -> str:
    """Give the EOPF product type that the name of a SAFE announces; nothing where it announces none."""
    product = Product.named(assignment.safe.name)
    return product.product_type if product else ""
