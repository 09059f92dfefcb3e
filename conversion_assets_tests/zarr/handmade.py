"""Small Zarr 2 products laid out as eopf lays them out, with whatever content a test asks for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

Values = np.ndarray[Any, np.dtype[Any]]
NAME = "S02MSIL1C_20240615T102559_0000_B108_T000"
START, END = "2024-06-15T10:25:59.024Z", "2024-06-15T10:26:01Z"


@dataclass(frozen=True)
class Layer:
    """One array of a product."""

    path: str
    values: Values
    chunks: tuple[int, ...]
    dimensions: tuple[str, ...]
    fill_value: float | None
    attributes: Mapping[str, Any]
    separator: str


def band(
    path: str,
    values: Values,
    *,
    chunks: tuple[int, ...] = (4, 4),
    dimensions: tuple[str, ...] = ("y", "x"),
    fill_value: float | None = 0,
    attributes: Mapping[str, Any] | None = None,
    separator: str = ".",
) -> Layer:
    """Lay out an image in small chunks, with zero for no data."""
    return Layer(path, values, chunks, dimensions, fill_value, attributes or {}, separator)


def ramp(height: int = 10, width: int = 10) -> Values:
    """Make an image without a zero, growing to the right and downward."""
    return np.arange(1, height * width + 1, dtype=np.uint16).reshape(height, width)


def make_zarr(
    folder: Path,
    layers: Sequence[Layer],
    *,
    product_type: str = "S02MSIL1C",
    properties: Mapping[str, Any] | None = None,
    containers: Sequence[str] = (),
) -> Path:
    """Write a product: its groups, all chunks, its attributes and its consolidated metadata."""
    product = folder / f"{NAME}.zarr"
    store = zarr.DirectoryStore(str(product))
    root = zarr.open_group(store, mode="w")
    described = {"product:type": product_type, "start_datetime": START, "end_datetime": END}
    discovery = {"type": "Feature", "properties": {**described, **(properties or {})}}
    root.attrs.update({"stac_discovery": discovery, "other_metadata": {"eopf_category": "eoproduct"}})
    for layer in layers:
        _write(root, layer)
    for container in containers:
        zarr.consolidate_metadata(zarr.DirectoryStore(str(product / container)))
    zarr.consolidate_metadata(store)
    return product


def _write(root: zarr.Group, layer: Layer) -> None:
    array = root.create_dataset(
        layer.path,
        data=layer.values,
        chunks=layer.chunks,
        fill_value=layer.fill_value,
        dimension_separator=layer.separator,
        write_empty_chunks=True,
    )
    array.attrs.update({"_ARRAY_DIMENSIONS": list(layer.dimensions), **layer.attributes})


def edit_json(file: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON document in its place."""
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))
