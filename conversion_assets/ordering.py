"""From what a person or a sensor names to orders: paths, URLs and STAC documents."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from conversion_assets.errors import ConversionAssetsError, OrderError, PermanentError
from conversion_assets.orders import Order, TargetRule, partition_key, valid_identifier
from conversion_assets.resources.remote_files import CREDENTIALS
from conversion_assets.resources.source_credentials import SourceCredentials
from conversion_assets.safe.archive import is_archive
from conversion_assets.safe.manifest import MANIFEST_NAMES, is_product_folder
from conversion_assets.safe.naming import ARCHIVE_SUFFIXES, PRODUCT_SUFFIXES, product_name
from conversion_assets.safe.product_types import (
    ProductType,
    all_product_types,
    product_type_of_legacy,
    product_type_of_name,
)
from conversion_assets.stac.documents import SourceAsset, SourceItem, parse_document, select_asset
from conversion_assets.web.addresses import HTTP_SCHEMES, HrefRules, redacted

DOCUMENT_SUFFIXES = (".json", ".geojson")
LARGEST_DOCUMENT = 16 * 2**20
SENTINEL_NAME = re.compile(r"S[1-6][A-Z_]_[A-Z0-9_]+_\d{8}T\d{6}_.+")
"""A product's whole name, with its time; the ids of some catalogues begin alike."""
USUAL_RULES = HrefRules(("file", "s3", "https"))
LOG = logging.getLogger(__name__)
ASK_FOR_PRODUCT = "Give a .SAFE or .SEN3 folder, an archive of one, a STAC item, or a feature collection."


@dataclass(frozen=True)
class Wishes:
    """What holds for all orders of one request.

    Attributes:
        owner: for whom.
        default_owner: the owner of orders that name none; see ``partition_key``.
        target: into which collection.
        assets: asset keys to accept, in order of preference; empty for the product asset.
        rules: what may be read.
        credentials: how the servers that are read know us.
        remark: receives a sentence on what does not hinder an order, but should be known.
    """

    owner: str
    default_owner: str
    target: TargetRule = field(default_factory=TargetRule)
    assets: tuple[str, ...] = ()
    rules: HrefRules = USUAL_RULES
    credentials: SourceCredentials | None = None
    remark: Callable[[str], None] = LOG.warning


def orders_from(source: str, wishes: Wishes) -> tuple[Order, ...]:
    """Make the orders that a source stands for: one, or one per feature of a collection.

    Args:
        source: path or URL of a SAFE folder, of an archive of one, or of a STAC document.
        wishes: what holds for all of them.

    Raises:
        OrderError: there is no such source, it is something else, or an id or name is not acceptable; a
            collection of features is refused whole.
        PermanentError: the source may not be read.
        TransientError: the document cannot be read just now, or it cannot be told whether there is one.
    """
    orders = []
    for outcome in order_each(source, wishes):
        if isinstance(outcome, ConversionAssetsError):
            raise outcome
        orders.append(outcome)
    return tuple(orders)


def order_each(source: str, wishes: Wishes) -> Iterator[Order | ConversionAssetsError]:
    """Make the orders that a source stands for, so that a bad feature does not hold up the others.

    Args:
        source: see ``orders_from``.
        wishes: what holds for all of them.

    Returns:
        For each feature of a collection, in its order, the order or why there is none.

    Raises:
        ConversionAssetsError: like ``orders_from``, at once, where the source as a whole is refused.
    """
    valid_identifier("owner", wishes.owner)
    if "://" not in source:
        return _orders_from_path(_absolute(source), wishes)
    parts = _parts(source)
    if parts.scheme == "file" and "file" in wishes.rules.schemes:
        return _orders_from_path(Path(unquote(parts.path)), wishes)
    if not _is_product_path(parts.path.rstrip("/")):
        return _orders_from_document(source, wishes)
    wishes.rules.check_name(source)
    if parts.scheme in HTTP_SCHEMES and parts.path.endswith(PRODUCT_SUFFIXES):
        document = _document_called_like_a_folder(source, wishes)
        if document is not None:
            return _orders_from_text(document, source, wishes)
    return iter((_product_order(source, None, wishes),))


def order_each_of(document: bytes, href: str, wishes: Wishes) -> Iterator[Order | ConversionAssetsError]:
    """Make the orders that a STAC document stands for which was read already; see ``order_each``.

    Args:
        document: as it was read; it is validated here.
        href: where it was read.
        wishes: what holds for all of them.
    """
    valid_identifier("owner", wishes.owner)
    return _orders_from_text(document, href, wishes)


