"""What is asked of a conversion and what it answers: the contracts with converters and with the engine.

A converter is given an assignment and gives a conversion, wherever it runs. The engine's process is given
a request and gives a report, whether a child of ours or of a task on a Dask worker.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from conversion_assets.zarr.product_folder import ProductFolder


class Workspace(ABC):
    """Where one conversion reads its SAFE and writes its product, hidden from readers."""

    @abstractmethod
    def local_output(self) -> Path:
        """Give a local folder to write the product to."""

    @abstractmethod
    def shared_safe(self, tell: Callable[[str], None]) -> str:
        """Give the URI from which other machines read the SAFE folder; it is copied there when it has to be.

        Args:
            tell: receives a sentence when something is copied.
        """

    @abstractmethod
    def shared_output(self) -> str:
        """Give the URI of the folder to which other machines write the product."""

    @abstractmethod
    def open_product(self, uri: str) -> ProductFolder:
        """Give read access to a product that was written to one of both outputs."""


@dataclass(frozen=True)
class Assignment:
    """One SAFE product to convert, and what a converter may use for it.

    Attributes:
        key: of the order; names tasks and jobs.
        safe: the verified ``.SAFE`` or ``.SEN3`` folder; never written to.
        scratch: an empty private folder for temporary files; the caller removes it.
        workspace: where the product is written.
    """

    key: str
    safe: Path
    scratch: Path
    workspace: Workspace


@dataclass(frozen=True)
class Conversion:
    """A product that was written to the workspace, not yet examined.

    Attributes:
        uri: where it is.
        name: EOPF product name, without ``.zarr``; the written folder may be called otherwise.
        eopf_version: version of the converter.
        report: what the converting process says of itself, where it is known.
    """

    uri: str
    name: str
    eopf_version: str
    report: ConversionReport | None = None


class ConversionRequest(BaseModel):
    """One SAFE product to convert.

    Attributes:
        safe: the unzipped ``.SAFE`` or ``.SEN3`` folder; never written to.
        output: an existing folder in which ``<EOPF name>.zarr`` is created.
        scratch: an existing private folder for temporary files; the caller removes it.
        threads: how many threads read, compute and compress.
        name_only: read and name the product as for a conversion, and write nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    safe: Path
    output: Path
    scratch: Path
    threads: int = Field(default=2, ge=1)
    name_only: bool = False


class ConversionReport(BaseModel):
    """What a finished conversion says of itself.

    Attributes:
        product: the Zarr folder that was written, or that it would be.
        name: EOPF product name, without ``.zarr``.
        product_type: EOPF product type the converter recognised.
        eopf_version: version of the converter.
        anomalies: what eopf's own structure validation remarks, one sentence each.
        seconds: wall seconds of each phase: ``import``, ``load``, ``write``.
        cpu_seconds: processor seconds of the converting process.
        peak_memory_bytes: largest resident size of the converting process.
        bytes_read: what it read, cached or not, since its imports were done; None where nobody counts.
        bytes_written: what it wrote, likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    product: Path
    name: str
    product_type: str
    eopf_version: str
    anomalies: tuple[str, ...] = ()
    seconds: dict[str, float] = {}
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    bytes_read: int | None = None
    bytes_written: int | None = None
