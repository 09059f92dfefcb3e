"""Validation of STAC documents against their JSON schemas, offline by construction.

Every schema comes from an installed package or from ``schemas/``: no reference is ever fetched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.machinery import PathFinder
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import (  # type: ignore[import-untyped]  # ships no types
    Draft7Validator,
    FormatChecker,
    ValidationError,
)
from pystac.validation.local_validator import get_local_schema_cache
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable

from conversion_assets.errors import PermanentError
from conversion_assets.stac.formats import is_duration, parse_date_time

_CORE = "https://schemas.stacspec.org/v1.1.0/{kind}-spec/json-schema/{kind}.json"
_EOPF_SCHEMAS = Path("product", "stac_extensions", "extensions")
_COLLECTION_LINK = {"rel": "collection", "href": "./collection.json"}

_formats = FormatChecker(formats=())


def validate_item(document: Mapping[str, Any]) -> None:
    """Check a STAC 1.1 item and its extensions.

    An item that names its collection but does not link to it is accepted: the catalogue sets that link
    when it places the item.

    Args:
        document: the item.

    Raises:
        PermanentError: lists every violation with its path, and every extension without a schema here.
    """
    placed = dict(document)
    links = document.get("links")
    if "collection" in document and isinstance(links, list) and "collection" not in _relations(links):
        placed["links"] = [*links, _COLLECTION_LINK]
    _validate(placed, "item", "Feature")


def validate_collection(document: Mapping[str, Any]) -> None:
    """Check a STAC 1.1 collection and its extensions.

    Args:
        document: the collection.

    Raises:
        PermanentError: as `validate_item`.
    """
    _validate(document, "collection", "Collection")


def validate_catalog(document: Mapping[str, Any]) -> None:
    """Check a STAC 1.1 catalogue and its extensions.

    Args:
        document: the catalogue.

    Raises:
        PermanentError: as `validate_item`.
    """
    _validate(document, "catalog", "Catalog")


def bundled_schemas() -> frozenset[str]:
    """Name the schemas that validation can use.

    Returns:
        Their URIs, as documents declare them in ``stac_extensions``.
    """
    return frozenset(_schemas())


def _validate(document: Mapping[str, Any], kind: str, type_name: str) -> None:
    if document.get("type") != type_name:
        violations = [f"type: must be {type_name!r}, not {document.get('type')!r:.80}"]
    else:
        violations = [*_violations(document, _CORE.format(kind=kind)), *_extension_violations(document)]
    if violations:
        raise PermanentError(
            f"STAC {kind} {document.get('id')!r:.250}",
            f"breaks {len(violations)} rule(s) of its schemas: {'; '.join(violations)}",
            "Correct the fields named; an extension without a schema is added under stac/schemas.",
        )


def _extension_violations(document: Mapping[str, Any]) -> Iterator[str]:
    extensions = document.get("stac_extensions")
    for uri in extensions if isinstance(extensions, list) else ():
        if isinstance(uri, str):
            yield from _violations(document, uri)


def _violations(document: Mapping[str, Any], uri: str) -> list[str]:
    if uri not in _schemas():
        return [f"stac_extensions: no schema is bundled for {uri!r:.250}"]
    try:
        errors = [leaf for error in _validator(uri).iter_errors(document) for leaf in _leaves(error)]
    except Unresolvable as unresolved:
        return [f"{uri}: refers to a schema that is not bundled ({unresolved.ref})"]
    return sorted({f"{_path(error)}: {error.message:.300}" for error in errors})


def _leaves(error: ValidationError) -> Iterator[ValidationError]:
    """Descend to the alternative of an ``anyOf`` or ``oneOf`` that comes closest to the document."""
    if not error.context:
        yield error
        return
    branches: dict[object, list[ValidationError]] = {}
    for inner in error.context:
        branches.setdefault(inner.schema_path[0], []).append(inner)
    for inner in min(branches.values(), key=_distance):
        yield from _leaves(inner)


def _distance(branch: list[ValidationError]) -> tuple[bool, int]:
    """Rank an alternative: one for another kind of document says so by its ``type`` constant."""
    other_kind = any(list(error.absolute_path) == ["type"] for error in branch)
    return other_kind, len(branch)


def _path(error: ValidationError) -> str:
    return "/".join(str(part) for part in error.absolute_path) or "document"


def _relations(links: list[Any]) -> list[object]:
    return [link.get("rel") for link in links if isinstance(link, Mapping)]


@cache
def _validator(uri: str) -> Draft7Validator:
    return Draft7Validator(_schemas()[uri], registry=_registry(), format_checker=_formats)


@cache
def _registry() -> Registry[Any]:
    """Hold every schema; a registry without a retrieval function cannot reach the network."""
    resources = [(uri, Resource.from_contents(schema)) for uri, schema in _schemas().items()]
    return Registry().with_resources(resources)


@cache
def _schemas() -> dict[str, dict[str, Any]]:
    texts = [*_texts_of_eopf(), *_texts_of_this_package()]
    extensions = [json.loads(text) for text in texts]
    return {**get_local_schema_cache(), **{schema["$id"].rstrip("#"): schema for schema in extensions}}


def _texts_of_this_package() -> Iterator[str]:
    for entry in files(__package__).joinpath("schemas").iterdir():
        if entry.name.endswith(".json"):
            yield entry.read_text(encoding="utf-8")


def _texts_of_eopf() -> Iterator[str]:
    """Read the files beside eopf's code; importing it would cost more than a second and 270 MB."""
    found = PathFinder.find_spec("eopf")
    for root in (found.submodule_search_locations or ()) if found else ():
        for path in sorted((Path(root) / _EOPF_SCHEMAS).glob("*.json")):
            yield path.read_text(encoding="utf-8")


def _is_date_time(value: object) -> bool:
    if not isinstance(value, str):
        return True
    moment = parse_date_time(value)
    return moment is not None and moment.tzinfo is not None


def _is_duration(value: object) -> bool:
    return not isinstance(value, str) or is_duration(value)


_formats.checks("date-time")(_is_date_time)
_formats.checks("duration")(_is_duration)
