from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conversion_assets.errors import PermanentError, TransientError
from conversion_assets.resources.authentication import Authentication
from conversion_assets.resources.input_source import Arrival, Look
from conversion_assets.resources.item_filter import ItemFilter, area_of_box
from conversion_assets.resources.source_credentials import SourceCredentials
from conversion_assets.resources.source_position import MOST_MARKS
from conversion_assets.resources.stac_search import StacSearch
from conversion_assets_tests.contracts.input_source import InputSourceContract, SourceBench, names
from conversion_assets_tests.peers.serving import Trouble, serving
from conversion_assets_tests.resources.stac_source import (
    COLLECTION,
    FIELDS,
    ITEM_SEARCH,
    NOON,
    QUERY,
    StacSource,
    at,
    item,
)


@pytest.fixture(scope="module")
def server() -> Iterator[StacSource]:
    with serving(StacSource()) as source:
        yield source


@pytest.fixture
def api(server: StacSource) -> StacSource:
    fresh = StacSource()
    server.store, server.conformance = fresh.store, fresh.conformance
    server.ignores_sort = server.ignores_filter = server.merges = False
    server.next_href = None
    server.troubles.clear()
    server.requests.clear()
    server.credentials = {}
    return server


def search(api: StacSource, **facts: Any) -> StacSearch:  # noqa: ANN401 - any field
    known = {"name": "test", "url": api.url, "collections": [COLLECTION]}
    source = StacSearch(**(known | facts))
    source._now = lambda: NOON + timedelta(days=1)
    return source


def looks(source: StacSearch, cursor: str | None = None, most: int = 100) -> list[Look]:
    return list(SourceBench(source, lambda: None).looks(cursor, most))


def found(source: StacSearch, cursor: str | None = None, most: int = 100) -> list[str]:
    return [name for look in looks(source, cursor, most) for name in names(look.arrivals)]


class TestStacSearch(InputSourceContract):
    @pytest.fixture(params=["POST", "GET", "no sort", "no filter", "no extension", "short pages"])
    def bench(self, api: StacSource, request: pytest.FixtureRequest) -> SourceBench:
        api.ignores_sort = request.param == "no sort"
        api.ignores_filter = request.param == "no filter"
        if request.param == "no extension":
            api.conformance = [ITEM_SEARCH]
        method = request.param if request.param == "GET" else "POST"
        page_size = {"short pages": 1, "no sort": 2}.get(request.param)
        clock = itertools.count()

        def put(*products: str) -> None:
            for name in products:
                api.put(item(name, next(clock)))

        return SourceBench(search(api, method=method, page_size=page_size), put)


# --- time, and what comes late ------------------------------------------------------------------------


def test_item_that_becomes_visible_late_is_found(api: StacSource) -> None:
    api.put(item("A", 0), item("B", 20))
    (look,) = looks(search(api))
    api.put(item("late", 11), item("too late", 9))
    assert found(search(api), look.cursor) == ["late"]


def test_items_of_one_time_are_found_whole_at_the_bound(api: StacSource) -> None:
    api.put(*(item(f"X{number}", 5) for number in range(7)))
    for page_size in (None, 1, 2, 3, 7):
        assert sorted(found(search(api, page_size=page_size), most=2)) == [f"X{n}" for n in range(7)]


def test_other_times_stand_in_for_one_that_is_missing(api: StacSource) -> None:
    api.put(
        item("C", updated=None, created=at(3)),
        item("B", updated=None, published=at(2), created=at(0)),
        item("A", 1, published=at(0)),
    )
    (look,) = looks(search(api))
    assert names(look.arrivals) == ["A", "B", "C"]
    api.put(item("D", updated=None, published=at(4)))
    assert found(search(api), look.cursor) == ["D"]


def test_cursor_of_another_property_is_not_used(api: StacSource) -> None:
    api.put(item("A", 1, published=at(0)))
    (look,) = looks(search(api, properties=["updated"]))
    assert found(search(api, properties=["published"]), look.cursor) == ["A"]


def test_start_leaves_out_what_was_there_before(api: StacSource) -> None:
    api.put(item("A", 0), item("B", 10))
    assert found(search(api, start=at(10))) == ["B"]
    source = search(api, start="now")
    look = source.look(None, 10)
    assert look.arrivals == ()
    api.put(item("C", 24 * 60 + 1))
    assert found(search(api, start="now"), look.cursor) == ["C"]


def test_time_of_the_future_does_not_hide_what_comes_after(api: StacSource) -> None:
    api.put(item("A", 0), item("typo", updated="9999-01-01T00:00:00Z"))
    (look,) = looks(search(api))
    assert names(look.arrivals) == ["A", "typo"]
    api.put(item("B", 24 * 60 - 1))
    assert found(search(api), look.cursor) == ["B"]


def test_cursor_stays_small(api: StacSource) -> None:
    api.put(*(item(f"X{number:03}", number) for number in range(300)))
    last = looks(search(api))[-1]
    assert len(json.loads(last.cursor)["marks"]) <= 11
    assert MOST_MARKS > 300


