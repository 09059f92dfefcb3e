from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from conversion_assets.errors import PoisonedInputError
from conversion_assets.stac.geometry import Position, footprint_from_ring
from conversion_assets.stac.map_picture import footprint_picture

RINGS: dict[str, list[Position]] = {
    "swath": [(1.52, 46.0), (4.82, 46.4), (5.25, 44.9), (1.95, 44.5)],
    "speck": [(6.456, 45.1255), (6.485, 45.126), (6.4859, 45.106), (6.4577, 45.1055)],
    "antimeridian": [(175, -20), (-175, -18), (-174, -10), (176, -12)],
    "pole": [(longitude, 80) for longitude in range(-180, 180, 30)],
    "orbit": [(10, 70), (20, 70), (-10, -70), (-20, -70)],
}


def picture_of(ring: list[Position], width: int = 480) -> bytes:
    return footprint_picture(footprint_from_ring(ring).geometry, width)


def _red_pixels(png: bytes) -> list[tuple[int, int]]:
    """Find the pixels of the footprint's outline in the main map, right of the inset."""
    image = Image.open(BytesIO(png)).convert("RGB")
    found = []
    for x in range(image.width // 3, image.width):
        for y in range(image.height):
            red, green, blue = image.getpixel((x, y))  # type: ignore[misc]  # an RGB image gives triples
            if red > 190 and green < 110 and blue < 80:
                found.append((x, y))
    return found


@pytest.mark.parametrize("name", RINGS)
def test_picture_is_a_small_png_that_shows_the_footprint(name: str) -> None:
    png = picture_of(RINGS[name])
    image = Image.open(BytesIO(png))
    assert image.format == "PNG"
    assert image.size == (480, 298)
    assert len(png) < 30_000
    assert len(_red_pixels(png)) > 20


def test_footprint_over_the_antimeridian_is_whole_and_without_a_seam() -> None:
    across, elsewhere = (
        _red_pixels(
            picture_of([(longitude, -15), (longitude + 10, -15), (longitude + 10, -5), (longitude, -5)])
        )
        for longitude in (175, 100)
    )
    assert len(across) == pytest.approx(len(elsewhere), rel=0.1)


def test_footprint_stands_in_the_middle() -> None:
    pixels = _red_pixels(picture_of(RINGS["antimeridian"]))
    columns, rows = [x for x, _ in pixels], [y for _, y in pixels]
    assert (min(columns) + max(columns)) / 2 == pytest.approx(240, abs=3)
    assert (min(rows) + max(rows)) / 2 == pytest.approx(149, abs=3)


def test_picture_is_the_same_every_time() -> None:
    assert picture_of(RINGS["swath"]) == picture_of(RINGS["swath"])


@settings(max_examples=15)
@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(-90, 90)), min_size=3, max_size=8))
def test_any_footprint_can_be_drawn(ring: list[Position]) -> None:
    try:
        geometry = footprint_from_ring(ring).geometry
    except PoisonedInputError:
        return
    assert Image.open(BytesIO(footprint_picture(geometry, width=160))).size == (160, 99)


def test_other_geometries_are_refused() -> None:
    with pytest.raises(PoisonedInputError):
        footprint_picture({"type": "Point", "coordinates": [0, 0]})
