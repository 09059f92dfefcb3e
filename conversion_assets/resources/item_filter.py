"""Which products of a source a watch is about, told from their items or names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import dagster as dg
import shapely
from pydantic import Field

from conversion_assets.errors import OrderError, PoisonedInputError
from conversion_assets.resources.input_source import Arrival
from conversion_assets.safe.product_types import (
    all_product_types,
    product_type_of_legacy,
    product_type_of_name,
)
from conversion_assets.stac.formats import parse_date_time
from conversion_assets.stac.geometry import footprint_from_geojson

TIME_IN_NAME = re.compile(r"(?<=_)(\d{8}T\d{6})(?=_|$)")
DOCUMENT_SUFFIXES = (".json", ".geojson")
SPARE = 20
"""Times as many products are looked at as are wanted at once: the watch may not be about all of them."""
Item = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """Whether a product is to be ordered.

    Attributes:
        wanted: it is.
        reason: why not, where that is to be recorded; a product that the watch is not about has none.
    """

    wanted: bool
    reason: str | None = None


WANTED = Verdict(wanted=True)
PASSED_OVER = Verdict(wanted=False)


class ItemFilter(dg.Config):
    """What is wanted; empty for everything.

    Attributes:
        product_types: EOPF types.
        area: GeoJSON polygon or multi-polygon that the footprint must meet.
        acquired_from: RFC 3339: what ended before is not wanted.
        acquired_to: RFC 3339: what began later is not wanted.
        oldest_days: what was acquired longer ago is skipped.
    """

    product_types: list[str] = Field(default=[])
    area: dict[str, Any] | None = None
    acquired_from: str | None = None
    acquired_to: str | None = None
    oldest_days: float | None = None

    def of_item(self, item: Item, now: datetime) -> Verdict:
        """Judge an item as its catalogue gives it: nothing of it has been validated.

        Args:
            item: STAC item or GeoJSON feature.
            now: the present, UTC.
        """
        properties = _mapping(item.get("properties"))
        for verdict in (
            self._type(str(item.get("id", "")), properties.get("product:type")),
            self._place(item),
            self._time(*_acquisition(properties), now),
            _publication(properties, now),
        ):
            if not verdict.wanted:
                return verdict
        return WANTED

    def of_name(self, name: str, now: datetime) -> Verdict:
        """Judge an archive or folder, of which there is only the name.

        Args:
            name: of the file or folder.
            now: the present, UTC.
        """
        if self.area is not None:
            return Verdict(wanted=False, reason="where it was taken cannot be told from a name")
        verdict = self._type(name, None)
        return verdict if not verdict.wanted else self._time(*_times_in(name), now)

    def of_document(self, text: bytes, arrival: Arrival, now: datetime) -> tuple[Verdict, Arrival]:
        """Judge an item; of a collection, keep the features that are wanted. Orders refuse the rest.

        Args:
            text: of a STAC document, or of what is called like one.
            arrival: where it was found.
            now: the present, UTC.

        Returns:
            The verdict, and the arrival with the document that is to be ordered.
        """
        document = _document(text)
        features = document.get("features")
        if document.get("type") == "FeatureCollection" and isinstance(features, list):
            judged = [(self.of_item(one, now), one) for one in features if isinstance(one, dict)]
            wanted = [one for verdict, one in judged if verdict.wanted]
            if not wanted and judged:
                return judged[0][0], arrival
            kept = json.dumps({**document, "features": wanted}).encode() if judged else text
            return WANTED, replace(arrival, document=kept)
        if document.get("type") != "Feature":
            return WANTED, replace(arrival, document=text)
        published = published_at(_mapping(document.get("properties"))) or arrival.published
        return self.of_item(document, now), replace(arrival, document=text, published=published)

    def _type(self, name: str, announced: object) -> Verdict:
        if not self.product_types:
            return WANTED
        try:
            eopf_type = _type_of(name, announced)
        except OrderError as error:
            return Verdict(wanted=False, reason=f"its type cannot be told: {error.rule}")
        return WANTED if eopf_type in self.product_types else PASSED_OVER

    def _place(self, item: Item) -> Verdict:
        if self._area is None:
            return WANTED
        footprint = _shape_of(item)
        if footprint is None:
            return Verdict(wanted=False, reason="it has no footprint that can be read")
        return WANTED if self._area.intersects(footprint) else PASSED_OVER

    @cached_property
    def _area(self) -> Any:  # noqa: ANN401 - shapely ships no types
        return None if self.area is None else shapely.geometry.shape(self.area)

    def _time(self, start: datetime | None, end: datetime | None, now: datetime) -> Verdict:
        since, until = _parsed(self.acquired_from), _parsed(self.acquired_to)
        oldest = None if self.oldest_days is None else now - timedelta(days=self.oldest_days)
        if start is None or end is None:
            dated = since or until or oldest
            return Verdict(wanted=False, reason="it has no time of acquisition") if dated else WANTED
        if (since and end < since) or (until and start > until):
            return PASSED_OVER
        if oldest and end < oldest:
            reason = f"it was acquired more than {self.oldest_days:g} days ago ({end.isoformat()})"
            return Verdict(wanted=False, reason=reason)
        return WANTED


def time_of(properties: Item, name: str) -> datetime | None:
    """Read one of an item's times; None where it has none, or none with a time zone."""
    value = properties.get(name)
    moment = parse_date_time(value) if isinstance(value, str) else None
    return moment.astimezone(UTC) if moment is not None and moment.tzinfo else None


