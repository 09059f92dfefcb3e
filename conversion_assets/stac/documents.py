"""What is ordered: items read from STAC documents that strangers wrote, and the asset to take of each."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Collection, Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict

from conversion_assets.errors import OrderError
from conversion_assets.stac.checksums import Checksum, decode_multihash
from conversion_assets.stac.formats import parse_date_time
from conversion_assets.stac.hrefs import DEFAULT_SCHEMES, RefusedHrefError, resolve_href, scheme_of

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024

_ITEM_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", re.ASCII)
_LONGEST_TEXT = 1024
_PRODUCT_KEYS = ("product", "Product", "PRODUCT")
_PRODUCT_ENDINGS = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.zst", ".safe", ".sen3")
_ARCHIVE_MEDIA_TYPES = frozenset(
    {
        "application/zip",
        "application/x-zip-compressed",
        "application/tar",
        "application/x-tar",
        "application/gzip",
        "application/x-gzip",
        "application/zstd",
    }
)
_PROVENANCE_SCHEMES = ("file", "http", "https", "s3")
_WAY_OUT = "Give a STAC item, a GeoJSON feature or a feature collection."
_Kind = TypeVar("_Kind")


class SourceAsset(BaseModel):
    """One file or folder that an item offers.

    Attributes:
        key: its name in the item.
        href: absolute URL or local path, of an allowed scheme, without credentials.
        media_type: as declared, if it is.
        roles: as declared.
        local_path: relative path from ``file:local_path``, if given.
        size: bytes, if given.
        checksum: digest of the content, if given.
        remarks: what was declared but could not be used, for the log.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    href: str
    media_type: str | None = None
    roles: tuple[str, ...] = ()
    local_path: str | None = None
    size: int | None = None
    checksum: Checksum | None = None
    remarks: tuple[str, ...] = ()


