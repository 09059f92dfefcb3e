"""How products and their archives are called: the suffixes, and the name without them."""

from __future__ import annotations

from typing import Final

PRODUCT_SUFFIXES: Final = (".SAFE", ".SEN3")
ARCHIVE_SUFFIXES: Final = (".zip", ".tar.gz", ".tar.zst", ".tgz", ".tzst", ".tar")


def without_archive_suffix(file_name: str) -> str:
    """Take the archive's suffix, in any case, off a file name.

    Args:
        file_name: a name without folders, such as ``X.SAFE.tar.gz``.

    Returns:
        The name without it (``X.SAFE``), or the name itself where there is none.
    """
    lowered = file_name.lower()
    for suffix in ARCHIVE_SUFFIXES:
        if lowered.endswith(suffix):
            return file_name[: -len(suffix)]
    return file_name


def product_name(file_name: str) -> str:
    """Take the suffixes of archive and product off a file or folder name.

    Args:
        file_name: a name without folders, such as ``X.SAFE``, ``X.zip`` or ``X.SEN3.tar``.

    Returns:
        The bare product name, ``X``.
    """
    name = without_archive_suffix(file_name)
    for suffix in PRODUCT_SUFFIXES:
        if name.upper().endswith(suffix):
            return name[: -len(suffix)]
    return name
