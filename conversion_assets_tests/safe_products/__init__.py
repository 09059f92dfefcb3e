"""Synthetic SAFE products of any size that a reader opens exactly as it opens real ones.

Nothing in them is copied from a real product: only the public names, elements and units of the SAFE
formats are followed. A scale of 1 gives the size of a real product.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from conversion_assets.errors import OrderError

from .archive import SUFFIXES, make_archive
from .kind import ProductKind
from .manifest import Checksum
from .sentinel1 import make_grd
from .sentinel2 import make_tile
from .sentinel3 import make_olci

__all__ = ["SMALLEST_SCALE", "SUFFIXES", "Checksum", "ProductKind", "make_archive", "make_product"]

SMALLEST_SCALE: Final[Mapping[ProductKind, float]] = {
    ProductKind.S1_IW_GRDH: 0.001,
    ProductKind.S2_MSI_L1C: 0.002,
    ProductKind.S2_MSI_L2A: 0.002,
    ProductKind.S3_OL_EFR: 0.002,
    ProductKind.S3_OL_ERR: 0.006,
}
"""The scale below which a product of a kind becomes no smaller: sides of 8 to 26 pixels, which eopf reads.

It takes eopf about as long as a product of the default scale, since time then goes into the metadata.
"""


def make_product(
    kind: ProductKind,
    folder: Path,
    *,
    scale: float = 0.02,
    seed: int = 0,
    start: datetime | None = None,
    unit: str | None = None,
    tile: str | None = None,
    checksum: Checksum | None = None,
) -> Path:
    """Write a product; the same arguments give the same bytes.

    Args:
        kind: what to make.
        folder: where the product's own folder is made.
        scale: length of a side relative to a real product.
        seed: number of the scene that the images show.
        start: start of the acquisition; another start gives another name.
        unit: letter of the satellite.
        tile: of Sentinel-2, such as ``32TLN``; for the other missions it means nothing.
        checksum: algorithm in the manifest of Sentinel-2, by default the SHA3-256 of current products;
            the other missions always have MD5.

    Returns:
        The product's folder, whose name is that of the product.

    Raises:
        FileExistsError: the folder holds a product of this name.
        OrderError: scale not above 0 and up to 1, no such satellite or tile, or a start without time zone.
    """
    if not 0 < scale <= 1:
        raise OrderError(scale, "scale of a product out of range", "Give one above 0 and up to 1.")
    match kind:
        case ProductKind.S1_IW_GRDH:
            return make_grd(folder, scale=scale, seed=seed, start=start, unit=unit)
        case ProductKind.S2_MSI_L1C | ProductKind.S2_MSI_L2A:
            return make_tile(
                kind[-3:],
                folder,
                scale=scale,
                seed=seed,
                start=start,
                unit=unit,
                tile=tile,
                checksum=checksum or Checksum.SHA3_256,
            )
        case ProductKind.S3_OL_EFR | ProductKind.S3_OL_ERR:
            return make_olci(kind[-3:], folder, scale=scale, seed=seed, start=start, unit=unit)
