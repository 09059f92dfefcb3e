"""What is watched: the sources of new products that an operator lists in a YAML file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from conversion_assets.errors import ConversionAssetsError, OrderError
from conversion_assets.orders import NO_NAMES, TargetRule, valid_identifier
from conversion_assets.safe.product_types import all_product_types, product_type_of_legacy
from conversion_assets.stac.geometry import footprint_from_geojson

INBOX = "inbox"
TIMES = ("updated", "published", "created")
OUR_NAMES = frozenset(
    {
        "abandoned_runs",
        "alerts",
        "daily_reports",
        "failures",
        "prune_history",
        "reconcile",
        "replays",
        "retire_published",
    }
)
"""What the other sensors and the schedules are called: Dagster lets no two of them have one name."""
WAY_OUT = "Mend the file; docs/watches.md tells what a watch may say."
NO_LIST = "it must be 'watches:' and a list of them"
WORDS = {
    "model_type": "it must be a mapping, KEY: VALUE",
    "model_attributes_type": "it must be a mapping, KEY: VALUE",
    "dict_type": "it must be a mapping, KEY: VALUE",
    "tuple_type": "it must be a list",
    "union_tag_not_found": "kind is missing: stac, s3 or inbox",
    "union_tag_invalid": "kind must be stac, s3 or inbox",
}
Longitude = Annotated[float, Field(ge=-180, le=180)]
Latitude = Annotated[float, Field(ge=-90, le=90)]
BoundingBox = tuple[Longitude, Latitude, Longitude, Latitude]
Made = TypeVar("Made")


def _moment(value: object) -> object:
    """Read a date as its first instant in UTC; YAML reads dates and times by itself, without a time zone."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return datetime.combine(value, time(), UTC) if isinstance(value, date) else value


def _several(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _identifier(text: str) -> str:
    return _told(lambda: valid_identifier("owner", text))


def _told(make: Callable[[], Made]) -> Made:
    """Let one of our errors be a fault of the file."""
    try:
        return make()
    except ConversionAssetsError as error:
        raise ValueError(f"{error.subject}: {error.rule}") from None


def _eopf_type(name: str) -> str:
    known = {kind.eopf_type for kind in all_product_types()}
    return name if name in known else product_type_of_legacy(name).eopf_type


Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_several)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]


class Period(BaseModel):
    """An interval of time; either end may be open.

    Attributes:
        start: ``from``: nothing that ended before.
        end: ``to``: nothing that began afterwards.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: Moment | None = Field(default=None, alias="from")
    end: Moment | None = Field(default=None, alias="to")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start and self.end and self.end < self.start:
            raise ValueError("'to' is before 'from'")
        return self


class _Watch(BaseModel):
    """What every watch may say.

    Attributes:
        name: of the sensor: letters, digits and underscores.
        enabled: whether the sensor runs without being switched on in the interface.
        most: how many new products one tick takes, at most 100.
        interval_seconds: between two ticks, at least.
        owner: for whom is ordered; by default the settings' owner.
        collection: target collection, or ``TYPE=COLLECTION``; by default by product type.
        assets: keys of the assets to accept, in order of preference; by default the product asset.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    enabled: bool = True
    most: int = Field(default=50, ge=1, le=100)
    interval_seconds: int = Field(default=30, ge=1)
    owner: Annotated[str, AfterValidator(_identifier)] | None = None
    collection: TargetRule = TargetRule()
    assets: Names = ()

    @field_validator("name")
    @classmethod
    def _not_ours(cls, name: str) -> str:
        if name in OUR_NAMES:
            raise ValueError(f"{name!r} is a sensor or schedule of the platform itself; choose another name")
        return name

    @field_validator("collection", mode="before")
    @classmethod
    def _rule(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, TargetRule):
            return value
        if not isinstance(value, str):
            raise ValueError("it must be COLLECTION, or TYPE=COLLECTION")  # noqa: TRY004 - pydantic's way
        names = info.context or NO_NAMES
        return _told(lambda: TargetRule.parse(value, names))


