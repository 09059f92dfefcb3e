"""What every implementation of our catalogue must do, whatever stands behind it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pystac_client
import pytest

from conversion_assets.errors import OrderError, PermanentError, TransientError
from conversion_assets.resources import stac_api_catalogue
from conversion_assets.resources.authentication import Authentication
from conversion_assets.resources.catalogue import Catalogue, CollectionSpec, differences
from conversion_assets.resources.stac_api_catalogue import StacApiCatalogue
from conversion_assets.stac.extents import holds
from conversion_assets.stac.versions import EarlierVersion, earlier_version, self_href, succeeding, superseded
from conversion_assets_tests.peers.serving import Trouble
from conversion_assets_tests.peers.stac_api import StacApi
from conversion_assets_tests.resources.items import AROUND, START, item

Document = dict[str, Any]
Box = tuple[float, float, float, float]
HOSTILE = ("../x", "a/b", "", ".hidden", "a\0", "x" * 300, "a:b", "a b", "?q=1")
CANARY = "canary-7d41"


@dataclass(frozen=True)
class Bench:
    """A catalogue on the test bench, and what the tests must see of it from outside.

    Attributes:
        catalogue: what is tested.
        spec: a collection that is not there yet.
        place: gives the href of a product of this name that exists.
        collection: reads the collection as it stands.
        items: ids of its items, as readers find them.
        state: everything that a write would change.
    """

    catalogue: Catalogue
    spec: CollectionSpec
    place: Callable[[str], str]
    collection: Callable[[], Document]
    items: Callable[[], list[str]]
    state: Callable[[], object]

    def item(self, name: str = "A", *, start: datetime = START, bbox: Box = AROUND) -> Document:
        """Describe a product as the assets do."""
        document = item(name, start=start, bbox=bbox, href=self.place(name))
        source = {"rel": "via", "href": f"https://source.test/v1/collections/{self.spec.id}/items/X"}
        return {
            **document,
            "collection": self.spec.id,
            "links": [*document["links"], source],
            "properties": {
                **document["properties"],
                "created": "2024-06-16T01:02:03.456Z",
                "updated": "2024-06-17T01:02:03.456789Z",
                "owner": self.spec.owner,
                "product:type": "S02MSIL1C",
                "eo:cloud_cover": 12.25,
            },
        }

    def publish(self, item: Document) -> str:
        """Publish an item into the collection."""
        return self.catalogue.publish(item, self.spec)


class CatalogueContract:
    """Tests of any catalogue; a subclass brings it as the fixture ``bench``."""

    def test_item_is_read_back_as_it_was_sent(self, bench: Bench) -> None:
        sent = bench.item(bbox=(10.1234567, 45.7654321, 11.0000001, 46))
        before = bench.item(bbox=(10.1234567, 45.7654321, 11.0000001, 46))
        found = bench.catalogue.read(bench.publish(sent))
        assert differences(sent, found) == ()
        assert found["assets"]["product"]["href"] == sent["assets"]["product"]["href"]
        assert found["collection"] == bench.spec.id
        assert sent == before

    def test_item_at_the_antimeridian_is_read_back_as_it_was_sent(self, bench: Bench) -> None:
        sent = bench.item(bbox=(175, -10, -178, 10))
        assert differences(sent, bench.catalogue.read(bench.publish(sent))) == ()
        assert holds(bench.collection()["extent"], sent)

    def test_publishing_twice_is_one_item_and_no_write(self, bench: Bench) -> None:
        href = bench.publish(bench.item())
        before = bench.state()
        assert bench.publish(bench.item()) == href
        assert bench.state() == before
        assert bench.items() == ["A"]

    def test_changed_item_replaces_the_former(self, bench: Bench) -> None:
        bench.publish(bench.item())
        changed = bench.item()
        changed["assets"]["product"]["href"] = bench.place("newer")
        changed["properties"]["eo:cloud_cover"] = 50
        found = bench.catalogue.read(bench.publish(changed))
        assert differences(changed, found) == ()
        assert found["properties"]["eo:cloud_cover"] == 50
        assert bench.items() == ["A"]

    def test_extents_hold_all_items_and_no_more(self, bench: Bench) -> None:
        boxes: list[Box] = [(10, 45, 11, 46), (-5, 40, 10.5, 45.5), (20, -60, 21, -59), (0, 0, 1, 1)]
        for number, box in enumerate(boxes):
            bench.publish(bench.item(f"I{number}", bbox=box, start=START + timedelta(days=number % 3 - 1)))
        collection = bench.collection()
        assert collection["title"] == bench.spec.title
        assert extent(collection) == (
            [-5, -60, 21, 46],
            START - timedelta(days=1),
            START + timedelta(days=1, seconds=25),
        )

    def test_publishers_at_once_lose_nothing(self, bench: Bench) -> None:
        items = [
            bench.item(
                f"I{n}", bbox=(3 * n, n - 5, 3 * n + 1, n - 4), start=START + timedelta(hours=7 * n % 5)
            )
            for n in range(8)
        ]
        with ThreadPoolExecutor(len(items)) as publishers:
            hrefs = list(publishers.map(bench.publish, items))
        for sent, href in zip(items, hrefs, strict=True):
            assert differences(sent, bench.catalogue.read(href)) == ()
        assert bench.items() == sorted(sent["id"] for sent in items)
        assert extent(bench.collection()) == ([0, -5, 22, 3], START, START + timedelta(hours=4, seconds=25))

    def test_item_is_found_by_its_id_and_says_where_it_is(self, bench: Bench) -> None:
        assert bench.catalogue.find("A", bench.spec) is None
        href = bench.publish(bench.item())
        found = bench.catalogue.find("A", bench.spec)
        assert found is not None
        assert differences(bench.item(), found) == ()
        assert self_href(found) == href
        assert bench.catalogue.find("B", bench.spec) is None
        assert bench.catalogue.find("A", replace(bench.spec, id=f"{bench.spec.id}x")) is None

    def test_removed_item_is_gone_and_the_others_stay(self, bench: Bench) -> None:
        days = [START, START, START + timedelta(days=1)]
        for name, day in zip("ABC", days, strict=True):
            bench.publish(bench.item(name, start=day))
        for removed, left in (("A", ["B", "C"]), ("C", ["B"]), ("B", [])):
            for _ in range(2):
                bench.catalogue.remove(removed, bench.spec)
                assert bench.items() == left
            assert bench.catalogue.find(removed, bench.spec) is None
            assert list(bench.catalogue.unlinked(bench.spec)) == []
        bench.publish(bench.item("A"))
        assert bench.items() == ["A"]
        bench.catalogue.remove("A", replace(bench.spec, id=f"{bench.spec.id}x"))
        assert bench.items() == ["A"]

    def test_all_items_are_given_page_by_page(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stac_api_catalogue, "PAGE", 2)
        assert list(bench.catalogue.items(bench.spec)) == []
        sent = {f"I{n}": bench.item(f"I{n}", start=START + timedelta(days=n // 2)) for n in range(5)}
        for document in sent.values():
            bench.publish(document)
        found = list(bench.catalogue.items(bench.spec))
        assert sorted(document["id"] for document in found) == sorted(sent)
        for document in found:
            assert differences(sent[document["id"]], document) == ()

    def test_collections_are_told(self, bench: Bench) -> None:
        before = list(bench.catalogue.collections())
        bench.publish(bench.item())
        (added,) = [found for found in bench.catalogue.collections() if found not in before]
        assert (added.id, added.title) == (bench.spec.id, bench.spec.title)
        assert added.owner in ("", bench.spec.owner)
        assert [found["id"] for found in bench.catalogue.items(added)] == ["A"]

    def test_versions_and_their_links_are_read_back_as_they_were_sent(self, bench: Bench) -> None:
        first = bench.catalogue.read(bench.publish(bench.item()))
        expires = datetime(2031, 1, 2, 3, 4, 5, tzinfo=UTC)
        aside = superseded(first, 1, self_href(first), expires)
        earlier = bench.catalogue.read(bench.publish(aside))
        assert differences(aside, earlier) == ()
        assert earlier_version(earlier) == EarlierVersion("A", 1, expires)
        sent = succeeding(bench.item(), 2, earlier)
        found = bench.catalogue.read(bench.publish(sent))
        assert differences(sent, found) == ()
        assert earlier_version(found) is None
        assert bench.items() == ["A", "A.v1"]

    def test_missing_item_is_told(self, bench: Bench) -> None:
        href = bench.publish(bench.item())
        with pytest.raises(PermanentError, match="no such item"):
            bench.catalogue.read(href.replace("/A", "/B"))

    @pytest.mark.parametrize("name", HOSTILE)
    def test_names_that_lead_astray_are_refused(self, bench: Bench, name: str) -> None:
        before = bench.state()
        sent = bench.item()
        with pytest.raises(OrderError):
            bench.publish({**sent, "id": name})
        for spec in (CollectionSpec(name, bench.spec.id, ""), CollectionSpec(bench.spec.owner, name, "")):
            with pytest.raises(OrderError):
                bench.catalogue.publish(sent, spec)
        assert bench.state() == before

    @pytest.mark.parametrize("name", HOSTILE)
    def test_nothing_is_looked_for_or_removed_by_such_names(self, bench: Bench, name: str) -> None:
        bench.publish(bench.item())
        before = bench.state()
        for use in (bench.catalogue.find, bench.catalogue.remove):
            with pytest.raises(OrderError):
                use(name, bench.spec)
            with pytest.raises(OrderError):
                use("A", replace(bench.spec, id=name))
        with pytest.raises(OrderError):
            list(bench.catalogue.items(replace(bench.spec, id=name)))
        assert bench.state() == before


@dataclass(frozen=True)
class HttpBench(Bench):
    """A catalogue behind a STAC API on the test bench.

    Attributes:
        api: its address, as readers have it.
        searched: name of the collection in a search.
    """

    catalogue: StacApiCatalogue
    api: str
    searched: str


@dataclass(frozen=True)
class PeerBench(HttpBench):
    """A catalogue behind a peer whose weather the tests make.

    Attributes:
        peer: the peer.
        waited: seconds that the client wanted to wait; it did not.
    """

    peer: StacApi
    waited: list[float]


class HttpCatalogueContract(CatalogueContract):
    """Tests of any catalogue behind a STAC API."""

    def test_pystac_client_finds_the_item(self, bench: HttpBench) -> None:
        href = bench.publish(bench.item())
        opened = pystac_client.Client.open(bench.api)
        (found,) = opened.search(collections=[bench.searched], ids=["A"]).items()
        assert found.assets["product"].href == bench.place("A")
        assert found.get_self_href() == href


REQUESTS = [("GET", "collections"), ("POST", "collections"), ("POST", "items"), ("GET", "items")]
REQUESTS_OF_GROWTH = [("PUT", "collections"), ("POST", "search")]
PASSING = {
    "reset before the work": Trouble(reset=True),
    "reset after the work": Trouble(reset=True, after_work=True),
    "500 before the work": Trouble(status=500, body="Internal Server Error"),
    "500 after the work": Trouble(status=500, body={"code": "X", "description": "too late"}, after_work=True),
    "cut short": Trouble(cut_after=10),
}


class WeatherContract:
    """Tests of a catalogue behind a STAC API in bad weather; a subclass brings the fixture ``bench``."""

    @pytest.mark.parametrize("trouble", PASSING.values(), ids=PASSING)
    @pytest.mark.parametrize(("method", "path"), [*REQUESTS, *REQUESTS_OF_GROWTH])
    def test_passing_trouble_neither_loses_nor_doubles(
        self, bench: PeerBench, method: str, path: str, trouble: Trouble
    ) -> None:
        if (method, path) in REQUESTS_OF_GROWTH:
            bench.publish(bench.item("first", bbox=(0, 0, 1, 1)))
        before = bench.items()
        met = bench.peer.add(replace(trouble, method=method, path=path))
        sent = bench.item()
        assert differences(sent, bench.catalogue.read(bench.publish(sent))) == ()
        assert met.times == 0
        assert bench.items() == sorted([*before, "A"])
        assert holds(bench.collection()["extent"], sent)
        assert len(bench.waited) == 1

    @pytest.mark.parametrize("trouble", PASSING.values(), ids=PASSING)
    def test_passing_trouble_when_replacing(self, bench: PeerBench, trouble: Trouble) -> None:
        bench.publish(bench.item())
        met = bench.peer.add(replace(trouble, method="PUT", path="items"))
        changed = bench.item()
        changed["properties"]["eo:cloud_cover"] = 50
        assert differences(changed, bench.catalogue.read(bench.publish(changed))) == ()
        assert met.times == 0
        assert bench.items() == ["A"]

    def test_lasting_trouble_after_the_work_does_not_matter(self, bench: PeerBench) -> None:
        bench.publish(bench.item("first"))
        bench.peer.add(Trouble(times=None, method="POST", path="items", reset=True, after_work=True))
        sent = bench.item()
        assert differences(sent, bench.catalogue.read(bench.publish(sent))) == ()
        assert bench.items() == ["A", "first"]

    def test_lasting_trouble_is_told_and_loses_nothing(self, bench: PeerBench) -> None:
        trouble = Trouble(
            times=None, method="POST", path="items", status=503, body={"detail": "out of breath"}
        )
        bench.peer.add(trouble)
        with pytest.raises(TransientError, match=r"503.*out of breath"):
            bench.publish(bench.item())
        bench.peer.troubles.clear()
        bench.publish(bench.item())
        assert bench.items() == ["A"]

    def test_slow_answer_is_not_waited_for(self, bench: PeerBench) -> None:
        bench.publish(bench.item("first"))
        met = bench.peer.add(Trouble(method="POST", path="items", seconds=60))
        impatient = bench.catalogue.model_copy(update={"timeout": 0.3})
        assert impatient.publish(bench.item(), bench.spec)
        assert met.times == 0
        assert bench.items() == ["A", "first"]

    def test_too_many_requests_wait_as_long_as_the_server_says(self, bench: PeerBench) -> None:
        bench.peer.add(Trouble(method="POST", path="items", status=429, headers={"Retry-After": "17"}))
        bench.publish(bench.item())
        assert bench.waited == [17]
        assert bench.items() == ["A"]

    @pytest.mark.parametrize("trouble", PASSING.values(), ids=PASSING)
    def test_passing_trouble_when_removing(self, bench: PeerBench, trouble: Trouble) -> None:
        bench.publish(bench.item())
        met = bench.peer.add(replace(trouble, method="DELETE", path="items"))
        bench.catalogue.remove("A", bench.spec)
        assert met.times == 0
        assert bench.items() == []

    def test_pages_that_lead_in_a_circle_are_left(
        self, bench: PeerBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stac_api_catalogue, "PAGE", 1)
        for name in "ABC":
            bench.publish(bench.item(name))
        listed = bench.catalogue.items(bench.spec)
        next(listed)
        bench.peer.add(Trouble(times=None, method="GET", path="items", status=200, body=_circle(bench)))
        with pytest.raises(TransientError, match="circle"):
            list(listed)

    def test_refused_connection_is_transient(self, bench: PeerBench) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            nobody = f"http://127.0.0.1:{listener.getsockname()[1]}"
        away = bench.catalogue.model_copy(update={"url": nobody})
        with pytest.raises(TransientError, match="cannot be reached"):
            away.publish(bench.item(), bench.spec)

    def test_missing_credentials_are_told(self, bench: PeerBench) -> None:
        bench.peer.credentials = {"x-api-key": CANARY}
        with pytest.raises(PermanentError, match=r"401.*Not authenticated.*credentials") as told:
            bench.publish(bench.item())
        assert "item A for collection" in told.value.subject
        assert bench.items() == []

    def test_credentials_are_shown_to_the_service_and_to_nobody_else(self, bench: PeerBench) -> None:
        bench.peer.credentials = {"x-api-key": CANARY}
        known = type(bench.catalogue)(url=bench.catalogue.url, authentication=Authentication(api_key=CANARY))
        href = known.publish(bench.item(), bench.spec)
        assert known.read(href)["id"] == "A"
        bench.peer.add(Trouble(times=None, status=400, body={"detail": f"no {CANARY} here"}))
        with pytest.raises(PermanentError, match=r"400.*no … here") as told:
            known.publish(bench.item(), bench.spec)
        assert CANARY not in f"{told.value}{known!r}{href}"

    def test_page_in_place_of_the_api_is_told(self, bench: PeerBench) -> None:
        bench.peer.add(Trouble(times=None, status=200, body="<html><title>Welcome</title></html>"))
        with pytest.raises(PermanentError, match="no JSON object"):
            bench.publish(bench.item())

    def test_item_that_vanishes_before_it_is_replaced_is_added(self, bench: PeerBench) -> None:
        """Between the conflict and the look at what is there somebody deletes it."""
        bench.publish(bench.item())
        changed = bench.item()
        changed["properties"]["eo:cloud_cover"] = 50
        conflict = {"code": "ConflictError", "description": ""}
        bench.peer.store.items.clear()
        bench.peer.add(Trouble(method="POST", path="items", status=409, body=conflict))
        assert differences(changed, bench.catalogue.read(bench.publish(changed))) == ()

    def test_item_that_vanishes_while_it_is_replaced_is_added(self, bench: PeerBench) -> None:
        """Between the look at what is there and the replacement somebody deletes it."""
        bench.publish(bench.item())
        changed = bench.item()
        changed["properties"]["eo:cloud_cover"] = 50
        conflict = {"code": "ConflictError", "description": ""}
        (known,) = bench.peer.store.items.values()
        bench.peer.store.items.clear()
        bench.peer.add(Trouble(method="POST", path="items", status=409, body=conflict))
        bench.peer.add(Trouble(method="GET", path="items", status=200, body={**known, "links": []}))
        assert differences(changed, bench.catalogue.read(bench.publish(changed))) == ()
        assert len(bench.peer.received("PUT", "items")) == 1

    def test_writer_that_was_held_up_takes_nothing_back(self, bench: PeerBench) -> None:
        """One reads the extents, another grows them, and then the first writes what it made of its own."""
        bench.publish(bench.item("first"))
        held_up = bench.peer.add(Trouble(method="GET", path="collections", seconds=1))
        sent, other = bench.item("A", bbox=(0, 0, 1, 1)), bench.item("B", bbox=(-90, 50, -89, 51))
        with ThreadPoolExecutor(1) as publisher:
            slow = publisher.submit(bench.publish, sent)
            while held_up.times:
                threading.Event().wait(0.01)
            bench.publish(other)
            assert not holds(bench.collection()["extent"], sent)
            slow.result()
        assert all(holds(bench.collection()["extent"], one) for one in (sent, other))


def _circle(bench: PeerBench) -> Document:
    """Give a page that leads to itself, as one does whose token a server no longer knows."""
    path = bench.peer.received("GET", "items")[-1].path
    following = {"rel": "next", "href": f"{bench.peer.url}{path}?token=lost"}
    return {"type": "FeatureCollection", "features": [], "links": [following]}


def extent(collection: Document) -> tuple[list[float], datetime, datetime]:
    """Give the overall extent of a collection: its box, its first and its last instant."""
    (interval,) = collection["extent"]["temporal"]["interval"]
    (box,) = collection["extent"]["spatial"]["bbox"]
    start, end = (datetime.fromisoformat(text).astimezone(UTC) for text in interval)
    return box, start, end
