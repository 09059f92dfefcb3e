"""What is asked of a conversion and what it answers: the contract between parent and engine.

The same request and report serve a child process, a task on a Dask worker and a remote service.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class ConversionRequest(BaseModel):
    """One SAFE product to convert.

    Attributes:
        safe: the unzipped ``.SAFE`` or ``.SEN3`` folder; never written to.
        output: an existing folder in which ``<EOPF name>.zarr`` is created.
        scratch: an existing private folder for temporary files; the caller removes it.
        threads: how many threads read, compute and compress.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    safe: Path
    output: Path
    scratch: Path
    threads: int = Field(default=2, ge=1)


class ConversionReport(BaseModel):
    """What a finished conversion says of itself.

    Attributes:
        product: the Zarr folder that was written.
        name: EOPF product name, without ``.zarr``.
        product_type: EOPF product type the converter recognised.
        eopf_version: version of the converter.
        anomalies: what eopf's own structure validation remarks, one sentence each.
        seconds: wall seconds of each phase: ``import``, ``load``, ``write``.
        cpu_seconds: processor seconds of the converting process.
        peak_memory_bytes: largest resident size of the converting process.
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