class _Placed(_Watch):
    """A watch that chooses among products.

    Attributes:
        product_types: EOPF or legacy names; by default all.
        bbox: west, south, east, north in degrees; west exceeds east across the antimeridian.
        area: GeoJSON polygon or multi-polygon instead.
        time: when the products were acquired.
        oldest_days: products acquired longer ago are skipped, such as old ones that a catalogue stamps anew.
    """

    product_types: Names = ()
    bbox: BoundingBox | None = None
    area: dict[str, Any] | None = None
    time: Period = Period()
    oldest_days: float | None = Field(default=None, gt=0)

    @field_validator("product_types")
    @classmethod
    def _known_types(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        also: Mapping[str, str] = info.context or NO_NAMES
        return tuple(_told(partial(_eopf_type, also.get(name, name))) for name in names)

    @field_validator("bbox")
    @classmethod
    def _has_area(cls, box: BoundingBox | None) -> BoundingBox | None:
        if box is not None:
            west, south, east, north = box
            if south >= north or west == east:
                raise ValueError("it must be west, south, east, north in degrees, and have an area")
        return box

    @field_validator("area")
    @classmethod
    def _sound(cls, area: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if area is None else _told(lambda: footprint_from_geojson(area).geometry)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.bbox and self.area:
            raise ValueError("give bbox or area, not both")
        return self


class _Timed(_Placed):
    """A watch that goes by the times that its source gives.

    Attributes:
        overlap_minutes: how late a product may become visible after the time that it carries.
    """

    overlap_minutes: float = Field(default=10, ge=0)


class StacWatch(_Timed):
    """A STAC API whose items are ordered as they appear.

    Attributes:
        kind: ``stac``.
        url: root of the API.
        collections: ids there.
        property: which of the items' times tells that they are new; of several the first that an item has.
        start: at which of these times to begin, or ``now``; by default with the first item.
        method: by which the server is searched.
        page_size: how many items a page of the search has; as many as a tick takes, if not said.
        credentials: ``required``: its server must be one of those that ``SOURCE_ORIGINS`` names.
    """

    kind: Literal["stac"]
    url: str
    collections: Names = Field(min_length=1)
    property: Names = TIMES
    start: Literal["now"] | Moment | None = None
    method: Literal["POST", "GET"] = "POST"
    page_size: int | None = Field(default=None, ge=1, le=10_000)
    credentials: Literal["required", "as configured"] = "as configured"

    @field_validator("url")
    @classmethod
    def _plain_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("it must be http(s)://HOST[:PORT][/PATH]")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("it may carry no user name, password or query")
        return url.rstrip("/")

    @field_validator("property")
    @classmethod
    def _some_property(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            raise ValueError("name at least one")
        return names


class S3Watch(_Timed):
    """A prefix of a bucket whose archives, product folders and STAC items are ordered as they appear.

    Attributes:
        kind: ``s3``.
        bucket: its name.
        prefix: only what is below.
        stable_seconds: for how long a product must not have changed.
    """

    kind: Literal["s3"]
    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    prefix: str = ""
    stable_seconds: float = Field(default=60, ge=0)


class InboxWatch(_Placed):
    """A folder of this machine whose products are ordered as they are dropped there.

    Attributes:
        kind: ``inbox``.
        folder: an absolute path, which must be there; by default ``inbox`` in the home, which is made.
        stable_seconds: for how long a product must not have changed.
    """

    kind: Literal["inbox"] = "inbox"
    folder: Path | None = None
    stable_seconds: float = Field(default=10, ge=0)
    interval_seconds: int = Field(default=15, ge=1)

    @field_validator("folder")
    @classmethod
    def _absolute(cls, folder: Path | None) -> Path | None:
        if folder is not None and not folder.is_absolute():
            raise ValueError("it must be an absolute path")
        return folder


Watch = Annotated[StacWatch | S3Watch | InboxWatch, Field(discriminator="kind")]


class Watches(BaseModel):
    """The whole file.

    Attributes:
        watches: side by side, each with a name of its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    watches: tuple[Watch, ...]

    @field_validator("watches")
    @classmethod
    def _names_differ(cls, watches: tuple[Watch, ...]) -> tuple[Watch, ...]:
        names = [watch.name for watch in watches]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"several watches are called {', '.join(repeated)}")
        return watches


def read_watches(path: Path, type_names: Mapping[str, str] = NO_NAMES) -> tuple[Watch, ...]:
    """Read the file that lists what is watched.

    Args:
        path: YAML; see ``Watches``.
        type_names: other names of EOPF product types; see ``safe.type_mapping``.

    Raises:
        OrderError: it cannot be read, or says what it may not; each fault is told with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except OSError as error:
        raise OrderError(path, f"the file of watches cannot be read ({error.strerror})", WAY_OUT) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise OrderError(path, f"it is no YAML: {_one_line(error)}", WAY_OUT) from error
    if repeated := list(_repeated_keys(tree)):
        raise OrderError(path, "; ".join(repeated), WAY_OUT)
    try:
        return Watches.model_validate(document, context=type_names).watches
    except ValidationError as error:
        raise OrderError(path, "; ".join(_faults(error, tree)), WAY_OUT) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _faults(error: ValidationError, tree: yaml.Node | None) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        line, names = _place(tree, fault["loc"])
        message = _in_words(fault["type"], fault["msg"]) if fault["loc"] else NO_LIST
        yield f"line {line}: {'.'.join(names)}: {message}" if names else f"line {line}: {message}"


def _in_words(kind: str, message: str) -> str:
    """Say a fault as the file's writer knows it, where pydantic would name classes and types of ours."""
    return WORDS.get(kind, message.removeprefix("Value error, "))


def _place(node: yaml.Node | None, location: tuple[int | str, ...]) -> tuple[int, list[str]]:
    """Find the line of a fault; what is no part of the file, such as the kind of a watch, is passed over."""
    line, names = 1, []
    for part in location:
        below = _below(node, part)
        if below is not None:
            mark, node = below
            line = mark.start_mark.line + 1
            names.append(str(part))
        elif isinstance(part, str) and part.isidentifier() and not _is_kind(node, part):
            names.append(part)
    return line, names


def _below(node: yaml.Node | None, part: int | str) -> tuple[yaml.Node, yaml.Node] | None:
    """Give where a part begins, and the part."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


def _is_kind(node: yaml.Node | None, part: str) -> bool:
    kind = _below(node, "kind")
    return kind is not None and kind[1].value == part


def _repeated_keys(node: yaml.Node | None) -> Iterator[str]:
    """Find what YAML would pass over in silence: a key that stands twice."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield f"line {key.start_mark.line + 1}: {key.value} stands here a second time"
            seen.add(key.value)
            yield from _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated_keys(value)
