"""The upstream catalogue: a STAC API behind a facade that knows owners and looks after objects in S3."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from json import JSONDecodeError
from math import isclose
from typing import Any

import shapely
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from .buckets import ROWS, delete_all, row_for, split, targets_of
from .serving import Document, Refusal, document_of
from .stac_api import StacApi
from .stac_store import Search

PREFIX = "/catalog"
EXTENSIONS = (
    "https://home.rs-python.eu/ownership-stac-extension/v1.1.0/schema.json",
    "https://stac-extensions.github.io/alternate-assets/v1.1.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
)
BBOX_TOLERANCE = 1e-9
DOWNLOAD_SECONDS = 1800


class UpstreamCatalogue(StacApi):
    """The facade, without authentication as on one machine.

    Attributes:
        s3: client of the object store whose objects it looks for and deletes.
        rows: owner, collection, product type, days, bucket: where products have to be.
        user: owner of collections that are named without one.
    """

    needs_geometry = False

    def __init__(
        self,
        s3: Any,  # noqa: ANN401 - boto3 ships no types
        rows: Sequence[Sequence[str]] = ROWS,
        user: str = "someone",
    ) -> None:
        super().__init__()
        self.s3 = s3
        self.rows = rows
        self.user = user

    @property
    def base(self) -> str:
        """See ``StacApi.base``."""
        return f"{self.url}{PREFIX}"

    def stored_id(self, request: Request) -> str:
        """See ``StacApi.stored_id``."""
        owner, _, name = request.path_params["collection"].rpartition(":")
        return f"{owner or self.user}_{name}"

    def shown_id(self, stored: str) -> str:
        """See ``StacApi.shown_id``."""
        owner = self.store.collections[stored]["owner"]
        return f"{owner}:{stored.removeprefix(f'{owner}_')}"

    def routes(self) -> Sequence[BaseRoute]:
        """See ``Peer.routes``."""
        path = "/collections/{collection}/items/{item}/download/{asset}"
        return [Mount(PREFIX, routes=[*super().routes(), Route(path, self.download)])]

    def answer_refusal(self, refusal: Refusal) -> Response:
        """Give code and description, whatever the STAC API behind the facade said."""
        body = refusal.body
        if isinstance(refusal.__cause__, JSONDecodeError):
            body = {"code": "JSONDecodeError", "description": str(refusal.__cause__)}
            return JSONResponse(body, 500)
        if not (isinstance(body, dict) and body.keys() == {"code", "description"}):
            description = body if isinstance(body, str) else json.dumps(body)
            body = {
                "code": HTTPStatus(refusal.status).phrase.title().replace(" ", ""),
                "description": description,
            }
        return JSONResponse(body, refusal.status)

    def sent_collection(self, request: Request) -> Any:  # noqa: ANN401 - any JSON
        """See ``StacApi.sent_collection``; owner and times are added."""
        sent = document_of(request)
        if request.method == "PUT":
            stored = self.collection(request)
            return {**sent, **{name: stored[name] for name in ("id", "owner", "created")}, "updated": _now()}
        owner = sent.get("owner") or self.user
        named = {**sent, "id": f"{owner}_{sent['id']}"} if sent.get("id") else sent
        return {**named, "owner": owner, "created": _now(), "updated": _now()}

    def sent_item(self, request: Request) -> Any:  # noqa: ANN401 - any JSON
        """See ``StacApi.sent_item``; checked in the facade's order, with what is the server's."""
        if (stored_id := self.stored_id(request)) not in self.store.collections:
            name = request.path_params["collection"].rpartition(":")[2]
            raise Refusal(404, f"Collection {name} does not exist.")
        sent = document_of(request)
        _require_product_type(sent)
        try:
            return self._checked(request, sent, stored_id)
        except KeyError as error:
            raise Refusal(400, f"Missing key in request body! {error}") from error

    def _checked(self, request: Request, sent: Document, stored_id: str) -> Document:
        owner, _, collection = self.shown_id(stored_id).partition(":")
        stored = self._counterpart(request, stored_id, sent)
        properties = {**sent["properties"], "owner": owner}
        row = row_for(self.rows, owner, collection, properties.get("eopf:type", ""))
        checked = {
            "stac_extensions": list(dict.fromkeys([*sent["stac_extensions"], *EXTENSIONS])),
            "collection": stored_id,
            "bbox": checked_bbox(sent),
            "assets": self._checked_assets(sent, row[4]),
            "properties": _stamped(properties, int(row[3]), stored),
        }
        return {**sent, **checked}

    def patch_item(self, request: Request) -> Response:
        """Patch; the links of the answer have the collection's inner name."""
        answer, stored_id = super().patch_item(request), self.stored_id(request)
        text = bytes(answer.body).decode().replace(f"/{self.shown_id(stored_id)}", f"/{stored_id}")
        return Response(text, media_type="application/json")

    def delete_collection(self, request: Request) -> Response:
        name = self.collection(request)["id"]
        self._delete_objects([item for key, item in self.store.items.items() if key[0] == name])
        shown = self.shown_id(name).partition(":")[2]
        super().delete_collection(request)
        return JSONResponse({"deleted collection": shown})

    def delete_item(self, request: Request) -> Response:
        """Delete an item after its objects."""
        self._delete_objects([self.item(request)])
        return super().delete_item(request)

    def download(self, request: Request) -> Response:
        assets = self.item(request)["assets"]
        if (name := request.path_params["asset"]) not in assets:
            raise Refusal(404, f"Asset {name} not found.")
        bucket, key = split(assets[name]["href"])
        params = {"Bucket": bucket, "Key": key}
        link = self.s3.generate_presigned_url("get_object", Params=params, ExpiresIn=DOWNLOAD_SECONDS)
        return RedirectResponse(link, 302)

    def search_of(self, body: Document) -> Search:
        """See ``StacApi.search_of``: collections are found by stored or by short name, else 404."""
        names = [self._found_collection(body, name) for name in body.get("collections") or ()]
        return super().search_of({**body, "collections": names or None})

    def shown_item(self, item: Document) -> Document:
        return {**super().shown_item(item), "collection": self.shown_id(item["collection"]).partition(":")[2]}

    def shown_collection(self, collection: Document) -> Document:
        return {
            **super().shown_collection(collection),
            "id": self.shown_id(collection["id"]).partition(":")[2],
        }

    def _found_collection(self, body: Document, name: str) -> str:
        stored = name.replace(":", "_")
        owner = body.get("owner") or self.user
        for candidate in (stored, f"{owner}_{stored}"):
            if candidate in self.store.collections:
                return candidate
        raise Refusal(404, f"Collection {name} not found.")

    def _counterpart(self, request: Request, collection: str, sent: Document) -> Document | None:
        name = str(request.path_params.get("item") or sent["id"])
        stored = self.store.items.get((collection, name))
        if request.method == "POST" and stored is not None:
            raise Refusal(409, f"The item {name} already exists in the {collection} collection")
        if request.method == "PUT" and stored is None:
            where = f"in the {collection} collection for an update (PUT / PATCH request received)"
            raise Refusal(400, f"The item {name} does not exist {where}")
        return stored

    def _delete_objects(self, items: list[Document]) -> None:
        try:
            for asset in (asset for item in items for asset in item["assets"].values()):
                bucket, keys = targets_of(self.s3, asset["href"])
                delete_all(self.s3, bucket, keys)
        except self.s3.exceptions.ClientError as error:
            text = "Failed to delete S3 assets; catalog metadata was not deleted."
            raise Refusal(500, text) from error

    def _checked_assets(self, item: Document, bucket: str) -> Document:
        refusal = Refusal(400, f"Not all assets for item {item['id']} are available in S3.")
        assets: Document = {}
        for name, asset in item["assets"].items():
            href = asset.get("href", "")
            if bucket not in href:
                raise refusal
            try:
                asked, keys = targets_of(self.s3, href)
            except self.s3.exceptions.ClientError as error:
                raise Refusal(500, str(error)) from error
            if not keys:
                raise refusal
            assets[name] = {**asset, **self._checksum(asked, keys[0] if keys == [split(href)[1]] else None)}
        return assets

    def _checksum(self, bucket: str, key: str | None) -> dict[str, str]:
        """Give what S3 knows, as it writes it: base64 of any algorithm, no multihash."""
        if key is None:
            return {}
        head = self.s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        found = (head.get(f"Checksum{name}") for name in ("CRC32", "CRC32C", "SHA1", "SHA256"))
        return next(({"file:checksum": value} for value in found if value), {})


