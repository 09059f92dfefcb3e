from __future__ import annotations

import math
from typing import Any

import antimeridian
import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st
from shapely.geometry import Polygon, mapping, shape

from conversion_assets.errors import PoisonedInputError
from conversion_assets.stac.geometry import (
    Footprint,
    Position,
    footprint_from_geojson,
    footprint_from_ring,
    intersection_over_union,
)

_longitudes = st.one_of(st.floats(-180, 180), st.sampled_from([-180.0, 180.0, 0.0, 179.9999999, 360.0]))
_latitudes = st.one_of(st.floats(-90, 90), st.sampled_from([-90.0, 90.0, 0.0]))
_any_ring = st.lists(st.tuples(_longitudes, _latitudes), min_size=3, max_size=12)


@st.composite
def _convex_rings(draw: st.DrawFn) -> list[Position]:
    """Quadrilaterals about any place away from the poles: many of them cross the antimeridian."""
    longitude, latitude = draw(st.floats(-180, 180)), draw(st.floats(-70, 70))
    radius = draw(st.floats(1, 15))
    turns = sorted(draw(st.lists(st.integers(0, 35), min_size=4, max_size=8, unique=True)))
    ring = [
        (
            longitude + radius * math.cos(math.radians(10 * t)),
            latitude + radius * math.sin(math.radians(10 * t)),
        )
        for t in turns
    ]
    assume(Polygon(ring).area > 0.01 * radius**2)
    return [((x + 180) % 360 - 180, y) for x, y in ring]


def _polygons(footprint: Footprint) -> list[list[list[list[float]]]]:
    coordinates: list[Any] = footprint.geometry["coordinates"]
    return [coordinates] if footprint.geometry["type"] == "Polygon" else coordinates


def _assert_sound(footprint: Footprint) -> None:
    assert shape(footprint.geometry).is_valid
    west, south, east, north = footprint.bbox
    for polygon in _polygons(footprint):
        for index, ring in enumerate(polygon):
            assert ring[0] == ring[-1]
            assert bool(shapely.is_ccw(shapely.linearrings(ring))) == (index == 0)
            for x, y in ring:
                assert -180 <= x <= 180
                assert -90 <= y <= 90
                assert (x, y) == (round(x, 7), round(y, 7))
                assert south <= y <= north
                assert west <= x <= east if west <= east else x >= west or x <= east


@given(_any_ring)
def test_any_ring_becomes_a_sound_footprint_or_is_refused(ring: list[Position]) -> None:
    try:
        footprint = footprint_from_ring(ring)
    except PoisonedInputError:
        return
    _assert_sound(footprint)
    assert footprint_from_geojson(footprint.geometry) == footprint


@given(_convex_rings())
def test_plain_rings_agree_with_the_antimeridian_library(ring: list[Position]) -> None:
    footprint = footprint_from_ring(ring)
    _assert_sound(footprint)
    expected = antimeridian.fix_polygon(Polygon(ring), fix_winding=True, great_circle=False)
    reference = Footprint(geometry=dict(mapping(expected)), bbox=(0, 0, 0, 0))
    assert intersection_over_union(footprint, reference) == pytest.approx(1, abs=1e-4)


@given(_convex_rings(), st.integers(0, 7), st.booleans(), st.booleans())
def test_start_winding_and_closing_do_not_matter(
    ring: list[Position], start: int, reverse: bool, closed: bool
) -> None:
    turned = ring[start % len(ring) :] + ring[: start % len(ring)]
    turned = turned[::-1] if reverse else turned
    turned = [*turned, turned[0]] if closed else turned
    assert intersection_over_union(footprint_from_ring(turned), footprint_from_ring(ring)) == pytest.approx(1)


@given(_convex_rings(), _convex_rings())
def test_overlap_is_symmetric_and_a_share(first: list[Position], second: list[Position]) -> None:
    one, other = footprint_from_ring(first), footprint_from_ring(second)
    overlap = intersection_over_union(one, other)
    assert 0 <= overlap <= 1
    assert overlap == pytest.approx(intersection_over_union(other, one))
    assert intersection_over_union(one, one) == pytest.approx(1)


def test_clockwise_open_ring_is_closed_and_turned() -> None:
    footprint = footprint_from_ring([(0, 0), (0, 1), (1, 1), (1, 0)])
    assert footprint.geometry == {
        "type": "Polygon",
        "coordinates": [[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]],
    }
    assert footprint.bbox == (0, 0, 1, 1)


def test_crossing_ring_is_split_and_its_bbox_runs_from_west_to_east() -> None:
    footprint = footprint_from_ring([(170, 0), (-170, 0), (-170, 10), (170, 10)])
    assert footprint.geometry["type"] == "MultiPolygon"
    assert shape(footprint.geometry).area == pytest.approx(200)
    assert footprint.bbox == (170, 0, -170, 10)