class SourceItem(BaseModel):
    """One item of a document, as far as an order needs it.

    Attributes:
        id: its id, fit to be a file name and a partition key.
        assets: what may be taken, by key.
        refused: why the other assets may not be taken, by key.
        self_href: where the item itself is published: the target of ``derived_from``.
        product_type: ``product:type``, if given.
        datetime: time of sensing, if given.
        updated: when the item was last changed, if given.
        published: when the item was published, if given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    assets: dict[str, SourceAsset]
    refused: dict[str, str]
    self_href: str
    product_type: str | None = None
    datetime: dt.datetime | None = None
    updated: dt.datetime | None = None
    published: dt.datetime | None = None


def parse_document(
    text: bytes | str, base_href: str, schemes: Collection[str] = DEFAULT_SCHEMES
) -> tuple[SourceItem, ...]:
    """Read the items of a STAC document.

    Args:
        text: a STAC item, a bare GeoJSON feature, or a feature collection, as JSON in UTF-8.
        base_href: URL or absolute local path the text was read from.
        schemes: schemes of the references that may be followed; ``file`` stands for local paths as well.

    Returns:
        One item per feature, in the order of the document.

    Raises:
        OrderError: the text is too large or is something else; it says what. Assets that must not be
            followed do not raise here: `select_asset` refuses them.
    """
    document = _load(text, base_href)
    kind = document.get("type")
    if kind == "Feature":
        return (_item(document, base_href, schemes),)
    if kind != "FeatureCollection":
        _refuse(base_href, f"this is {_what_it_is(document)}, not an item")
    features = _typed(document, "features", list, base_href)
    if not features:
        _refuse(base_href, "the feature collection is empty")
    items = tuple(_item(feature, base_href, schemes) for feature in features)
    _refuse_repeated_ids(items, base_href)
    return items


def select_asset(item: SourceItem, keys: tuple[str, ...] = ()) -> SourceAsset:
    """Choose the asset that holds the product.

    Without keys it is the asset called ``product`` or like the item; failing that, the one asset that
    looks like a product archive or folder, those with role ``data`` first.

    Args:
        item: the item.
        keys: asset keys to accept, in order of preference; the first one that the item has is taken.

    Returns:
        The asset.

    Raises:
        OrderError: no asset or several come into question, or the one that does must not be followed.
    """
    if keys:
        return _first_of(item, keys)
    named = [key for key in _names(item) if _is_product_name(key, item.id)]
    if named:
        return _asset(item, min(named, key=lambda key: (key not in _PRODUCT_KEYS, key)))
    candidates = [asset.key for asset in item.assets.values() if _looks_like_product(asset)]
    with_role = [key for key in candidates if "data" in item.assets[key].roles]
    chosen = with_role or candidates
    if not chosen:
        _refuse_choice(item, "no asset looks like the product")
    if len(chosen) > 1:
        _refuse_choice(item, f"several assets may be the product ({', '.join(chosen)})")
    return item.assets[chosen[0]]


def _first_of(item: SourceItem, keys: tuple[str, ...]) -> SourceAsset:
    wanted = [key for key in keys if key in _names(item)]
    if not wanted:
        _refuse_choice(item, f"it has no asset {' or '.join(keys)}")
    return _asset(item, wanted[0])


def _asset(item: SourceItem, key: str) -> SourceAsset:
    if key in item.refused:
        _refuse_choice(item, f"asset {key} is refused: {item.refused[key]}")
    return item.assets[key]


def _names(item: SourceItem) -> list[str]:
    return [*item.assets, *item.refused]


def _is_product_name(key: str, item_id: str) -> bool:
    return key in _PRODUCT_KEYS or _stem(key) == _stem(item_id)


def _stem(name: str) -> str:
    """Strip the endings of archives and product folders, as of ``X.SAFE.zip``."""
    for ending in _PRODUCT_ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return _stem(name[: -len(ending)])
    return name


def _looks_like_product(asset: SourceAsset) -> bool:
    media_type = (asset.media_type or "").partition(";")[0].strip().lower()
    path = asset.href.partition("?")[0].rstrip("/").lower()
    return media_type in _ARCHIVE_MEDIA_TYPES or path.endswith(_PRODUCT_ENDINGS)


def _refuse_choice(item: SourceItem, rule: str) -> NoReturn:
    refused = "".join(f"; {key} is refused: {reason}" for key, reason in item.refused.items())
    keys = ", ".join(item.assets) or "none"
    raise OrderError(
        f"item {item.id}", f"{rule}; assets: {keys}{refused}", "Name the asset with --asset KEY."
    )


def _load(text: bytes | str, base_href: str) -> Mapping[str, Any]:
    if len(text) > MAX_DOCUMENT_BYTES:
        _refuse(base_href, f"the document is larger than {MAX_DOCUMENT_BYTES} bytes")
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        document = json.loads(decoded, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        _refuse(base_href, "this is binary data, not JSON")
    except RecursionError:
        _refuse(base_href, "the JSON is nested too deeply")
    except ValueError as error:
        _refuse(base_href, f"this is {_what_text_is(decoded)}: {error}")
    if not isinstance(document, Mapping):
        _refuse(base_href, f"this is JSON, but a {type(document).__name__} and not an object")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _what_text_is(text: str) -> str:
    start = text[:_LONGEST_TEXT].lstrip().lower()
    if not start:
        return "an empty document"
    if start.startswith(("<!doctype html", "<html")):
        return "an HTML page (a login page?)"
    return "XML, not JSON" if start.startswith("<") else "not JSON"


def _what_it_is(document: Mapping[str, Any]) -> str:
    kind = document.get("type")
    if kind in ("Catalog", "Collection"):
        return f"a STAC {kind}"
    if kind in ("Point", "LineString", "Polygon", "MultiPoint", "MultiPolygon", "GeometryCollection"):
        return f"a GeoJSON geometry ({kind})"
    if "code" in document and ("description" in document or "detail" in document):
        return f"the error {document['code']!r:.80} of a server"
    return f"JSON of type {kind!r:.80}" if "type" in document else "JSON without a type"


def _item(feature: object, base_href: str, schemes: Collection[str]) -> SourceItem:
    if not isinstance(feature, Mapping) or feature.get("type") != "Feature":
        _refuse(base_href, "a member of the feature collection is no GeoJSON feature")
    item_id = _item_id(feature, base_href)
    self_href = _self_href(feature, base_href, item_id)
    properties = _typed(feature, "properties", dict, item_id)
    raw_assets = _typed(feature, "assets", dict, item_id)
    assets, refused = _assets(raw_assets, self_href or base_href, base_href, schemes)
    return SourceItem(
        id=item_id,
        assets=assets,
        refused=refused,
        self_href=self_href or base_href,
        product_type=_text(properties, "product:type", item_id),
        datetime=_moment(properties, "datetime", item_id),
        updated=_moment(properties, "updated", item_id),
        published=_moment(properties, "published", item_id),
    )


def _item_id(feature: Mapping[str, Any], base_href: str) -> str:
    found = feature.get("id")
    if not isinstance(found, str) or not _ITEM_ID.fullmatch(found) or "..." in found:
        rule = (
            "an item id has up to 200 letters, digits, dots, dashes and underscores, starts with a letter or "
            f"digit and holds no three dots in a row; this one is {found!r:.250}"
        )
        raise OrderError(base_href, rule, "Give an item whose id keeps to that.")
    return found


def _self_href(feature: Mapping[str, Any], base_href: str, item_id: str) -> str | None:
    """Take the item's own address, if it says one; only an absolute one can serve as a base."""
    for link in _typed(feature, "links", list, item_id):
        href = link.get("href") if isinstance(link, Mapping) and link.get("rel") == "self" else None
        if isinstance(href, str) and _is_absolute(href):
            return _provenance(href, base_href, item_id)
    return None


