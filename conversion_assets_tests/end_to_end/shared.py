"""All five kinds of product, ordered once for all tests of a session, whichever process asks first."""

from __future__ import annotations

import fcntl
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from conversion_assets_tests.end_to_end.command import Ended, convert, inventory
from conversion_assets_tests.safe_products import SMALLEST_SCALE, ProductKind, make_archive, make_product

ARCHIVES = {
    ProductKind.S1_IW_GRDH: (".zip", True),
    ProductKind.S2_MSI_L1C: (".tar", True),
    ProductKind.S2_MSI_L2A: (".tgz", True),
    ProductKind.S3_OL_EFR: (".tar.zst", True),
    ProductKind.S3_OL_ERR: (".zip", False),
}
"""Suffix of the archive of each kind, and whether it has the product's folder as its root."""


class PublishedProducts(BaseModel):
    """A home in which every kind was ordered as an archive, and then again as a folder.

    Nobody writes to it: a test that orders more does so in a copy.

    Attributes:
        home: the home.
        folders: the product folders.
        archives: the archives of the same products.
        input_before: inventory of both before anything was ordered.
        input_after: and after everything was.
        by_archive: how the first command ended.
        products: inventory of the products then.
        by_folder: how the second command ended.
    """

    model_config = ConfigDict(frozen=True)

    home: Path
    folders: dict[ProductKind, Path]
    archives: dict[ProductKind, Path]
    input_before: dict[str, str]
    input_after: dict[str, str]
    by_archive: Ended
    products: dict[str, str]
    by_folder: Ended

    def result(self, kind: ProductKind) -> dict[str, Any]:
        """Give the JSON of the order of an archive."""
        return self.by_archive.orders[list(self.archives).index(kind)]

    def result_of_folder(self, kind: ProductKind) -> dict[str, Any]:
        """Give the JSON of the order of a folder."""
        return self.by_folder.orders[list(self.folders).index(kind)]


def make_small(kind: ProductKind, folder: Path) -> Path:
    """Make the smallest product of a kind."""
    with warnings.catch_warnings():
        # rasterio 1.3 multiplies affine transforms with the operator that affine 3 gives up.
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return make_product(kind, folder, scale=SMALLEST_SCALE[kind])


def published_products(factory: pytest.TempPathFactory) -> PublishedProducts:
    """Give the shared home; the first process that asks makes it, others wait."""
    folder = session_folder(factory, "published")
    note = folder / "published.json"
    with alone(folder):
        if not note.exists():
            note.write_text(_publish(folder).model_dump_json())
        return PublishedProducts.model_validate_json(note.read_bytes())


def _publish(folder: Path) -> PublishedProducts:
    source, home = folder / "input", folder / "home"
    folders = {kind: make_small(kind, source) for kind in ARCHIVES}
    archives = {
        kind: make_archive(folders[kind], suffix=suffix, with_root=with_root)
        for kind, (suffix, with_root) in ARCHIVES.items()
    }
    before = inventory(source)
    by_archive = convert(*archives.values(), home=home)
    products = inventory(home / "products")
    by_folder = convert(*folders.values(), home=home)
    return PublishedProducts(
        home=home,
        folders=folders,
        archives=archives,
        input_before=before,
        input_after=inventory(source),
        by_archive=by_archive,
        products=products,
        by_folder=by_folder,
    )


def session_folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """Name a folder that all processes of a test session share."""
    base = factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one process at a time make what a folder is to hold."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
