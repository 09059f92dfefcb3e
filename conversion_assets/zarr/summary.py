"""What an EOPF Zarr product holds, read from its consolidated metadata alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from conversion_assets.errors import PermanentError
from conversion_assets.zarr.product_folder import CONSOLIDATED_METADATA, ProductFolder

Document = dict[str, Any]

CONSOLIDATED_FORMAT = 1
BITS_PER_BYTE = 8
NUMERIC_KINDS = {"i": "int", "u": "uint", "f": "float", "c": "complex"}
CONVERT_AGAIN = "Convert the product again; its writing did not come to its end"


class ArraySummary(BaseModel):
    """One array of a product.

    Attributes:
        path: path inside the product, such as ``measurements/reflectance/r10m/b02``.
        dimensions: names of its dimensions, in order.
        shape: its size along each dimension.
        chunks: size of a chunk along each dimension.
        dtype: the stored type, such as ``uint16``.
        stored_bytes: bytes of its chunk objects.
        units: the CF ``units`` attribute, where there is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str
    stored_bytes: int
    units: str | None = None


class ProductSummary(BaseModel):
    """One product as a whole.

    Attributes:
        name: folder name without ``.zarr``: the EOPF product name.
        product_type: EOPF product type written in the product, such as ``S02MSIL1C``.
        total_bytes: bytes of all its objects.
        objects: number of its objects (files).
        arrays: every array, sorted by path.
        measurement_groups: paths of the groups below ``measurements`` that hold arrays.
        stac_discovery: the ``stac_discovery`` document that eopf wrote in the root attributes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    product_type: str
    total_bytes: int
    objects: int
    arrays: tuple[ArraySummary, ...]
    measurement_groups: tuple[str, ...]
    stac_discovery: dict[str, Any]


def summarize(product: ProductFolder) -> ProductSummary:
    """Summarize one EOPF Zarr product without reading a chunk.

    Args:
        product: the product, in Zarr format 2.

    Raises:
        PermanentError: its consolidated metadata are missing or are not those of an EOPF product.
        TransientError: it cannot be reached just now.
    """
    documents, objects = consolidated_documents(product), product.objects()
    try:
        return _summary(product.name, documents, objects)
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        rule = f"{CONSOLIDATED_METADATA} is not that of an EOPF product ({type(error).__name__}: {error})"
        raise PermanentError(product, rule, CONVERT_AGAIN) from error


def consolidated_documents(product: ProductFolder) -> dict[str, Document]:
    """Return the documents consolidated in the root ``.zmetadata``, by their path in the product.

    The layout is that of Zarr-Python 2: https://zarr.readthedocs.io/en/v2.18.4/tutorial.html

    Args:
        product: the product.

    Raises:
        PermanentError: the file is missing, is not JSON or has another layout.
        TransientError: it cannot be reached just now.
    """
    file = f"{product}/{CONSOLIDATED_METADATA}"
    try:
        content = json.loads(product.read(CONSOLIDATED_METADATA))
    except OSError as error:
        raise PermanentError(file, f"it cannot be read: {error.strerror}", CONVERT_AGAIN) from error
    except (ValueError, RecursionError) as error:
        raise PermanentError(file, f"it is not JSON: {error}", CONVERT_AGAIN) from error
    documents = content.get("metadata") if isinstance(content, dict) else None
    if not isinstance(documents, dict) or content.get("zarr_consolidated_format") != CONSOLIDATED_FORMAT:
        raise PermanentError(file, "it is not consolidated Zarr 2 metadata, format 1", CONVERT_AGAIN)
    if not all(isinstance(document, dict) for document in documents.values()):
        raise PermanentError(file, "every consolidated document must be an object", CONVERT_AGAIN)
    return cast("dict[str, Document]", documents)


def array_paths(documents: Mapping[str, Document]) -> tuple[str, ...]:
    """Return the paths of all arrays, sorted.

    Args:
        documents: what `consolidated_documents` returns.
    """
    return tuple(sorted(key.rpartition("/")[0] for key in documents if PurePosixPath(key).name == ".zarray"))


def owner_of(path: str, arrays: Mapping[str, object]) -> str | None:
    """Return the array that an object belongs to, None if it lies in no array.

    Args:
        path: path of the object in the product.
        arrays: the arrays of the product, by path.
    """
    return next((str(parent) for parent in PurePosixPath(path).parents if str(parent) in arrays), None)


def is_measurement_group(path: str) -> bool:
    """Say whether a group lies in a ``measurements`` group, at any depth, or is one.

    Args:
        path: path of the group in the product.
    """
    return "measurements" in PurePosixPath(path).parts


def _summary(name: str, documents: dict[str, Document], objects: Mapping[str, int | None]) -> ProductSummary:
    stored = _stored_bytes(documents, objects)
    arrays = tuple(_array(path, documents, stored[path]) for path in array_paths(documents))
    groups = {array.path.rpartition("/")[0] for array in arrays}
    root = documents[".zattrs"]
    return ProductSummary(
        name=name.removesuffix(".zarr"),
        product_type=_product_type(root),
        total_bytes=sum(size or 0 for size in objects.values()),
        objects=len(objects),
        arrays=arrays,
        measurement_groups=tuple(sorted(group for group in groups if is_measurement_group(group))),
        stac_discovery=root["stac_discovery"],
    )


def _stored_bytes(documents: dict[str, Document], objects: Mapping[str, int | None]) -> Counter[str]:
    """Sum the bytes of the chunk objects of each array."""
    arrays = dict.fromkeys(array_paths(documents))
    stored: Counter[str] = Counter()
    for path, size in objects.items():
        owner = None if PurePosixPath(path).name.startswith(".z") else owner_of(path, arrays)
        if owner is not None:
            stored[owner] += size or 0
    return stored


def _array(path: str, documents: dict[str, Document], stored_bytes: int) -> ArraySummary:
    prefix = f"{path}/" if path else ""
    layout, attributes = documents[f"{prefix}.zarray"], documents.get(f"{prefix}.zattrs", {})
    return ArraySummary(
        path=path,
        dimensions=attributes.get("_ARRAY_DIMENSIONS", ()),
        shape=layout["shape"],
        chunks=layout["chunks"],
        dtype=_type_name(layout["dtype"]),
        stored_bytes=stored_bytes,
        units=attributes.get("units"),
    )


def _type_name(code: str) -> str:
    """Spell a type code of the array interface as NumPy does, such as ``uint16`` for ``<u2``."""
    bare = code.lstrip("<>|=")
    kind, size = bare[:1], bare[1:]
    if kind in NUMERIC_KINDS and size.isdecimal():
        return f"{NUMERIC_KINDS[kind]}{BITS_PER_BYTE * int(size)}"
    return "bool" if bare == "b1" else bare


def _product_type(root: Document) -> str:
    """Take the type that eopf wrote: in the discovery properties, else in the other metadata."""
    properties: Document = root["stac_discovery"].get("properties", {})
    declared = properties.get("product:type") or root.get("other_metadata", {}).get("product_type")
    if not isinstance(declared, str) or not declared:
        raise KeyError("product:type")
    return declared
