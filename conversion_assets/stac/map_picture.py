"""A small map of a footprint for the user interface: its surroundings, and where on Earth they are."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from io import BytesIO
from itertools import combinations, pairwise
from typing import Any

from PIL import Image, ImageDraw

from conversion_assets.stac.geometry import BoundingBox, Position, footprint_from_geojson

Ring = Sequence[Position]
Colour = tuple[int, int, int]

_SEA: Colour = (214, 228, 237)
_LAND: Colour = (247, 244, 236)
_COAST: Colour = (150, 165, 172)
_GRATICULE: Colour = (190, 208, 220)
_FOOTPRINT: Colour = (214, 74, 36)
_FRAME: Colour = (120, 136, 146)
_FOOTPRINT_OPACITY = 90
_SMOOTHING = 3
_BLEND_STEPS = 8
_ASPECT = 0.62
_SMALLEST_VIEW_DEGREES = 24.0
_CONTEXT = 3.0
_INSET_SHARE = 0.27
_INSET_MARGIN = 0.02
_GRATICULE_STEPS = (1, 2, 5, 10, 20, 30, 45)
_GRATICULE_LINES = 5
_SMALLEST_VISIBLE_PIXELS = 10
_WORLD_DEGREES = 360.0
_HALF_WORLD_DEGREES = 180.0
_POLE_DEGREES = 90.0
_STRETCH_LIMIT_DEGREES = 75.0


@dataclass(frozen=True)
class _View:
    """A window on the plate carrée: degrees to pixels of a canvas."""

    west: float
    north: float
    width_degrees: float
    height_degrees: float
    size: tuple[int, int]

    def pixel(self, position: Position) -> tuple[float, float]:
        longitude, latitude = position
        return (
            (longitude - self.west) / self.width_degrees * self.size[0],
            (self.north - latitude) / self.height_degrees * self.size[1],
        )


def footprint_picture(geometry: Mapping[str, Any], width: int = 480) -> bytes:
    """Draw a footprint on a map of its surroundings, with the world in a corner.

    Args:
        geometry: GeoJSON ``Polygon`` or ``MultiPolygon``.
        width: of the picture, in pixels; the height follows.

    Returns:
        A PNG.

    Raises:
        PoisonedInputError: the geometry is no footprint.
    """
    return _picture(json.dumps(geometry), width)


@lru_cache(maxsize=16)  # an order shows the same one twice
def _picture(geometry: str, width: int) -> bytes:
    footprint = footprint_from_geojson(json.loads(geometry))
    rings = _rings(footprint.geometry)
    view = _surroundings(footprint.bbox, width * _SMOOTHING)
    canvas = _draw_map(view, rings, line=_SMOOTHING * 2)
    _mark_if_tiny(canvas, view, footprint.bbox)
    _add_inset(canvas, footprint.bbox, rings)
    small = canvas.resize((width, round(width * _ASPECT)), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    small.quantize(palette=_palette(), dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _surroundings(bbox: BoundingBox, width: int) -> _View:
    """Frame the footprint with room around it, true to shape at its middle latitude."""
    west, south, east, north = bbox
    extent = east - west + (_WORLD_DEGREES if east < west else 0.0)
    middle = (south + north) / 2
    squeeze = math.cos(math.radians(min(abs(middle), _STRETCH_LIMIT_DEGREES)))
    height = max(
        (north - south) * _CONTEXT, extent * squeeze * _CONTEXT * _ASPECT, _SMALLEST_VIEW_DEGREES * _ASPECT
    )
    height = min(height, _HALF_WORLD_DEGREES, _WORLD_DEGREES * squeeze * _ASPECT)
    span = height / _ASPECT / squeeze
    top = min(max(middle + height / 2, height - _POLE_DEGREES), _POLE_DEGREES)
    return _View(west + extent / 2 - span / 2, top, span, height, (width, round(width * _ASPECT)))


def _draw_map(view: _View, rings: Iterable[Ring], line: int) -> Image.Image:
    canvas = Image.new("RGB", view.size, _SEA)
    pen = ImageDraw.Draw(canvas)
    _draw_land(pen, view)
    _draw_graticule(pen, view)
    _draw_footprint(canvas, view, rings, line)
    return canvas


def _draw_land(pen: ImageDraw.ImageDraw, view: _View) -> None:
    land, water = _land()
    for ring in (*land, *water):
        for path in _visible(ring, view):
            pen.polygon(path, fill=_LAND if ring in land else _SEA)
        for path in _outline(ring, view):
            pen.line(path, fill=_COAST, width=_SMOOTHING, joint="curve")


def _draw_graticule(pen: ImageDraw.ImageDraw, view: _View) -> None:
    step = _graticule_step(view.width_degrees)
    for line in range(math.ceil(view.west / step), math.ceil((view.west + view.width_degrees) / step)):
        x = view.pixel((line * step, 0.0))[0]
        pen.line([(x, 0), (x, view.size[1])], fill=_GRATICULE, width=_SMOOTHING)
    step = _graticule_step(view.height_degrees)
    for line in range(math.ceil((view.north - view.height_degrees) / step), math.ceil(view.north / step)):
        y = view.pixel((0.0, line * step))[1]
        pen.line([(0, y), (view.size[0], y)], fill=_GRATICULE, width=_SMOOTHING)


def _graticule_step(degrees: float) -> int:
    steps = [step for step in _GRATICULE_STEPS if step * _GRATICULE_LINES <= degrees]
    return max(steps, default=_GRATICULE_STEPS[0])


def _draw_footprint(canvas: Image.Image, view: _View, rings: Iterable[Ring], line: int) -> None:
    mask = Image.new("L", canvas.size, 0)
    filler, pen = ImageDraw.Draw(mask), ImageDraw.Draw(canvas)
    rings = tuple(rings)
    for ring in rings:
        for path in _visible(ring, view):
            filler.polygon(path, fill=_FOOTPRINT_OPACITY)
    canvas.paste(_FOOTPRINT, mask=mask)
    for ring in rings:
        for path in _outline(ring, view):
            pen.line(path, fill=_FOOTPRINT, width=line, joint="curve")


def _mark_if_tiny(canvas: Image.Image, view: _View, bbox: BoundingBox) -> None:
    """Put a ring round a footprint that would otherwise be a speck."""
    west, south, east, north = bbox
    left, top = view.pixel((west, north))
    right, bottom = view.pixel((east + (_WORLD_DEGREES if east < west else 0.0), south))
    if max(right - left, bottom - top) >= _SMALLEST_VISIBLE_PIXELS * _SMOOTHING:
        return
    pen = ImageDraw.Draw(canvas)
    centre = ((left + right) / 2, (top + bottom) / 2)
    pen.circle(centre, _SMALLEST_VISIBLE_PIXELS * _SMOOTHING, outline=_FOOTPRINT, width=2 * _SMOOTHING)


def _add_inset(canvas: Image.Image, bbox: BoundingBox, rings: Iterable[Ring]) -> None:
    """Put the whole world in the corner below on the left, the place marked by a dot."""
    width = round(canvas.width * _INSET_SHARE)
    view = _View(
        -_HALF_WORLD_DEGREES, _POLE_DEGREES, _WORLD_DEGREES, _HALF_WORLD_DEGREES, (width, width // 2)
    )
    inset = _draw_map(view, rings, line=_SMOOTHING)
    west, south, east, north = bbox
    middle = (west + east + (_WORLD_DEGREES if east < west else 0.0)) / 2
    wrapped = (middle + _HALF_WORLD_DEGREES) % _WORLD_DEGREES - _HALF_WORLD_DEGREES
    x, y = view.pixel((wrapped, (south + north) / 2))
    pen = ImageDraw.Draw(inset)
    pen.circle((x, y), 3 * _SMOOTHING, fill=_FOOTPRINT, outline=_LAND, width=_SMOOTHING)
    pen.rectangle((0, 0, inset.width - 1, inset.height - 1), outline=_FRAME, width=_SMOOTHING)
    margin = round(canvas.width * _INSET_MARGIN)
    canvas.paste(inset, (margin, canvas.height - inset.height - margin))


def _rings(geometry: Mapping[str, Any]) -> tuple[Ring, ...]:
    """List the exteriors; a hole in a footprint is too small to show."""
    whole = geometry["coordinates"]
    polygons = [whole] if geometry["type"] == "Polygon" else whole
    return tuple(tuple((x, y) for x, y in polygon[0]) for polygon in polygons)


def _visible(ring: Ring, view: _View) -> Iterator[list[tuple[float, float]]]:
    """Give the ring in pixels, once for every turn round the globe that brings it into view."""
    longitudes = [longitude for longitude, _ in ring]
    for turn in (-_WORLD_DEGREES, 0.0, _WORLD_DEGREES):
        if min(longitudes) + turn < view.west + view.width_degrees and max(longitudes) + turn > view.west:
            yield [view.pixel((longitude + turn, latitude)) for longitude, latitude in ring]


def _outline(ring: Ring, view: _View) -> Iterator[list[tuple[float, float]]]:
    """Give the ring's edges in pixels, without the seams that cutting at the antimeridian made."""
    for path in _visible(ring, view):
        for (before, start), (here, end) in pairwise(zip(ring, path, strict=True)):
            if not _is_seam(before, here):
                yield [start, end]


