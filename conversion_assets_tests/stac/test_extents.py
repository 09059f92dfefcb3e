from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from conversion_assets.stac.extents import extent_of, grown, holds, searches_beyond
from conversion_assets.stac.formats import format_date_time

Box = tuple[float, float, float, float]
Document = dict[str, Any]
START = datetime(2024, 6, 15, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

longitudes, latitudes = (st.integers(-n * 10**7, n * 10**7).map(lambda n: n / 10**7) for n in (180, 90))
boxes = st.tuples(longitudes, latitudes, longitudes, latitudes).map(
    lambda box: (box[0], min(box[1], box[3]), box[2], max(box[1], box[3]))
)
spans = st.tuples(st.integers(0, 10**9), st.integers(0, 10**6))


def item(box: Box, start: datetime = START, seconds: float = 25) -> Document:
    properties = {
        "datetime": format_date_time(start),
        "start_datetime": format_date_time(start),
        "end_datetime": format_date_time(start + timedelta(seconds=seconds)),
    }
    return {"bbox": list(box), "properties": properties}


items = st.builds(
    lambda box, span: item(box, EPOCH + timedelta(seconds=span[0]), span[1]), box=boxes, span=spans
)


def bbox(extent: Document) -> list[float]:
    (box,) = extent["spatial"]["bbox"]
    return list(box)


def shape(box: list[float]) -> shapely.Geometry:
    west, south, east, north = box
    if west <= east:
        return shapely.box(west, south, east, north)
    return shapely.union(shapely.box(west, south, 180, north), shapely.box(-180, south, east, north))


@given(st.lists(items, min_size=1, max_size=5))
def test_extent_holds_all_its_items(every: list[Document]) -> None:
    extent = extent_of(every[0])
    for one in every:
        extent = grown(extent, one)
    assert all(holds(extent, one) for one in every)
    assert all(_covers(bbox(extent), one["bbox"]) for one in every)


@given(items, items)
def test_extent_grows_only_where_it_must(one: Document, other: Document) -> None:
    extent = extent_of(one)
    assert (grown(extent, other) == extent) == holds(extent, other)
    assert grown(grown(extent, other), one) == grown(extent, other)


def test_union_is_exact() -> None:
    extent = grown(
        extent_of(item((10, 45, 11, 46))), item((-5, 40, 10.5, 45.5), START - timedelta(days=1), 1)
    )
    assert extent == {
        "spatial": {"bbox": [[-5, 40, 11, 46]]},
        "temporal": {"interval": [["2024-06-14T00:00:00Z", "2024-06-15T00:00:25Z"]]},
    }


@pytest.mark.parametrize(
    ("one", "other", "union"),
    [
        ((175, 0, -178, 1), (170, 0, -179, 1), [170, 0, -178, 1]),
        ((175, 0, -178, 1), (176, 0, 177, 1), [175, 0, -178, 1]),
        ((176, 0, 177, 1), (175, 0, -178, 1), [175, 0, -178, 1]),
        ((175, 0, -178, 1), (10, -5, 11, 0.5), [-180, -5, 180, 1]),
        ((10, 0, -178, 1), (170, 0, 20, 1), [-180, 0, 180, 1]),
        ((-180, 0, 180, 1), (170, 0, -170, 2), [-180, 0, 180, 2]),
    ],
)
def test_union_at_the_antimeridian(one: Box, other: Box, union: list[float]) -> None:
    assert bbox(grown(extent_of(item(one)), item(other))) == union


def test_open_ends_stay_open() -> None:
    extent = {"spatial": {"bbox": [[0, 0, 1, 1]]}, "temporal": {"interval": [[None, None]]}}
    assert holds(extent, item((0, 0, 1, 1)))
    assert grown(extent, item((0, 0, 2, 1)))["temporal"]["interval"] == [[None, None]]
    assert all("bbox" in search for search in searches_beyond(extent))


def test_heights_are_left_aside() -> None:
    tall = {**item((0, 0, 1, 1)), "bbox": [0, 0, -100, 1, 1, 9000]}
    assert extent_of(tall) == extent_of(item((0, 0, 1, 1)))


@given(items, items)
def test_searches_find_what_lies_beyond_and_nothing_within(one: Document, other: Document) -> None:
    extent = extent_of(one)
    found = [search for search in searches_beyond(extent) if _meets(other, search)]
    assert not any(_meets(one, search) for search in searches_beyond(extent))
    if holds(extent, other):
        assert found == []
    elif _reaches_far(other, extent):
        assert found


def _covers(outer: list[float], inner: list[float]) -> bool:
    (w, s, e, n), (west, south, east, north) = outer, inner
    if not (s <= south and north <= n):
        return False
    if w <= e:
        return (w, e) == (-180, 180) if west > east else w <= west and east <= e
    return west >= w and east <= e if west > east else west >= w or east <= e


def _reaches_far(one: Document, extent: Document) -> bool:
    """Say whether an item lies so far outside that the precision of coordinates is no question."""
    start, end = extent["temporal"]["interval"][0]
    properties = one["properties"]
    outside = shape(one["bbox"]).difference(shape(bbox(extent)).buffer(1e-6))
    return bool(properties["start_datetime"] < start or properties["end_datetime"] > end or outside.area > 0)


def _meets(one: Document, search: Document) -> bool:
    if "bbox" in search:
        return bool(shape(one["bbox"]).intersects(shape(search["bbox"])))
    since, until = search["datetime"].split("/")
    moment = datetime.fromisoformat
    properties = one["properties"]
    return (until == ".." or moment(properties["start_datetime"]) <= moment(until)) and (
        since == ".." or moment(properties["end_datetime"]) >= moment(since)
    )
