"""What a catalogue keeps in memory, what it takes in, and how it is searched."""

from __future__ import annotations

import datetime as dt
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import shapely
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from .serving import Document, Refusal

FORBIDDEN_IN_IDS = ":/?#[]@!$&'()*+,;="
MOST_PER_PAGE = 10_000
USUAL_PER_PAGE = 10
KNOWN_TIMES = ("datetime", "start_datetime", "end_datetime", "created", "updated")
INFERRED_LINKS = frozenset({"self", "item", "parent", "collection", "root", "items", "child"})
BoundingBox = tuple[float, float, float, float] | tuple[float, float, float, float, float, float]


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: str = Field(min_length=1)
    stac_version: str = "1.1.0"
    links: list[Document]


class _Properties(BaseModel):
    model_config = ConfigDict(extra="allow")

    datetime: AwareDatetime | None


class _Item(_Body):
    type: Literal["Feature"]
    geometry: Document | None
    bbox: BoundingBox | None = None
    properties: _Properties
    assets: dict[str, Document]
    collection: str | None = None

    @model_validator(mode="after")
    def _has_bbox(self) -> _Item:
        if self.geometry is not None and self.bbox is None:
            raise ValueError("bbox is required if geometry is not null")
        return self


class _Extent(BaseModel):
    spatial: Document
    temporal: Document


class _Collection(_Body):
    type: Literal["Collection"]
    description: str = Field(min_length=1)
    license: str = Field(min_length=1)
    extent: _Extent


def require_item(document: object, *place: str) -> Document:
    """Check the form of an item and normalise its times, as the real server's models do.

    Args:
        document: the body of a request.
        place: where in the body it stands, for the error.

    Raises:
        Refusal: it has no such form.
    """
    item = _require(_Item, document, place)
    times = {key: _in_utc(value) for key, value in item["properties"].items() if key in KNOWN_TIMES}
    return {**item, "properties": item["properties"] | times}


def require_collection(document: object) -> Document:
    """Check the form of a collection.

    Raises:
        Refusal: it has no such form.
    """
    return _require(_Collection, document, ())


def require_id(identifier: str) -> None:
    """Check the characters of an id.

    Raises:
        Refusal: some are reserved.
    """
    if set(identifier) & set(FORBIDDEN_IN_IDS):
        characters = " ".join(FORBIDDEN_IN_IDS)
        raise Refusal(
            400, {"detail": f"ID ({identifier}) cannot contain the following characters: {characters}"}
        )


def _require(model: type[BaseModel], document: object, place: Sequence[str]) -> Document:
    try:
        model.model_validate(document)
    except ValidationError as error:
        faults = [
            {"type": fault["type"], "loc": ["body", *place, *fault["loc"]], "msg": fault["msg"]}
            for fault in error.errors(include_input=False, include_url=False, include_context=False)
        ]
        body = {"detail": [{**fault, "input": document} for fault in faults], "body": document}
        raise Refusal(400, body) from error
    return dict(document)  # type: ignore[call-overload,no-any-return] # the model has seen that it is one


def _in_utc(value: str | None) -> str | None:
    time = _time(value)
    return time.isoformat().replace("+00:00", "Z") if time else value


def conflict() -> Refusal:
    return Refusal(409, {"code": "ConflictError", "description": ""})


def not_found(description: str) -> Refusal:
    return Refusal(404, {"code": "NotFoundError", "description": description})


def kept_links(document: Document) -> list[Document]:
    """Give the links that are the client's; the server makes the others itself."""
    return [link for link in document.get("links", ()) if link["rel"] not in INFERRED_LINKS]


def without_nulls(document: Any) -> Any:  # noqa: ANN401 - any JSON
    """Leave out fields that are null, at any depth, as the database does when it gives an item back."""
    if not isinstance(document, dict):
        return document
    return {key: without_nulls(value) for key, value in document.items() if value is not None}