def test_longitudes_up_to_360_are_the_same_place() -> None:
    assert footprint_from_ring([(170, 0), (190, 0), (190, 10), (170, 10)]) == footprint_from_ring(
        [(170, 0), (-170, 0), (-170, 10), (170, 10)]
    )


def test_unsplit_polygon_that_jumps_over_the_antimeridian_is_split() -> None:
    jumping = {"type": "Polygon", "coordinates": [[[170, 0], [-170, 0], [-170, 10], [170, 10], [170, 0]]]}
    assert footprint_from_geojson(jumping).bbox == (170, 0, -170, 10)


def test_sound_geometry_stays_as_it_is() -> None:
    square = {
        "type": "Polygon",
        "coordinates": [[[2.0, 1.0], [2.0, 2.0], [1.0, 2.0], [1.0, 1.0], [2.0, 1.0]]],
    }
    assert footprint_from_geojson(square).geometry == square


@pytest.mark.parametrize(
    "ring",
    [
        [(0, 10), (0, -12), (179.9999999, 1), (-105, 0), (76, 0), (-105, 0)],
        [(179.9999999, 17), (-1, 0), (-75, -89)],
    ],
)
def test_slivers_at_the_antimeridian_stay_on_the_globe(ring: list[Position]) -> None:
    footprint = footprint_from_ring(ring)
    _assert_sound(footprint)
    assert footprint_from_geojson(footprint.geometry) == footprint


@pytest.mark.parametrize("sign", [1, -1])
def test_ring_round_a_pole_encloses_it(sign: int) -> None:
    footprint = footprint_from_ring([(longitude, sign * 80) for longitude in range(-180, 180, 20)])
    assert shape(footprint.geometry).area == pytest.approx(3600)
    assert footprint_from_geojson(footprint.geometry) == footprint
    assert footprint.bbox == (-180, min(80 * sign, 90 * sign), 180, max(80 * sign, 90 * sign))


def test_corner_at_the_pole_takes_the_longitudes_of_its_neighbours() -> None:
    footprint = footprint_from_ring([(170, 80), (0, 90), (-170, 80)])
    assert shape(footprint.geometry).area == pytest.approx(200)
    assert footprint.bbox == (170, 80, -170, 90)


def test_bow_tie_keeps_both_halves() -> None:
    footprint = footprint_from_ring([(0, 0), (2, 2), (2, 0), (0, 2)])
    assert shape(footprint.geometry).area == pytest.approx(2)


def test_three_parts_across_the_antimeridian_have_one_tight_bbox() -> None:
    parts = [_square(175, 180), _square(-180, -175), _square(-172, -170)]
    footprint = footprint_from_geojson({"type": "MultiPolygon", "coordinates": parts})
    assert footprint.bbox == (175, 0, -170, 1)


def test_hole_is_kept() -> None:
    outer = [[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]
    hole = [[3, 3], [6, 3], [6, 6], [3, 6], [3, 3]]
    footprint = footprint_from_geojson({"type": "Polygon", "coordinates": [outer, hole]})
    assert shape(footprint.geometry).area == pytest.approx(72)
    assert not shapely.is_ccw(shapely.linearrings(footprint.geometry["coordinates"][1]))


def _square(west: float, east: float) -> list[list[list[float]]]:
    return [[[west, 0], [east, 0], [east, 1], [west, 1], [west, 0]]]


@pytest.mark.parametrize(
    "ring",
    [
        [],
        [(0, 0), (1, 1)],
        [(0, 0), (1, 1), (0, 0), (1, 1)],
        [(0, 0), (1, 1), (2, 2)],
        [(0, 0), (1, 0), (1, 90.001)],
        [(0, 0), (1, 0), (math.nan, 1)],
        [(0, 0), (1, 0), (1, math.inf)],
        [(0, 0), (1, 0), (360.5, 1)],
        [(0, 0), (1, 0), (-180.5, 1)],
        [(0, 0), (1, 0), (1,)],
        [(0, 0), (1, 0), ("east", 1)],
    ],
)
def test_impossible_rings_are_refused(ring: list[Any]) -> None:
    with pytest.raises(PoisonedInputError, match="footprint"):
        footprint_from_ring(ring)


@pytest.mark.parametrize(
    "geometry",
    [
        {},
        {"type": "Point", "coordinates": [0, 0]},
        {"type": "Polygon", "coordinates": None},
        {"type": "Polygon", "coordinates": []},
        {"type": "Polygon", "coordinates": [3]},
        {"type": "Polygon", "coordinates": [[1, 2, 3]]},
        {"type": "MultiPolygon", "coordinates": [[]]},
        {"type": "MultiPolygon", "coordinates": [7]},
    ],
)
def test_malformed_geometries_are_refused(geometry: dict[str, Any]) -> None:
    with pytest.raises(PoisonedInputError, match="footprint"):
        footprint_from_geojson(geometry)
