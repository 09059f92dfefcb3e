"""From what a person or a sensor names to orders: paths, URLs and STAC documents."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from conversion_assets.errors import OrderError
from conversion_assets.orders import Order, TargetRule, partition_key, valid_identifier
from conversion_assets.resources.remote_files import redacted, remote_files
from conversion_assets.safe.archive import is_archive
from conversion_assets.safe.manifest import is_product_folder
from conversion_assets.safe.naming import ARCHIVE_SUFFIXES, PRODUCT_SUFFIXES, product_name
from conversion_assets.stac.documents import SourceAsset, SourceItem, parse_document, select_asset

DOCUMENT_SUFFIXES = (".json", ".geojson")
LARGEST_DOCUMENT = 16 * 2**20
ASK_FOR_PRODUCT = "Give a .SAFE or .SEN3 folder, an archive of one, a STAC item, or a feature collection."


@dataclass(frozen=True)
class Wishes:
    """What holds for all orders of one request.

    Attributes:
        owner: for whom.
        default_owner: the owner of orders that name none; see ``partition_key``.
        target: into which collection.
        assets: asset keys to accept, in order of preference; empty for the product asset.
        schemes: URL schemes from which may be read.
    """

    owner: str
    default_owner: str
    target: TargetRule = field(default_factory=TargetRule)
    assets: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ("file", "s3", "https")


def orders_from(source: str, wishes: Wishes) -> tuple[Order, ...]:
    """Make the orders that a source stands for: one, or one per feature of a collection.

    Args:
        source: path or URL of a SAFE folder, of an archive of one, or of a STAC document.
        wishes: what holds for all of them.

    Raises:
        OrderError: there is no such source, it is something else, or an id or name is not acceptable.
        TransientError: the document cannot be read just now.
    """
    valid_identifier("owner", wishes.owner)
    if "://" not in source:
        return _orders_from_path(Path(source).expanduser().absolute(), wishes)
    parts = _parts(source)
    if parts.scheme == "file" and "file" in wishes.schemes:
        return _orders_from_path(Path(unquote(parts.path)), wishes)
    if parts.path.rstrip("/").lower().endswith(_product_endings()):
        remote_files(source, wishes.schemes)
        return (_product_order(source, None, wishes),)
    return _orders_from_document(source, wishes)


def _parts(url: str) -> SplitResult:
    """Split a URL that may be read: well formed, without credentials, and local where it says so."""
    try:
        parts = urlsplit(url)
        local = parts.hostname in (None, "localhost")
        _ = parts.port
    except ValueError as error:
        raise OrderError(redacted(url), f"it is not a URL ({error})", ASK_FOR_PRODUCT) from error
    if "@" in parts.netloc:
        raise OrderError(
            redacted(url),
            "a URL may not carry a user name or password",
            "Leave them out; credentials come from the environment.",
        )
    if parts.scheme == "file" and not local:
        raise OrderError(
            url, "a file URL names another host", "Give the path, or a URL of that host's server."
        )
    return parts


def _product_endings() -> tuple[str, ...]:
    return (*ARCHIVE_SUFFIXES, *(suffix.lower() for suffix in PRODUCT_SUFFIXES))


def _orders_from_path(path: Path, wishes: Wishes) -> tuple[Order, ...]:
    if not path.exists():
        raise OrderError(path, "there is no such file or folder", ASK_FOR_PRODUCT)
    if path.suffix.lower() in DOCUMENT_SUFFIXES and path.is_file():
        return _orders_from_document(path.as_uri(), wishes)
    if is_product_folder(path) or (path.is_file() and is_archive(path)):
        return (_product_order(path.as_uri(), _last_change(path), wishes),)
    what = "a folder without a manifest" if path.is_dir() else "neither an archive nor a STAC document"
    raise OrderError(path, f"it is {what}", ASK_FOR_PRODUCT)


def _last_change(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()


def _product_order(href: str, updated: str | None, wishes: Wishes) -> Order:
    name = product_name(unquote(urlsplit(href).path).rstrip("/").rpartition("/")[2])
    return _order(name, href=href, derived_from=redacted(href), updated=updated, wishes=wishes)


def _orders_from_document(href: str, wishes: Wishes) -> tuple[Order, ...]:
    text = read_document(href, wishes.schemes)
    items = parse_document(text, href, wishes.schemes)
    return tuple(_item_order(item, select_asset(item, wishes.assets), wishes) for item in items)


def _item_order(item: SourceItem, asset: SourceAsset, wishes: Wishes) -> Order:
    href = asset.href if "://" in asset.href else Path(asset.href).as_uri()
    derived_from = item.self_href if "://" in item.self_href else Path(item.self_href).as_uri()
    return _order(
        item.id,
        href=href,
        derived_from=redacted(derived_from),
        updated=item.updated.isoformat() if item.updated else None,
        wishes=wishes,
    ).model_copy(update={"checksum": asset.checksum, "size": asset.size})


def _order(item_id: str, *, href: str, derived_from: str, updated: str | None, wishes: Wishes) -> Order:
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


def read_document(href: str, schemes: tuple[str, ...]) -> bytes:
    """Read a small document.

    Raises:
        OrderError: there is none, or it is larger than 16 MiB.
        TransientError: the source cannot be reached just now.
    """
    content = bytearray()
    for block in remote_files(href, schemes).read(href):
        content += block
        if len(content) > LARGEST_DOCUMENT:
            raise OrderError(
                redacted(href),
                f"it is larger than a document may be ({LARGEST_DOCUMENT:,} bytes)",
                ASK_FOR_PRODUCT,
            )
    return bytes(content)
