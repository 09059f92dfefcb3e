"""Footprints: from a raw ring of positions to a valid RFC 7946 geometry and its bounding box.

A satellite's ring may be open, clockwise, self-touching, cross the antimeridian or run round a pole.
It is first laid out in an endless plane, where longitudes do not jump, made valid there, and then cut
into the strips of 360 degrees that fold back onto -180..180.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from pydantic import BaseModel, ConfigDict
from shapely.geometry import LinearRing, MultiPolygon, Polygon, box, mapping

from conversion_assets.errors import PoisonedInputError

Position = tuple[float, float]
BoundingBox = tuple[float, float, float, float]
Interval = tuple[float, float]
_Coordinates = np.ndarray[Any, np.dtype[np.float64]]

DECIMALS = 7
_GRID_DEGREES = 10.0**-DECIMALS
_WORLD_DEGREES = 360.0
_HALF_WORLD_DEGREES = 180.0
_POLE_DEGREES = 90.0
_FEWEST_CORNERS = 3
_WAY_OUT = "Correct the footprint in the product's manifest or fetch the product again."


class Footprint(BaseModel):
    """Where a product lies on Earth.

    Attributes:
        geometry: GeoJSON ``Polygon`` or ``MultiPolygon``: closed rings, exteriors counter-clockwise, cut
            at the antimeridian (RFC 7946 sections 3.1.6 and 3.1.9), degrees with 7 decimals at most.
        bbox: west, south, east, north in degrees; west exceeds east where the antimeridian is crossed
            (RFC 7946 section 5.2).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    geometry: dict[str, Any]
    bbox: BoundingBox


def footprint_from_ring(ring: Iterable[Sequence[float]]) -> Footprint:
    """Build the footprint of a ring as a manifest lists it.

    Consecutive positions are joined the short way round the globe. A ring that runs once round the
    globe encloses the pole it is nearer to.

    Args:
        ring: (longitude, latitude) in degrees; longitudes from -180 to 360; closed or open, any winding.

    Returns:
        The footprint, by RFC 7946 (https://www.rfc-editor.org/rfc/rfc7946).

    Raises:
        PoisonedInputError: fewer than three distinct positions, no area, or an impossible coordinate.
    """
    return _footprint(_shape_of_ring(ring))


def footprint_from_geojson(geometry: Mapping[str, Any]) -> Footprint:
    """Build the footprint of a GeoJSON ``Polygon`` or ``MultiPolygon``, repairing what is not RFC 7946.

    Args:
        geometry: the GeoJSON geometry; polygons that jump over the antimeridian are cut there.

    Returns:
        The footprint; the same again for a geometry that came from here.

    Raises:
        PoisonedInputError: another geometry type, malformed coordinates, or as `footprint_from_ring`.
    """
    polygons = [[_plane(ring) for ring in rings] for rings in _polygons(geometry)]
    if _is_sound(polygons):
        return _describe([_polygon(rings) for rings in polygons])
    return _footprint(shapely.unary_union([_shape_of_polygon(rings) for rings in polygons]))


def intersection_over_union(first: Footprint, second: Footprint) -> float:
    """Say how well two footprints agree.

    Areas are those on the sphere (Lambert's cylindrical equal-area projection), so that high latitudes
    do not count for more than they are.

    Args:
        first: a footprint.
        second: the footprint to compare it with.

    Returns:
        Shared area over joint area: 1.0 for equal footprints, 0.0 for disjoint ones.
    """
    one, other = (_equal_area(shapely.geometry.shape(footprint.geometry)) for footprint in (first, second))
    union = float(one.union(other).area)
    return float(one.intersection(other).area) / union


def _shape_of_ring(ring: Iterable[Sequence[float]]) -> shapely.Geometry:
    positions = _distinct([_position(raw) for raw in ring])
    if len(set(positions)) < _FEWEST_CORNERS:
        raise _bad_footprint(f"a ring needs three distinct positions, this one has {len(set(positions))}")
    return _fold(_lay_out(positions))


def _position(raw: Sequence[float]) -> Position:
    try:
        longitude, latitude = float(raw[0]), float(raw[1])
    except (TypeError, ValueError, IndexError, KeyError, OverflowError):
        raise _bad_footprint(f"{raw!r:.80} is not a (longitude, latitude) pair") from None
    if not -_POLE_DEGREES <= latitude <= _POLE_DEGREES:
        raise _bad_footprint(f"latitude {latitude} is outside -90..90 degrees")
    if not -_HALF_WORLD_DEGREES <= longitude <= _WORLD_DEGREES:
        raise _bad_footprint(f"longitude {longitude} is outside -180..360 degrees")
    if abs(latitude) == _POLE_DEGREES:
        return 0.0, latitude
    if longitude > _HALF_WORLD_DEGREES:
        longitude -= _WORLD_DEGREES
    return round(longitude, DECIMALS), round(latitude, DECIMALS)