# --- what is skipped ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({"unpublished": at(0)}, "withdrew"),
        ({"published": at(3 * 24 * 60)}, "publishes it only at"),
        ({"datetime": at(-40 * 24 * 60)}, "more than 30 days ago"),
        ({"datetime": None}, "no time of acquisition"),
    ],
)
def test_item_that_is_not_to_be_ordered_is_told_once(
    api: StacSource, properties: dict[str, Any], reason: str
) -> None:
    api.put(item("A", 0), item("B", 1, **properties), item("C", 2))
    source = search(api, wanted=ItemFilter(oldest_days=30))
    (look,) = looks(source)
    assert names(look.arrivals) == ["A", "C"]
    (skipped,) = look.skipped
    assert skipped.name == "B"
    assert reason in skipped.reason


def test_only_what_the_watch_is_about_is_found(api: StacSource) -> None:
    api.put(
        item("A", 0),
        item("L1C", 1, **{"product:type": "S2MSI1C"}),
        item("early", 2, datetime=at(-300)),
        item("elsewhere", 3) | {"geometry": None, "bbox": [50, 50, 51, 51]},
        item("untold", 4, **{"product:type": None}),
    )
    wanted = ItemFilter(
        product_types=["S02MSIL2A"], area=area_of_box((0, 40, 10, 50)), acquired_from=at(-120)
    )
    for bbox in ([0.0, 40.0, 10.0, 50.0], None):
        (look,) = looks(search(api, wanted=wanted, bbox=bbox))
        assert names(look.arrivals) == ["A"]
        assert [skipped.name for skipped in look.skipped] == ["untold"]


def test_area_may_cross_the_antimeridian(api: StacSource) -> None:
    fiji, europe = item("fiji", 0), item("europe", 1)
    ring = [[179, -18], [-179, -18], [-179, -17], [179, -17], [179, -18]]
    fiji |= {"geometry": {"type": "Polygon", "coordinates": [ring]}, "bbox": [179, -18, -179, -17]}
    api.put(fiji, europe)
    api.ignores_filter = True
    wanted = ItemFilter(area=area_of_box((178, -20, -178, -15)))
    assert found(search(api, wanted=wanted)) == ["fiji"]


def test_bad_item_is_left_out_alone(api: StacSource) -> None:
    api.put(item("A", 0), item("odd", updated="yesterday"), item("B", 2))
    api.put(item("nothing", 1) | {"properties": {}}, item("odd geometry", 3) | {"geometry": {"type": "X"}})
    api.ignores_filter = True
    wanted = ItemFilter(area=area_of_box((0, 40, 10, 50)))
    (look,) = looks(search(api, wanted=wanted))
    assert names(look.arrivals) == ["A", "B"]
    assert [skipped.name for skipped in look.skipped] == ["odd geometry"]
    assert any("odd, nothing" in remark or "nothing, odd" in remark for remark in look.remarks)


# --- servers ------------------------------------------------------------------------------------------


def test_order_that_a_server_leaves_aside_is_made_here(api: StacSource) -> None:
    api.put(*(item(name, minutes) for name, minutes in [("C", 30), ("A", 0), ("D", 40), ("B", 20)]))
    api.ignores_sort = True
    for page_size in (1, 2, 3, 10):
        source = search(api, page_size=page_size)
        assert found(source, most=2) == ["A", "B", "C", "D"]
    assert any(
        "leaves the order aside" in remark for remark in search(api, page_size=1).look(None, 2).remarks
    )


def test_filter_that_a_server_leaves_aside_is_told(api: StacSource) -> None:
    api.put(item("A", 0), item("B", 30))
    (look,) = looks(search(api))
    api.ignores_filter = True
    api.put(item("C", 40))
    again = search(api).look(look.cursor, 10)
    assert names(again.arrivals) == ["C"]
    assert any("leaves the filter aside" in remark for remark in again.remarks)


def test_query_extension_stands_in_for_the_filter(api: StacSource) -> None:
    api.conformance = [ITEM_SEARCH, f"{ITEM_SEARCH}#sort", QUERY]
    api.put(item("A", 0), item("B", 30))
    (look,) = looks(search(api, properties=["updated"]))
    api.put(item("C", 40))
    assert found(search(api, properties=["updated"]), look.cursor) == ["C"]
    assert json.loads(api.requests[-1].body)["query"] == {"updated": {"gte": at(30)}}


def test_fields_are_asked_for_where_the_server_knows_them(api: StacSource) -> None:
    api.conformance.append(FIELDS)
    api.put(item("A", 0, note="x" * 1000))
    (look,) = looks(search(api))
    (arrival,) = look.arrivals
    assert b"xxx" not in (arrival.document or b"")
    assert b"products.example.org" in (arrival.document or b"")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("merges", [False, True])
def test_links_to_the_next_page_are_followed(api: StacSource, method: str, merges: bool) -> None:
    api.merges = merges and method == "POST"
    api.put(*(item(f"X{number}", number) for number in range(5)))
    look = search(api, method=method, page_size=2, properties=["updated"]).look(None, 10)
    assert len(look.arrivals) == 5