def _is_absolute(href: str) -> bool:
    return scheme_of(href) != "file" or href.startswith(("/", "file:"))


def _provenance(href: str, base_href: str, item_id: str) -> str:
    try:
        return resolve_href(href, base_href, _PROVENANCE_SCHEMES)
    except RefusedHrefError as refusal:
        raise OrderError(f"self link of {item_id}", str(refusal), "Correct the link.") from None


def _assets(
    raw: Mapping[str, Any], base: str, document_href: str, schemes: Collection[str]
) -> tuple[dict[str, SourceAsset], dict[str, str]]:
    accepted: dict[str, SourceAsset] = {}
    refused: dict[str, str] = {}
    for key, value in raw.items():
        try:
            accepted[key] = _source_asset(key, value, base, document_href, schemes)
            _refuse_local_from_afar(accepted[key].href, document_href)
        except ValueError as refusal:
            accepted.pop(key, None)
            refused[key] = str(refusal)
    return accepted, refused


def _refuse_local_from_afar(href: str, document_href: str) -> None:
    """A remote document may not reach local files by calling itself local in its self link."""
    if scheme_of(href) == "file" and scheme_of(document_href) != "file":
        raise RefusedHrefError("a document that is not local names a local file")


def _source_asset(
    key: str, raw: object, base: str, document_href: str, schemes: Collection[str]
) -> SourceAsset:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("href"), str):
        raise RefusedHrefError("it is not an object with an href")
    # A saved search result may point at local copies, although its self link is remote.
    origin = document_href if raw["href"].lower().startswith("file:") else base
    roles = raw.get("roles")
    checksum, remarks = _checksum(raw.get("file:checksum"))
    return SourceAsset(
        key=key,
        href=resolve_href(raw["href"], origin, schemes),
        media_type=raw["type"][:_LONGEST_TEXT] if isinstance(raw.get("type"), str) else None,
        roles=tuple(role for role in roles if isinstance(role, str)) if isinstance(roles, list) else (),
        local_path=_local_path(raw.get("file:local_path")),
        size=_size(raw.get("file:size")),
        checksum=checksum,
        remarks=remarks,
    )


def _local_path(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value or len(value) > _LONGEST_TEXT:
        raise ValueError("its file:local_path is not a short text")
    parts = value.rstrip("/").split("/")
    hostile = any(part in ("", ".", "..") for part in parts) or not value.isprintable()
    if hostile or "\\" in value or ":" in parts[0]:
        raise ValueError(f"its file:local_path {value!r:.250} is not a plain relative path")
    return value


def _size(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"its file:size {value!r:.80} is not a number of bytes")
    return value


def _checksum(value: object) -> tuple[Checksum | None, tuple[str, ...]]:
    """Decode a checksum, or remark on it: some catalogues put an S3 entity tag there."""
    try:
        return (None if value is None else decode_multihash(str(value))), ()
    except ValueError as error:
        return None, (f"its file:checksum was left out: {error}",)


def _text(properties: Mapping[str, Any], field: str, item_id: str) -> str | None:
    value = properties.get(field)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        _refuse(f"item {item_id}", f"{field} is not a short text")
    return value


def _moment(properties: Mapping[str, Any], field: str, item_id: str) -> dt.datetime | None:
    text = _text(properties, field, item_id)
    moment = parse_date_time(text) if text is not None else None
    if text is not None and (moment is None or moment.tzinfo is None):
        _refuse(f"item {item_id}", f"{field} {text!r:.80} is no RFC 3339 time with a time zone")
    return moment


def _typed(holder: Mapping[str, Any], field: str, kind: type[_Kind], subject: str) -> _Kind:
    """Read an object or list; what is absent or null is empty, as a bare GeoJSON feature has it."""
    value = holder.get(field)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        _refuse(subject, f"its {field} are a {type(value).__name__}, not a {kind.__name__}")
    return value


def _refuse_repeated_ids(items: tuple[SourceItem, ...], base_href: str) -> None:
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            _refuse(base_href, f"two features have the id {item.id}")
        seen.add(item.id)


def _refuse(subject: str, rule: str) -> NoReturn:
    raise OrderError(subject, rule, _WAY_OUT)