def _distinct(positions: list[Position]) -> list[Position]:
    """Drop repetitions in a row, the closing position among them."""
    steps = pairwise([*positions[-1:], *positions])
    return [here for before, here in steps if here != before] or positions[:1]


def _lay_out(positions: list[Position]) -> Polygon:
    """Unroll a ring into the endless plane, closing it over the pole if it runs round the globe."""
    corners = _open_poles(positions)
    longitudes = [corners[0][0]]
    for (before, _), (here, _) in pairwise([*corners, corners[0]]):
        longitudes.append(longitudes[-1] + _short_way(here - before))
    path = [*zip(longitudes, [latitude for _, latitude in corners], strict=False)]
    if abs(longitudes[-1] - longitudes[0]) < _HALF_WORLD_DEGREES:
        return Polygon(path)
    pole = math.copysign(_POLE_DEGREES, sum(latitude for _, latitude in corners))
    end = longitudes[-1]
    return Polygon([*path, (end, corners[0][1]), (end, pole), (longitudes[0], pole)])


def _open_poles(positions: list[Position]) -> list[Position]:
    """Give a corner at a pole, whose longitude means nothing, the longitudes of its neighbours."""
    corners: list[Position] = []
    for index, (longitude, latitude) in enumerate(positions):
        if abs(latitude) < _POLE_DEGREES:
            corners.append((longitude, latitude))
            continue
        following = positions[(index + 1) % len(positions)]
        corners += [(positions[index - 1][0], latitude), (following[0], latitude)]
    return corners


def _short_way(step: float) -> float:
    if step > _HALF_WORLD_DEGREES:
        return step - _WORLD_DEGREES
    return step + _WORLD_DEGREES if step < -_HALF_WORLD_DEGREES else step


def _fold(shape: shapely.Geometry) -> shapely.Geometry:
    """Cut a shape of the endless plane at the antimeridians and bring the pieces to -180..180."""
    valid = shapely.make_valid(shape)
    west, _, east, _ = valid.bounds
    first = math.floor((west + _HALF_WORLD_DEGREES) / _WORLD_DEGREES)
    last = math.floor((east + _HALF_WORLD_DEGREES) / _WORLD_DEGREES)
    return shapely.unary_union([_strip(valid, turn * _WORLD_DEGREES) for turn in range(first, last + 1)])


def _strip(shape: shapely.Geometry, middle: float) -> shapely.Geometry:
    strip = box(middle - _HALF_WORLD_DEGREES, -_POLE_DEGREES, middle + _HALF_WORLD_DEGREES, _POLE_DEGREES)
    return shapely.affinity.translate(_areas(shape.intersection(strip)), xoff=-middle)