def _absolute(path: str) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:  # ~somebody who does not exist
        raise OrderError(path, str(error).rstrip("."), ASK_FOR_PRODUCT) from error


def _parts(url: str) -> SplitResult:
    """Split a URL that may be read: well formed, without credentials, and local where it says so."""
    try:
        parts = urlsplit(url)
        local = parts.hostname in (None, "localhost")
        _ = parts.port
    except ValueError:  # its text may repeat user name and password
        raise OrderError(redacted(url), "it is not a URL", ASK_FOR_PRODUCT) from None
    if "@" in parts.netloc:
        raise OrderError(
            redacted(url),
            "a URL may not carry a user name or password",
            f"Leave them out; {CREDENTIALS}.",
        )
    if parts.scheme == "file" and not local:
        raise OrderError(
            url, "a file URL names another host", "Give the path, or a URL of that host's server."
        )
    return parts


def _is_product_path(path: str) -> bool:
    """Tell whether the path of a URL is a product's; how folders are called is exact, as on disk."""
    return path.endswith(PRODUCT_SUFFIXES) or path.lower().endswith(ARCHIVE_SUFFIXES)


def _orders_from_path(path: Path, wishes: Wishes) -> Iterator[Order | ConversionAssetsError]:
    try:
        if not path.exists():
            raise OrderError(path, "there is no such file or folder", ASK_FOR_PRODUCT)
        if path.suffix.lower() in DOCUMENT_SUFFIXES and path.is_file():
            return _orders_from_document(path.as_uri(), wishes)
        if is_product_folder(path) or (path.is_file() and is_archive(path)):
            return iter((_product_order(path.as_uri(), _last_change(path), wishes),))
        if any((path / name).is_file() for name in MANIFEST_NAMES):
            raise OrderError(
                path, f"its name must end in {' or '.join(PRODUCT_SUFFIXES)}", "Give it its former name."
            )
    except OSError as error:
        raise PermanentError(
            path, f"it cannot be read ({error.strerror})", "Check the rights to it, or order a copy."
        ) from error
    what = "a folder without a manifest" if path.is_dir() else "neither an archive nor a STAC document"
    raise OrderError(path, f"it is {what}", ASK_FOR_PRODUCT)


