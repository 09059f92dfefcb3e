"""What is asked for: one product, for one owner, into one collection; and the key it is known by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from conversion_assets.errors import OrderError
from conversion_assets.safe.product_types import ProductType
from conversion_assets.stac.checksums import Checksum

ANY = "*"
NO_NAMES: Mapping[str, str] = MappingProxyType({})
LONGEST_KEY = 200
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
CATALOGUE_DOCUMENTS = frozenset({"catalog.json", "collection.json"})
SECRET_PARAMETER = re.compile(
    r"sig|token|secret|passw|credential|auth|(api|access|subscription)[-_]?key", re.IGNORECASE
)
PRODUCT_TYPE = re.compile(r"[A-Z0-9_]{1,16}|\*")


class TargetRule(BaseModel):
    """Into which collection a product goes: ``product_type`` → ``collection``.

    Attributes:
        product_type: the EOPF product type the rule is for, or ``*`` for any.
        collection: STAC collection id; None for the default collection of the product type.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    product_type: str = ANY
    collection: str | None = None

    @classmethod
    def parse(cls, text: str | None, type_names: Mapping[str, str] = NO_NAMES) -> Self:
        """Read ``COLLECTION``, or ``TYPE=COLLECTION`` for one EOPF product type only.

        Args:
            text: the rule as a person writes it.
            type_names: other names of EOPF product types; see ``safe.type_mapping``.

        Raises:
            OrderError: a part is missing or has characters that a collection id may not have.
        """
        if text is None:
            return cls()
        product_type, _, collection = text.rpartition("=")
        product_type = type_names.get(product_type, product_type or ANY)
        if not PRODUCT_TYPE.fullmatch(product_type):
            raise OrderError(
                f"target rule {text!r}",
                f"{product_type!r} is not an EOPF product type",
                "Write TYPE=COLLECTION, such as S02MSIL2A=sentinel-2-l2a, or COLLECTION alone.",
            )
        if not collection:
            raise OrderError(
                f"target rule {text!r}",
                "a collection name is mandatory",
                "Write TYPE=COLLECTION, or COLLECTION alone.",
            )
        return cls(product_type=product_type, collection=valid_identifier("collection", collection))

    def collection_for(self, product_type: ProductType) -> str:
        """Give the collection of a product.

        Raises:
            OrderError: the rule is for another product type.
        """
        if self.product_type not in (ANY, product_type.eopf_type):
            raise OrderError(
                f"target rule {self.product_type}={self.collection}",
                f"no target for a product of type {product_type.eopf_type}",
                f"Say --collection {product_type.eopf_type}=COLLECTION, or --collection COLLECTION.",
            )
        return self.collection or product_type.collection


class Order(BaseModel):
    """One product that somebody wants, resolved so far that nothing has to be asked again.

    Attributes:
        key: partition key; see ``partition_key``.
        item_id: id of the input item, or the product's name where the source is a product.
        href: where the SAFE folder or archive is.
        derived_from: link to the original source, for the published item.
        owner: for whom.
        target: into which collection.
        assets: keys of the assets that were chosen, empty for the product asset.
        checksum: of the archive, where the source tells.
        size: bytes of the archive, where the source tells.
        updated: version of the source: the item's ``updated``, or when the file last changed.
        published: when the source published it, where that is known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(max_length=LONGEST_KEY)
    item_id: str
    href: str
    derived_from: str
    owner: str
    target: TargetRule = TargetRule()
    assets: tuple[str, ...] = ()
    checksum: Checksum | None = None
    size: int | None = None
    updated: str | None = None
    published: AwareDatetime | None = None

    @field_validator("href")
    @classmethod
    def _unsigned(cls, href: str) -> str:
        """Refuse a signed URL: an order is kept and shown, and its signature would be, too."""
        parts = urlsplit(href)
        signed = [name for name, _ in parse_qsl(parts.query) if SECRET_PARAMETER.search(name)]
        if signed:
            raise OrderError(
                parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl(),
                f"the URL is signed ({', '.join(signed)}), and orders are kept where others can read them",
                "Order the plain URL, with credentials from a netrc file (for S3 the usual AWS variables), or"
                " download the product.",
            )
        return href


def partition_key(
    item_id: str, *, owner: str, target: TargetRule, assets: Iterable[str], default_owner: str
) -> str:
    """Derive the key of an order: the item id, followed by what makes the order a special one.

    Orders of one item that differ in owner, target or assets get different keys, so that none
    overwrites another; the plain order of an item is known by the item's id alone.
    """
    item_id = valid_key(item_id)
    special = [
        *([owner] if owner != default_owner else []),
        *([target.collection] if target.collection else []),
        *([target.product_type] if target.product_type != ANY else []),
        *assets,
    ]
    if not special:
        return item_id
    readable = "-".join(re.sub(r"[^A-Za-z0-9_-]+", "-", part) for part in special)
    exact = sha256(repr((item_id, owner, target, tuple(assets))).encode()).hexdigest()[:8]
    suffix = f".{readable[:60].strip('-')}-{exact}"
    return valid_key(item_id[: LONGEST_KEY - len(suffix)].rstrip(".") + suffix)


def is_key(key: str) -> bool:
    """Tell whether a text is safe as a partition key; see ``valid_key``."""
    return KEY.fullmatch(key) is not None and "..." not in key


def valid_key(key: str) -> str:
    """Let a key pass that is safe as a partition key, a file name and a STAC id.

    Raises:
        OrderError: it is empty, too long, or has characters beyond letters, digits, ``.``, ``_``, ``-``.
    """
    if not is_key(key):
        raise OrderError(
            f"id {key[:100]!r}",
            f"an id has 1 to {LONGEST_KEY} letters, digits, '.', '_' or '-', begins with a letter or digit,"
            " and has no '...'",
            "Rename the product or the item.",
        )
    return key


def valid_identifier(what: str, text: str) -> str:
    """Let an owner or collection name pass that is safe in paths and ids.

    Raises:
        OrderError: it has characters beyond letters, digits, ``.``, ``_`` and ``-``, or more than 64.
    """
    if not IDENTIFIER.fullmatch(text) or ".." in text or text.lower() in CATALOGUE_DOCUMENTS:
        raise OrderError(
            f"{what} {text[:100]!r}",
            "a name has 1 to 64 letters, digits, '.', '_' or '-', begins with a letter or digit, and is not"
            " that of a catalogue's own document",
            f"Choose another {what}.",
        )
    return text