def merged(document: Any, patch: Any) -> Any:  # noqa: ANN401 - any JSON
    """Apply a JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    base = document if isinstance(document, dict) else {}
    changed = {key: merged(base.get(key), value) for key, value in patch.items() if value is not None}
    return {key: value for key, value in base.items() if key not in patch} | changed


@dataclass(frozen=True)
class Search:
    """What is searched for.

    Attributes:
        ids: item ids; None for any.
        collections: ids as stored; None for any.
        bbox: west, south, east, north in degrees.
        datetime: a time, or an interval such as ``../2024-01-01T00:00:00Z``.
        filter: in CQL2-JSON.
        sortby: ``{"field", "direction"}``; by default the newest first.
        limit: items on a page.
        token: ``next:<collection>:<id>``, both in hexadecimal digits: go on behind this item.
    """

    ids: list[str] | None = None
    collections: list[str] | None = None
    bbox: list[float] | None = None
    datetime: str | None = None
    filter: Document | None = None
    sortby: list[dict[str, str]] | None = None
    limit: int = USUAL_PER_PAGE
    token: str | None = None

    @classmethod
    def of_body(cls, body: Document) -> Search:
        """Read the body of a search; fields that nobody knows are nobody's business.

        Raises:
            Refusal: a value that the server refuses.
        """
        known = {name: body[name] for name in cls.__dataclass_fields__ if body.get(name) is not None}
        limit = known.get("limit", USUAL_PER_PAGE)
        if not isinstance(limit, int) or limit < 1:
            raise _refused_value("limit", limit, "Input should be greater than 0")
        if "bbox" in known and not _is_box(known["bbox"]):
            raise _refused_value("bbox", known["bbox"], "Invalid bounding box")
        if not isinstance(known.get("filter", {}), dict):
            raise _refused_value("filter", known["filter"], "Input should be a valid dictionary")
        search = cls(**{**known, "limit": min(limit, MOST_PER_PAGE)})
        search.interval()
        return search

    def interval(self) -> tuple[dt.datetime | None, dt.datetime | None]:
        """Read the datetime.

        Raises:
            Refusal: it is none.
        """
        if self.datetime is None:
            return None, None
        ends = self.datetime.split("/")
        times = [None if end in ("", "..") else _time(end) for end in ends]
        if len(ends) not in (1, 2) or any(
            time is None and end not in ("", "..") for time, end in zip(times, ends, strict=True)
        ):
            raise _refused_value("datetime", self.datetime, "Invalid RFC3339 datetime.")
        return times[0], times[-1]


def _is_box(bbox: list[float]) -> bool:
    half = len(bbox) // 2
    return len(bbox) in (4, 6) and bbox[1] <= bbox[half + 1]


def _refused_value(name: str, value: object, message: str) -> Refusal:
    detail = {"type": "value_error", "loc": ["body", name], "msg": message, "input": value}
    return Refusal(400, {"detail": [detail], "body": {name: value}})


@dataclass
class Store:
    """Collections and items by the ids under which they are kept."""

    collections: dict[str, Document] = field(default_factory=dict)
    items: dict[tuple[str, str], Document] = field(default_factory=dict)

    def find(self, search: Search) -> tuple[list[Document], str | None]:
        """Give a page of items, and the token of the next page."""
        found = [item for key, item in self.items.items() if _meets(key[0], item, search)]
        found = _sorted(found, search.sortby or [{"field": "datetime", "direction": "desc"}])
        tokens = [_token(item) for item in found]
        start = tokens.index(search.token) + 1 if search.token in tokens else 0
        end = start + search.limit
        return found[start:end], tokens[end - 1] if end < len(found) else None


def _token(item: Document) -> str:
    return f"next:{item['collection'].encode().hex()}:{item['id'].encode().hex()}"


def _meets(collection: str, item: Document, search: Search) -> bool:
    since, until = search.interval()
    first, last = (
        _time(item["properties"].get(name) or item["properties"].get("datetime"))
        for name in ("start_datetime", "end_datetime")
    )
    return (
        (search.ids is None or item["id"] in search.ids)
        and (search.collections is None or collection in search.collections)
        and (since is None or (last is not None and last >= since))
        and (until is None or (first is not None and first <= until))
        and (search.bbox is None or _touches(item, search.bbox))
        and (search.filter is None or _holds(search.filter, item) is True)
    )


def _touches(item: Document, bbox: list[float]) -> bool:
    if item.get("geometry") is None:
        return False
    half = len(bbox) // 2
    west, south, east, north = *bbox[:2], *bbox[half : half + 2]
    halves = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    shape = shapely.geometry.shape(item["geometry"])
    return any(shape.intersects(shapely.box(left, south, right, north)) for left, right in halves)


def _sorted(items: list[Document], fields: list[dict[str, str]]) -> list[Document]:
    ordered = sorted(items, key=operator.itemgetter("id"), reverse=True)
    for one in reversed(fields):
        ordered.sort(key=_sort_key(one["field"]), reverse=one.get("direction", "asc") == "desc")
    return ordered


def _sort_key(name: str) -> Callable[[Document], tuple[bool, str]]:
    return lambda item: (_property(item, name) is None, str(_property(item, name)))


COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, several: value in several,
    "between": lambda value, ends: ends[0] <= value <= ends[1],
}


def _holds(expression: Document, item: Document) -> bool | None:
    name, arguments = expression["op"], expression["args"]
    if name == "and":
        return all(_holds(argument, item) for argument in arguments)
    if name == "or":
        return any(_holds(argument, item) for argument in arguments)
    if name == "not":
        return not _holds(arguments[0], item)
    if name == "isNull":
        return _value(arguments[0], item) is None
    if name not in COMPARISONS:
        raise Refusal(500, {"code": "RaiseError", "description": f"Operator {name} Not Supported."})
    if name == "between":
        arguments = [arguments[0], arguments[1:]]
    value, other = (_value(argument, item) for argument in arguments)
    return None if value is None or other is None else COMPARISONS[name](value, other)


def _value(argument: Any, item: Document) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(argument, list):
        return [_value(one, item) for one in argument]
    value = argument
    if isinstance(argument, dict):
        value = _property(item, argument["property"]) if "property" in argument else argument["timestamp"]
    return _time(value) or value if isinstance(value, str) else value


def _property(item: Document, name: str) -> Any:  # noqa: ANN401 - any JSON
    name = name.removeprefix("properties.")
    return item[name] if name in ("id", "collection", "geometry") else item["properties"].get(name)


def _time(text: str | None) -> dt.datetime | None:
    try:
        time = dt.datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return time.astimezone(dt.UTC) if time.tzinfo else None


TEXT_CONDITION = re.compile(
    r"\s*([\w:.]+)\s*(=|<>|<=|>=|<|>|IN)\s*(\(.*?\)|'[^']*'|[-\d.]+)\s*$", re.IGNORECASE
)


def filter_of_text(text: str) -> Document:
    """Read the part of CQL2-Text that clients use: comparisons and IN, joined by AND.

    Raises:
        Refusal: it is something else.
    """
    conditions = [TEXT_CONDITION.match(part) for part in re.split(r"\bAND\b", text, flags=re.IGNORECASE)]
    return {"op": "and", "args": list(_conditions(text, conditions))}


def _conditions(text: str, conditions: Sequence[re.Match[str] | None]) -> Iterator[Document]:
    for condition in conditions:
        if condition is None:
            raise _refused_value("filter", text, "Invalid CQL2 text")
        name, comparison, written = condition.groups()
        texts = re.findall(r"'([^']*)'", written)
        single: object = texts[0] if texts else float(written) if comparison.upper() != "IN" else None
        value = texts if comparison.upper() == "IN" else single
        yield {"op": comparison.lower(), "args": [{"property": name}, value]}