def test_link_that_leads_back_loses_nothing(api: StacSource) -> None:
    api.put(*(item(f"X{number}", number * 20) for number in range(5)))
    api.next_href = f"{api.url}/search"
    assert found(search(api, page_size=2)) == [f"X{number}" for number in range(5)]
    api.put(*(item(f"Y{number}", 100) for number in range(5)))
    with pytest.raises(PermanentError, match="leads back"):
        found(search(api, page_size=2))


def test_link_to_another_server_is_not_followed(api: StacSource) -> None:
    with serving(StacSource()) as foreign:
        api.next_href = f"{foreign.url}/search"
        api.put(*(item(f"X{number}", number * 20) for number in range(4)))
        look = search(api, page_size=2).look(None, 10)
        assert names(look.arrivals) == ["X0", "X1"]
        assert any("another server" in remark for remark in look.remarks)
        assert foreign.requests == []


@pytest.mark.parametrize("trouble", [{"status": 500}, {"status": 429}, {"reset": True}, {"cut_after": 10}])
def test_busy_server_is_a_passing_fault(api: StacSource, trouble: dict[str, Any]) -> None:
    api.put(item("A", 0))
    api.add(Trouble(path="/search", times=1, headers={"Retry-After": "0"}, **trouble))
    assert found(search(api)) == ["A"]
    api.add(Trouble(path="/search", times=None, headers={"Retry-After": "0"}, **trouble))
    with pytest.raises(TransientError):
        search(api).look(None, 10)


@pytest.mark.parametrize("body", ["no JSON", [], {"features": "none"}])
def test_answer_that_makes_no_sense_is_refused(api: StacSource, body: object) -> None:
    api.add(Trouble(path="/search", times=None, status=200, body=body))
    with pytest.raises(PermanentError, match="no feature collection"):
        search(api).look(None, 10)


def test_server_that_does_not_tell_what_it_can_is_tried(api: StacSource) -> None:
    api.add(Trouble(path="/conformance", times=None, status=404))
    api.put(item("A", 0))
    assert found(search(api)) == ["A"]


def test_credentials_go_to_the_servers_they_are_for(api: StacSource) -> None:
    api.put(item("A", 0))
    api.credentials = {"x-api-key": "hunter2"}
    key = Authentication(api_key="hunter2")
    assert found(search(api, credentials=SourceCredentials(origins=[api.url], authentication=key))) == ["A"]
    elsewhere = SourceCredentials(origins=["https://example.org"], authentication=key)
    with pytest.raises(PermanentError, match="401") as refusal:
        search(api, credentials=elsewhere).look(None, 10)
    assert "hunter2" not in str(refusal.value)


def test_going_back_for_a_late_item_finds_nothing_twice(api: StacSource) -> None:
    for name, minutes in (("A", 0), ("B", 0), ("C", 11)):
        api.put(item(name, minutes))
    source = search(api, page_size=1, properties=["updated"], overlap_seconds=600)
    cursor = source.look(source.look(None, 2).cursor, 2).cursor
    api.put(item("LATE", 1))
    look = source.look(cursor, 2)
    assert names(look.arrivals) == ["LATE"]
    assert names(source.look(look.cursor_without(look.arrivals), 2).arrivals) == ["LATE"]


# --- any arrivals -------------------------------------------------------------------------------------


@given(data=st.data())
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_each_item_is_found_once_whatever_the_order(api: StacSource, data: st.DataObject) -> None:
    """Items appear in waves, each at most by the overlap older than what is there; some are not taken."""
    api.store.items.clear()
    api.ignores_sort = data.draw(st.booleans(), "ignores sort")
    api.ignores_filter = data.draw(st.booleans(), "ignores filter")
    page_size, most = data.draw(st.integers(1, 5), "page size"), data.draw(st.integers(1, 4), "most")
    source = search(api, page_size=page_size, properties=["updated"], overlap_seconds=600)
    taken: list[str] = []
    newest, count, cursor = 0, 0, None
    for _ in range(data.draw(st.integers(1, 3), "waves")):
        for minutes in data.draw(st.lists(st.integers(max(newest - 10, 0), newest + 30), max_size=4)):
            api.put(item(f"X{count}", minutes))
            newest, count = max(newest, minutes), count + 1
        for _ in range(data.draw(st.integers(0, 3), "looks")):
            cursor = _look(source, cursor, most, taken, data)
    for look in SourceBench(source, api.put).looks(cursor, most):
        taken += names(look.arrivals)
    assert sorted(taken) == sorted(f"X{number}" for number in range(count))


def _look(source: StacSearch, cursor: str | None, most: int, taken: list[str], data: st.DataObject) -> str:
    look = source.look(cursor, most)
    left: list[Arrival] = []
    if look.arrivals:
        left = data.draw(st.lists(st.sampled_from(look.arrivals), unique=True), "left")
    taken += [arrival.name for arrival in look.arrivals if arrival not in left]
    return look.cursor_without(left)
