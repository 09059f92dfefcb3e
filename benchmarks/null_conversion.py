"""A converter that converts nothing: what is left of the time of an order is the platform's own.

The product is the smallest that passes every check of the line: one group, one image of one chunk, with the
type, the times and the outline that the SAFE promises.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from conversion_assets.resources.converter import Converter
from conversion_assets.safe.manifest import Manifest, read_manifest
from conversion_assets.safe.naming import product_name
from conversion_assets.safe.product_types import product_type_of_name
from conversion_assets.stac.frames import footprint_of_rings
from conversion_assets.zarr.conversion import Assignment, Conversion
from conversion_assets.zarr.product_folder import CONSOLIDATED_METADATA

SIDE = 8
IMAGE = "measurements/image"


class NullConverter(Converter):
    """Writes a small valid Zarr product without eopf."""

    def convert(self, assignment: Assignment, tell: Callable[[str], None]) -> Conversion:
        """See ``Converter.convert``."""
        del tell
        name = product_name(assignment.safe.name)
        product = assignment.workspace.local_output() / f"{name}.zarr"
        write_product(product, product_type_of_name(name).eopf_type, read_manifest(assignment.safe))
        return Conversion(product.as_uri(), name, self.eopf_version())

    def eopf_version(self) -> str:
        """See ``Converter.eopf_version``."""
        return version("eopf")


def write_product(product: Path, product_type: str, manifest: Manifest) -> None:
    """Write a product of one image, in the layout of Zarr format 2, its root metadata last."""
    documents = {
        ".zgroup": {"zarr_format": 2},
        ".zattrs": {"stac_discovery": _discovery(product_type, manifest)},
        "measurements/.zgroup": {"zarr_format": 2},
        f"{IMAGE}/.zarray": _image_layout(),
        f"{IMAGE}/.zattrs": {"_ARRAY_DIMENSIONS": ["y", "x"]},
    }
    (product / IMAGE).mkdir(parents=True)
    (product / IMAGE / "0.0").write_bytes(array("H", range(1, SIDE * SIDE + 1)).tobytes())
    for path, document in documents.items():
        (product / path).write_text(json.dumps(document))
    consolidated = {"zarr_consolidated_format": 1, "metadata": documents}
    (product / CONSOLIDATED_METADATA).write_text(json.dumps(consolidated))


def _discovery(product_type: str, manifest: Manifest) -> Mapping[str, Any]:
    properties = {
        "product:type": product_type,
        "start_datetime": manifest.start.isoformat(),
        "end_datetime": manifest.stop.isoformat(),
    }
    geometry = footprint_of_rings(manifest.footprints).geometry
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def _image_layout() -> Mapping[str, Any]:
    return {
        "zarr_format": 2,
        "shape": [SIDE, SIDE],
        "chunks": [SIDE, SIDE],
        "dtype": "<u2",
        "order": "C",
        "fill_value": 0,
        "compressor": None,
        "filters": None,
    }