def _is_seam(before: Position, here: Position) -> bool:
    along_antimeridian = before[0] == here[0] and abs(here[0]) == _HALF_WORLD_DEGREES
    along_pole = before[1] == here[1] and abs(here[1]) == _POLE_DEGREES
    return along_antimeridian or along_pole


@cache
def _palette() -> Image.Image:
    """Hold the colours of the map and the blends that smoothing makes of each two of them."""
    tints = [_blend(base, _FOOTPRINT, _FOOTPRINT_OPACITY / 255) for base in (_SEA, _LAND)]
    bases = (_SEA, _LAND, _COAST, _GRATICULE, _FOOTPRINT, _FRAME, *tints)
    pairs = combinations(bases, 2)
    blends = [_blend(one, other, step / _BLEND_STEPS) for one, other in pairs for step in range(_BLEND_STEPS)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([level for colour in (*bases, *blends) for level in colour])
    return palette


def _blend(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


@cache
def _land() -> tuple[frozenset[Ring], frozenset[Ring]]:
    """Read the outlines of land and of the water in it (origin and licence: README.md)."""
    outlines = json.loads(files(__package__).joinpath("land.json").read_text(encoding="utf-8"))
    land, water = (
        frozenset(tuple((x, y) for x, y in ring) for ring in outlines[kind]) for kind in ("land", "water")
    )
    return land, water
