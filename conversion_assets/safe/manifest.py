"""The product folder on disk: which folder is one, what its manifest says, whether it keeps its word."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from conversion_assets.safe import manifest_document as document
from conversion_assets.safe.faults import InputFaultError, refusal
from conversion_assets.safe.manifest_document import Manifest, ManifestFile, Ring, Software
from conversion_assets.safe.naming import PRODUCT_SUFFIXES
from conversion_assets.safe.verification import Verification, product_fingerprint, verify_product

__all__ = [
    "Manifest",
    "ManifestFile",
    "Ring",
    "Software",
    "Verification",
    "find_manifest",
    "is_product_folder",
    "product_fingerprint",
    "read_manifest",
    "verify_product",
]

MANIFEST_NAMES: Final = ("manifest.safe", "xfdumanifest.xml")
_S2_METADATA: Final = "MTD_MSIL*.xml"


def is_product_folder(path: Path) -> bool:
    """Tell whether a path is a folder called ``.SAFE`` or ``.SEN3`` with a manifest inside."""
    return path.name.endswith(PRODUCT_SUFFIXES) and any((path / name).is_file() for name in MANIFEST_NAMES)


def find_manifest(folder: Path) -> Path:
    """Find the manifest of a product.

    Args:
        folder: the product's folder.

    Raises:
        PoisonedInputError: where there is none, or one of either kind.
    """
    found = [folder / name for name in MANIFEST_NAMES if (folder / name).is_file()]
    if len(found) != 1:
        raise refusal(
            folder, f"a product has one manifest ({' or '.join(MANIFEST_NAMES)}), found {len(found)}"
        )
    return found[0]


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a product.

    Times and footprint that a Sentinel-2 manifest leaves out are taken from ``MTD_MSIL*.xml`` beside it.

    Args:
        folder: the product's folder.

    Raises:
        PoisonedInputError: where the manifest is missing, not sound XML, or says what cannot be.
    """
    path = find_manifest(folder)
    with _named(path):
        root = document.read_document(path)
        times = document.text_of(root, "startTime"), document.text_of(root, "stopTime")
        rings = document.footprints(root)
        facility, software = document.last_processing(root)
        files = document.listed_files(root)
    start, stop = times
    if not (start and stop and rings):
        start, stop, rings = _completed(folder, start, stop, rings)
    with _named(path):
        begin, end = _period(start, stop)
    return Manifest(
        path=path, files=files, start=begin, stop=end, footprints=rings, facility=facility, software=software
    )


def _completed(
    folder: Path, start: str | None, stop: str | None, rings: tuple[Ring, ...]
) -> tuple[str | None, str | None, tuple[Ring, ...]]:
    """Fill in what the manifest leaves out from the metadata of a Sentinel-2 product, if it is one."""
    found = sorted(folder.glob(_S2_METADATA))
    if len(found) != 1:
        return start, stop, rings
    with _named(found[0]):
        root = document.read_document(found[0])
        positions = document.text_of(root, "EXT_POS_LIST")
        start = start or document.text_of(root, "PRODUCT_START_TIME")
        stop = stop or document.text_of(root, "PRODUCT_STOP_TIME")
        if not rings and positions:
            rings = (document.ring_of(positions),)
    return start, stop, rings


def _period(start: str | None, stop: str | None) -> tuple[datetime, datetime]:
    if start is None:
        raise InputFaultError("the acquisition has no start time")
    begin = document.instant(start)
    end = begin if stop is None else document.instant(stop)
    if end < begin:
        raise InputFaultError(f"the acquisition stops at {end} before it starts at {begin}")
    return begin, end


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except InputFaultError as fault:
        raise refusal(path, fault.rule, fault.member) from fault
