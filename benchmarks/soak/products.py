"""The products of a soak as archives, sound ones and flawed ones, made before it begins."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import warnings
import zipfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from benchmarks.rig import FIRST_START, MINUTES_APART
from benchmarks.soak.plan import Again, Flaw, Product
from conversion_assets.safe.manifest import product_fingerprint, read_manifest
from conversion_assets.safe.naming import product_name
from conversion_assets_tests.safe_products import SMALLEST_SCALE, ProductKind, make_archive, make_product

KINDS = (ProductKind.S1_IW_GRDH, ProductKind.S3_OL_ERR)
SHA2_256 = "1220"
"""How a checksum by SHA-256 begins (https://multiformats.io/multihash/)."""


@dataclass(frozen=True)
class Content:
    """What a product holds.

    Attributes:
        archive: as it comes.
        checksum: as its item announces it.
        fingerprint: of the SAFE.
    """

    archive: Path
    checksum: str
    fingerprint: str


@dataclass(frozen=True)
class Made:
    """A product that was made.

    Attributes:
        product: as it was planned.
        key: of its order.
        contents: first the one it comes with first.
    """

    product: Product
    key: str
    contents: tuple[Content, ...]


def make(product: Product, folder: Path, kinds: tuple[ProductKind, ...] = KINDS) -> Made:
    """Make the archives of a product.

    Args:
        product: what is planned.
        folder: takes them.
        kinds: taken in turns.
    """
    count = 2 if product.again is Again.UPDATED else 1
    kind = kinds[product.number % len(kinds)]
    contents = tuple(_content(product, kind, seed, folder) for seed in range(count))
    return Made(product, product_name(contents[0].archive.name), contents)


def _content(product: Product, kind: ProductKind, seed: int, folder: Path) -> Content:
    place = folder / str(product.number) / str(seed)
    place.mkdir(parents=True)
    start = FIRST_START + timedelta(minutes=MINUTES_APART * product.number)
    with tempfile.TemporaryDirectory(dir=folder) as scratch, warnings.catch_warnings():
        # rasterio 1.3 multiplies affine transforms with the operator that affine 3 gives up.
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        safe = make_product(kind, Path(scratch), scale=SMALLEST_SCALE[kind], seed=seed, start=start)
        fingerprint = product_fingerprint(read_manifest(safe))
        made = make_archive(safe)
        archive = Path(shutil.move(made, place / made.name))
    _spoil(archive, product.flaw)
    announced = b"something else" if product.flaw is Flaw.CHECKSUM else archive.read_bytes()
    return Content(archive, SHA2_256 + hashlib.sha256(announced).hexdigest(), fingerprint)


def _spoil(archive: Path, flaw: Flaw) -> None:
    if flaw is Flaw.TRUNCATED:
        content = archive.read_bytes()
        archive.write_bytes(content[: len(content) // 2])
    elif flaw is Flaw.CLIMBING:
        with zipfile.ZipFile(archive, "a") as target:
            target.writestr(f"{archive.stem}/../../escaped.txt", "out")
