"""Georeferenced and plain images in the formats of the products."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning


def write_raster(path: Path, data: NDArray[Any], *, driver: str, **options: object) -> None:
    """Write a single-band image.

    Args:
        path: file to write; its folder is made.
        data: rows and columns.
        driver: name of the GDAL driver.
        options: profile and creation options of that driver.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns = data.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver=driver, height=rows, width=columns, count=1, dtype=data.dtype, **options
        ) as target:
            target.write(np.ascontiguousarray(data), 1)