def _last_change(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()


def _product_order(href: str, updated: str | None, wishes: Wishes) -> Order:
    if wishes.assets:
        raise OrderError(
            redacted(href),
            "assets are chosen from a STAC document, and this is a product",
            "Leave --asset out.",
        )
    return _order(_name_of(href), href=href, derived_from=redacted(href), updated=updated, wishes=wishes)


def _name_of(href: str) -> str:
    return product_name(unquote(urlsplit(href).path).rstrip("/").rpartition("/")[2])


def _document_called_like_a_folder(href: str, wishes: Wishes) -> bytes | None:
    """Read the item that an API has under the name of a product; None where there is none.

    A folder itself often cannot be read. Whether its files can, staging finds out.
    """
    with suppress(PermanentError):
        text = read_document(href, wishes.rules, wishes.credentials)
        if _json_object(text).get("type") in ("Feature", "FeatureCollection"):
            return text
    return None


def _orders_from_document(href: str, wishes: Wishes) -> Iterator[Order | ConversionAssetsError]:
    return _orders_from_text(read_document(href, wishes.rules, wishes.credentials), href, wishes)


def _orders_from_text(text: bytes, href: str, wishes: Wishes) -> Iterator[Order | ConversionAssetsError]:
    href = redacted(href)
    return (
        item if isinstance(item, ConversionAssetsError) else _ordered(item, wishes)
        for item in _items(text, href, wishes.rules.schemes)
    )


def _items(
    text: bytes, href: str, schemes: tuple[str, ...]
) -> tuple[SourceItem, ...] | list[SourceItem | OrderError]:
    """Read the items of a document; where it is a collection and not all is well, one by one."""
    try:
        return parse_document(text, href, schemes)
    except OrderError:
        features = _features(text)
        if not features:
            raise
    found = [_item(feature, href, schemes) for feature in features]
    repeated = Counter(item.id for item in found if isinstance(item, SourceItem))
    return [
        OrderError(href, f"several features have the id {item.id}", "Give each feature an id of its own.")
        if isinstance(item, SourceItem) and repeated[item.id] > 1
        else item
        for item in found
    ]


def _features(text: bytes) -> list[object]:
    document = _json_object(text)
    features = document.get("features") if document.get("type") == "FeatureCollection" else None
    return features if isinstance(features, list) else []


def _json_object(text: bytes) -> dict[str, object]:
    with suppress(ValueError, RecursionError):
        document = json.loads(text.decode("utf-8-sig"))
        if isinstance(document, dict):
            return document
    return {}


def _item(feature: object, href: str, schemes: tuple[str, ...]) -> SourceItem | OrderError:
    alone = {"type": "FeatureCollection", "features": [feature]}
    try:
        (item,) = parse_document(json.dumps(alone), href, schemes)
    except OrderError as error:
        return error
    except RecursionError:
        return OrderError(href, "a feature is nested too deeply", "Take it out of the collection.")
    return item


def _ordered(item: SourceItem, wishes: Wishes) -> Order | ConversionAssetsError:
    try:
        return _item_order(item, select_asset(item, wishes.assets), wishes)
    except ConversionAssetsError as error:
        return error


def _item_order(item: SourceItem, asset: SourceAsset, wishes: Wishes) -> Order:
    href = asset.href if "://" in asset.href else Path(asset.href).as_uri()
    wishes.rules.check_name(href)
    derived_from = item.self_href if "://" in item.self_href else Path(item.self_href).as_uri()
    for remark in asset.remarks:
        wishes.remark(f"item {item.id}, asset {asset.key!r:.80}: {remark}")
    return _order(
        item.id,
        href=href,
        derived_from=redacted(derived_from),
        updated=item.updated.isoformat() if item.updated else None,
        wishes=wishes,
        announced_type=item.product_type,
    ).model_copy(update={"checksum": asset.checksum, "size": asset.size, "published": item.published})


def _order(
    item_id: str,
    *,
    href: str,
    derived_from: str,
    updated: str | None,
    wishes: Wishes,
    announced_type: str | None = None,
) -> Order:
    product_type = _type_of_names(_name_of(href), item_id)
    if announced_type is not None:
        product_type = _type_of_item(item_id, announced_type, product_type, wishes)
    if product_type:
        wishes.target.collection_for(product_type)
    key = partition_key(
        item_id,
        owner=wishes.owner,
        target=wishes.target,
        assets=wishes.assets,
        default_owner=wishes.default_owner,
    )
    return Order(
        key=key,
        item_id=item_id,
        href=href,
        derived_from=derived_from,
        owner=wishes.owner,
        target=wishes.target,
        assets=wishes.assets,
        updated=updated,
    )


def _type_of_names(name: str, item_id: str) -> ProductType | None:
    """Tell the type of a product as far as names do: its own, then that of its item.

    Raises:
        OrderError: it has the name of a product that cannot be converted.
    """
    try:
        return product_type_of_name(name)
    except OrderError:
        if SENTINEL_NAME.fullmatch(name):
            raise
    with suppress(OrderError):
        return product_type_of_name(item_id)
    return None


def _type_of_item(item_id: str, announced: str, named: ProductType | None, wishes: Wishes) -> ProductType:
    """Hold the ``product:type`` of an item against the type that names tell, which counts where there is one.

    Raises:
        OrderError: names tell none, and products of the announced type cannot be converted.
    """
    try:
        told = _type_announced(announced)
    except OrderError as error:
        if named is None:
            raise OrderError(
                f"item {item_id}", f"its product:type is {announced!r:.80}: {error.rule}", error.way_out
            ) from error
        told = None
    if named is not None and told is not named:
        wishes.remark(
            f"item {item_id}: its product:type is {announced!r:.80}, by name it is of type"
            f" {named.legacy_type}, which counts"
        )
    return named or told  # type: ignore[return-value] # not both are None


def _type_announced(announced: str) -> ProductType:
    """Read a ``product:type``, which is a legacy type or, in catalogues of EOPF products, an EOPF type."""
    by_eopf_type = {known.eopf_type: known for known in all_product_types()}
    return by_eopf_type.get(announced) or product_type_of_legacy(announced)


def read_document(href: str, rules: HrefRules, credentials: SourceCredentials | None = None) -> bytes:
    """Read a small document.

    Args:
        href: where it is.
        rules: what may be read.
        credentials: how the server knows us.

    Raises:
        OrderError: there is none, or it is larger than 16 MiB.
        TransientError: the source cannot be reached just now.
    """
    content = bytearray()
    for block in (credentials or SourceCredentials()).files(href, rules).read(href):
        content += block
        if len(content) > LARGEST_DOCUMENT:
            raise OrderError(
                redacted(href),
                f"it is larger than a document may be ({LARGEST_DOCUMENT:,} bytes)",
                ASK_FOR_PRODUCT,
            )
    return bytes(content)