def checked_bbox(item: Document) -> list[float] | None:
    """Hold geometry and bbox against each other, and make a missing bbox.

    Raises:
        Refusal: the geometry is invalid, winds the wrong way round, or has other bounds than the bbox.
    """
    geometry, bbox = item.get("geometry"), item.get("bbox")
    if geometry is None:
        if bbox is not None:
            raise Refusal(400, "Invalid STAC item: bbox provided but geometry is null.")
        return None
    try:
        shape = shapely.geometry.shape(geometry)
    except (ValueError, KeyError, TypeError, AttributeError, shapely.errors.ShapelyError) as error:
        raise Refusal(400, f"Invalid geometry: {error}") from error
    if shape.is_empty or not shape.is_valid:
        raise Refusal(400, f"Invalid geometry: {shapely.is_valid_reason(shape)}")
    for part in getattr(shape, "geoms", (shape,)):
        if part.geom_type == "Polygon":
            _require_winding(part)
    bounds = [float(bound) for bound in shape.bounds]
    if bbox is None:
        return bounds
    if len(bbox) != len(bounds) or not all(
        isclose(one, other, rel_tol=0, abs_tol=BBOX_TOLERANCE)
        for one, other in zip(bbox, bounds, strict=True)
    ):
        raise Refusal(400, f"Inconsistent bbox for geometry. Expected {bounds}, got {bbox}.")
    return list(bbox)


def _require_winding(polygon: shapely.Polygon) -> None:
    if not polygon.exterior.is_ccw:
        raise Refusal(400, "Invalid Polygon exterior ring: expected counterclockwise (CCW) orientation.")
    if any(ring.is_ccw for ring in polygon.interiors):
        raise Refusal(400, "Invalid Polygon interior ring: expected clockwise (CW) orientation.")


def _require_product_type(item: Document) -> None:
    properties = item.get("properties")
    product_type = properties.get("product:type") if isinstance(properties, dict) else None
    if not isinstance(product_type, str) or not product_type.strip():
        text = "Cannot create or update item: 'product:type' must be a non-empty string in 'properties'."
        raise Refusal(403, text)


def _stamped(properties: Document, days: int, stored: Document | None) -> Document:
    """Set the times that are the server's; what the client says of them counts where it does upstream."""
    expires = {"expires": _text(datetime.now(UTC) + timedelta(days=days))}
    if stored is None:
        return expires | properties | {"published": _now(), "updated": _now()}
    return expires | {"published": stored["properties"]["published"]} | properties | {"updated": _now()}


def _now() -> str:
    return _text(datetime.now(UTC))


def _text(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