def published_at(properties: Item) -> datetime | None:
    """Tell when a catalogue published an item, as far as the item knows."""
    return next(
        filter(None, (time_of(properties, name) for name in ("published", "created", "updated"))), None
    )


def _publication(properties: Item, now: datetime) -> Verdict:
    unpublished, published = time_of(properties, "unpublished"), time_of(properties, "published")
    if unpublished and unpublished <= now:
        return Verdict(wanted=False, reason=f"its source withdrew it at {unpublished.isoformat()}")
    if published and published > now:
        return Verdict(wanted=False, reason=f"its source publishes it only at {published.isoformat()}")
    return WANTED


def _type_of(name: str, announced: object) -> str:
    """Tell the EOPF type by name, which counts, then by ``product:type``.

    Raises:
        OrderError: neither tells one.
    """
    try:
        return product_type_of_name(name).eopf_type
    except OrderError:
        if not isinstance(announced, str):
            raise
    known = {kind.eopf_type for kind in all_product_types()}
    return announced if announced in known else product_type_of_legacy(announced).eopf_type


def _acquisition(properties: Item) -> tuple[datetime | None, datetime | None]:
    moment = time_of(properties, "datetime")
    return time_of(properties, "start_datetime") or moment, time_of(properties, "end_datetime") or moment


def _times_in(name: str) -> tuple[datetime | None, datetime | None]:
    """Read the first two times of a Sentinel name; Sentinel-2 has one, of the start."""
    times = []
    for text in TIME_IN_NAME.findall(name.partition(".")[0])[:2]:
        try:
            times.append(datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=UTC))
        except ValueError:
            return None, None
    if not times:
        return None, None
    return times[0], times[0] if name.startswith("S2") else times[-1]


def _shape_of(item: Item) -> Any:  # noqa: ANN401 - shapely ships no types
    """Give an item's footprint, or its box, or None."""
    geometry = item.get("geometry")
    if isinstance(geometry, Mapping) and geometry.get("type") in ("Polygon", "MultiPolygon"):
        try:
            return shapely.geometry.shape(footprint_from_geojson(geometry).geometry)
        except PoisonedInputError:
            pass
    try:
        if isinstance(geometry, Mapping):
            return shapely.geometry.shape(geometry)
        return shapely.geometry.shape(area_of_box(tuple(item["bbox"])))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, shapely.errors.ShapelyError):
        return None


def area_of_box(box: tuple[float, ...]) -> dict[str, Any]:
    """Give the GeoJSON of a bounding box of four or six numbers, cut at the antimeridian where it crosses it.

    Raises:
        ValueError: it is no box.
    """
    half = len(box) // 2
    if half not in (2, 3) or len(box) % 2:
        raise ValueError("a bounding box has four or six numbers")
    west, south, east, north = float(box[0]), float(box[1]), float(box[half]), float(box[half + 1])
    sides = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    boxes = shapely.MultiPolygon([shapely.box(left, south, right, north) for left, right in sides])
    area: dict[str, Any] = shapely.geometry.mapping(boxes)
    return area


def _document(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _mapping(value: object) -> Item:
    return value if isinstance(value, Mapping) else {}


def _parsed(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