def _polygons(geometry: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind not in ("Polygon", "MultiPolygon"):
        raise _bad_footprint(f"a footprint is a Polygon or MultiPolygon, not {kind!r:.80}")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    if not isinstance(polygons, list | tuple) or not polygons:
        raise _bad_footprint("its coordinates are not a list of polygons")
    for rings in polygons:
        if not isinstance(rings, list | tuple) or not rings:
            raise _bad_footprint("its coordinates are not a list of rings")
        if not all(isinstance(ring, list | tuple) for ring in rings):
            raise _bad_footprint("a ring of its coordinates is not a list of positions")
        yield rings


def _plane(ring: Sequence[Any]) -> list[Position]:
    for raw in ring:
        _position(raw)
    return [(float(raw[0]), float(raw[1])) for raw in ring]


def _is_sound(polygons: list[list[list[Position]]]) -> bool:
    """Whether polygons keep to RFC 7946 and to the grid already, so that they can stay as they are."""
    rings = [ring for rings in polygons for ring in rings]
    if not all(_lies_in_plane(ring) and ring[0] == ring[-1] and _is_on_grid(ring) for ring in rings):
        return False
    wound = all(
        shapely.is_ccw(LinearRing(ring)) == (ring is rings[0]) for rings in polygons for ring in rings
    )
    return wound and bool(MultiPolygon([_polygon(rings) for rings in polygons]).is_valid)


def _is_on_grid(ring: list[Position]) -> bool:
    return all(round(coordinate, DECIMALS) == coordinate for position in ring for coordinate in position)


def _polygon(rings: list[list[Position]]) -> Polygon:
    return Polygon(rings[0], rings[1:])


def _shape_of_polygon(rings: list[list[Position]]) -> shapely.Geometry:
    exterior, *holes = (Polygon(ring) if _lies_in_plane(ring) else _shape_of_ring(ring) for ring in rings)
    return exterior.difference(shapely.unary_union(holes)) if holes else exterior


def _lies_in_plane(ring: list[Position]) -> bool:
    """Whether a ring is already cut at the antimeridian: no step of it is shorter the other way round."""
    within = all(abs(longitude) <= _HALF_WORLD_DEGREES for longitude, _ in ring)
    steps = [
        abs(here[0] - before[0])
        for before, here in pairwise([*ring, *ring[:1]])
        if not abs(before[1]) == abs(here[1]) == _POLE_DEGREES
    ]
    short = max(steps, default=0.0) <= _HALF_WORLD_DEGREES
    return within and short and len(set(ring)) >= _FEWEST_CORNERS and bool(LinearRing(ring).is_valid)


def _footprint(shape: shapely.Geometry) -> Footprint:
    polygons = _rounded(shape)
    if not polygons or sum(float(polygon.area) for polygon in polygons) == 0.0:
        raise _bad_footprint("its positions enclose no area")
    return _describe(polygons)


def _describe(polygons: list[Polygon]) -> Footprint:
    whole = polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)
    return Footprint(geometry=_as_lists(mapping(whole)), bbox=_bounding_box(polygons))


def _rounded(shape: shapely.Geometry) -> list[Polygon]:
    """Snap to the grid of 7 decimals, which keeps validity, and tidy what binary fractions leave."""
    within = shapely.make_valid(shapely.transform(shapely.make_valid(shape), _clip))
    snapped = shapely.set_precision(within, _GRID_DEGREES)
    tidy = shapely.transform(snapped, lambda coordinates: np.round(coordinates, DECIMALS) + 0.0)
    areas = shapely.normalize(_areas(tidy))
    return [shapely.geometry.polygon.orient(polygon) for polygon in areas.geoms]


def _clip(coordinates: _Coordinates) -> _Coordinates:
    """Take back what floating-point arithmetic put beyond the antimeridian."""
    limits = np.array([_HALF_WORLD_DEGREES, _POLE_DEGREES])
    return np.clip(coordinates, -limits, limits)


def _areas(shape: shapely.Geometry) -> MultiPolygon:
    """Keep the areas of a shape; points and lines have no place in a footprint."""
    parts = shapely.get_parts(shapely.get_parts(shape))
    return MultiPolygon([part for part in parts if part.geom_type == "Polygon" and not part.is_empty])


def _bounding_box(polygons: list[Polygon]) -> BoundingBox:
    bounds = [polygon.bounds for polygon in polygons]
    south, north = min(bound[1] for bound in bounds), max(bound[3] for bound in bounds)
    intervals = [(float(bound[0]), float(bound[2])) for bound in bounds]
    west, east = _longitude_range(intervals)
    return west, float(south), east, float(north)


def _longitude_range(intervals: list[Interval]) -> Interval:
    """Leave out the widest gap; the antimeridian is a gap unless the footprint touches it from both sides."""
    merged = _merged(intervals)
    west, east = merged[0][0], merged[-1][1]
    if (west, east) != (-_HALF_WORLD_DEGREES, _HALF_WORLD_DEGREES) or len(merged) == 1:
        return west, east
    gaps = [(start - end, start, end) for (_, end), (start, _) in pairwise(merged)]
    _, start, end = max(gaps)
    return start, end


def _merged(intervals: list[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for west, east in sorted(intervals):
        if merged and west <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(east, merged[-1][1]))
        else:
            merged.append((west, east))
    return merged


def _as_lists(geometry: Mapping[str, Any]) -> dict[str, Any]:
    def listed(value: object) -> object:
        return [listed(part) for part in value] if isinstance(value, tuple | list) else value

    return {"type": geometry["type"], "coordinates": listed(geometry["coordinates"])}


def _equal_area(shape: shapely.Geometry) -> shapely.Geometry:
    def project(coordinates: _Coordinates) -> _Coordinates:
        return np.column_stack((coordinates[:, 0], np.degrees(np.sin(np.radians(coordinates[:, 1])))))

    return shapely.make_valid(shapely.transform(shape, project))


def _bad_footprint(rule: str) -> PoisonedInputError:
    return PoisonedInputError("footprint", rule, _WAY_OUT)
