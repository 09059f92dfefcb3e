"""Sentinel-3 OLCI Level-1: full resolution (OL_1_EFR) or reduced resolution (OL_1_ERR)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import netCDF4
import numpy as np

from .clock import in_utc, iso_microseconds_z
from .kind import ProductKind, checked_unit
from .scene import Scene
from .sentinel3_bands import BANDS
from .sentinel3_frame import OlciFrame
from .sentinel3_manifest import write_olci_manifest
from .sentinel3_variables import PRESSURE_LEVELS, REMOVED_PIXELS, Variable, files

DEFAULT_START: Final = datetime(2024, 6, 15, 9, 30, 12, 345678, tzinfo=UTC)


def make_olci(
    kind: str, folder: Path, *, scale: float, seed: int, start: datetime | None, unit: str | None
) -> Path:
    """Write a product and return its folder; see `make_product` for the arguments."""
    frame = OlciFrame(
        kind=kind,
        start=in_utc(start, DEFAULT_START),
        unit=checked_unit(ProductKind(f"S3_OL_{kind}"), unit),
        scale=scale,
    )
    root = folder / frame.name
    root.mkdir(parents=True)
    scene = Scene(frame.shape, seed)
    for stem, variables in files(frame, scene):
        _write_file(root / f"{stem}.nc", frame, variables)
    write_olci_manifest(root, frame, scene)
    return root


def _write_file(path: Path, frame: OlciFrame, variables: list[Variable]) -> None:
    with netCDF4.Dataset(path, "w", format="NETCDF4") as target:
        target.setncatts(_global_attributes(path.stem, frame))
        for name, size in _dimensions(frame).items():
            if any(name in variable.dimensions for variable in variables):
                target.createDimension(name, size)
        for variable in variables:
            _write_variable(target, variable)


def _write_variable(target: netCDF4.Dataset, variable: Variable) -> None:
    stored = target.createVariable(
        variable.name,
        variable.data.dtype,
        variable.dimensions,
        compression="zlib",
        complevel=1,
        fill_value=variable.fill,
    )
    stored.set_auto_maskandscale(False)
    stored.setncatts(dict(variable.attributes))
    stored[...] = variable.data


def _dimensions(frame: OlciFrame) -> dict[str, int]:
    return {
        "rows": frame.rows,
        "columns": frame.columns,
        "bands": len(BANDS),
        "bands2": len(BANDS),
        "detectors": frame.detectors,
        "tie_rows": frame.rows,
        "tie_columns": (frame.columns - 1) // frame.tie_step + 1,
        "tie_pressure_levels": len(PRESSURE_LEVELS),
        "wind_vectors": 2,
        "removed_pixels": REMOVED_PIXELS,
    }


def _global_attributes(stem: str, frame: OlciFrame) -> dict[str, Any]:
    return {
        "title": f"OLCI Level 1b Product, {stem}",
        "absolute_orbit_number": np.int32(frame.orbit),
        "start_time": iso_microseconds_z(frame.start),
        "stop_time": iso_microseconds_z(frame.stop),
        "creation_time": iso_microseconds_z(frame.made),
        "product_name": frame.name,
        "source": "IPF-OL-1-EO 06.17",
        "institution": "SYN",
        "ac_subsampling_factor": np.int16(frame.tie_step),
        "al_subsampling_factor": np.int16(1),
    }
