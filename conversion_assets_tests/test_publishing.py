"""Publication in versions, on folders with a static catalogue and on S3 with catalogues over HTTP."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import numpy as np
import pystac
import pytest
import zarr

from conversion_assets.errors import ConversionAssetsError, OrderError, PermanentError
from conversion_assets.provenance import Provenance
from conversion_assets.publishing import (
    Published,
    Released,
    publish_version,
    release_superseded,
    supersede_moved,
)
from conversion_assets.resources.authentication import Authentication
from conversion_assets.resources.catalogue import Catalogue, CollectionSpec, Document, differences
from conversion_assets.resources.folder_object_store import FolderObjectStore
from conversion_assets.resources.object_store import ObjectStore, Shelf
from conversion_assets.resources.s3_object_store import S3ObjectStore
from conversion_assets.resources.s3_storage import S3Storage
from conversion_assets.resources.stac_api_catalogue import StacApiCatalogue
from conversion_assets.resources.static_catalogue import StaticCatalogue
from conversion_assets.resources.upstream_catalogue import UpstreamCatalogue
from conversion_assets.stac.validation import validate_item
from conversion_assets.stac.versions import VERSION_LINKS, earlier_version, linked_id, self_href, superseded
from conversion_assets.zarr.product_folder import metadata_digest
from conversion_assets_tests.peers.fixtures import stac_api, upstream_bucket, upstream_catalogue
from conversion_assets_tests.peers.serving import Received, Trouble
from conversion_assets_tests.peers.stac_api import StacApi
from conversion_assets_tests.resources.items import item
from conversion_assets_tests.resources.tcp_proxy import Proxy, relaying
from conversion_assets_tests.resources.test_static_catalogue import dangling

__all__ = ["stac_api", "upstream_bucket", "upstream_catalogue"]

ID = "S02MSIL1C_20240615T102559_0000_B108_T000"
OTHERWISE = f"{ID[:-3]}F44"
"""The same with another checksum."""
SAFE = "S2A_MSIL1C_20240615T102601_N0510_R108_T31TGL_20240615T124303.SAFE"
OWNER, COLLECTION = "someone", "sentinel-2-l1c"
SPEC = CollectionSpec(OWNER, COLLECTION, "Sentinel-2 Level-1C")
ELSEWHERE = CollectionSpec(OWNER, "sentinel-2-l1c-v2", "Sentinel-2 Level-1C, elsewhere")
SOON = datetime(2030, 1, 1, tzinfo=UTC)
LATER = SOON + timedelta(days=1)


@dataclass(frozen=True)
class World:
    """A catalogue and an object store, and how a reader without our code opens a product.

    Attributes:
        catalogue: where items are published.
        store: where products are.
        bucket: of the store.
        opened: what zarr opens, by the product's URI.
        broken: lets everything fail from the so-many-th write on, as a full disk or a dead server does.
        collection: where products and items go.
    """

    catalogue: Catalogue
    store: ObjectStore
    bucket: str
    opened: Callable[[str], Any]
    broken: Callable[[int], Any]
    collection: CollectionSpec = SPEC

    @property
    def shelf(self) -> Shelf:
        return Shelf(bucket=self.bucket, owner=OWNER, collection=self.collection.id)

    def converted(self, version: int, name: str = ID) -> str:
        """Convert the SAFE again, to a product all of whose values tell the version."""
        workspace = self.store.workspace(self.shelf, "order", Path(SAFE))
        folder = workspace.local_output() / f"{name}.zarr"
        group = zarr.open_group(zarr.DirectoryStore(str(folder)), mode="w")
        group.attrs["version"] = version
        group.create_dataset("a", data=np.full((4, 4), version, "u1"), chunks=(1, 4), fill_value=0)
        zarr.consolidate_metadata(group.store)
        product = workspace.open_product(folder.as_uri())
        made = Provenance(
            name=name,
            safe_name=SAFE,
            fingerprint="f" * 64,
            eopf_version="2.8.1",
            converted=SOON,
            created=SOON,
            metadata_sha256=metadata_digest(product),
        )
        return self.store.promote(product, self.shelf, made)

    def published(self, uri: str, keep_until: datetime = SOON, item_id: str = ID) -> Published:
        """Publish the item of a product."""
        item = {**described(uri, item_id), "collection": self.collection.id}
        return publish_version(item, self.collection, self.catalogue, self.store, keep_until)

    def moved_from(self, former: str, published: Published, keep_until: datetime = SOON) -> bool:
        """Let the former item of an order in another collection lead to the one that it has now."""
        found = self.catalogue.read(published.href)
        return supersede_moved(former, found, self.collection, self.catalogue, self.store, keep_until)

    def released(self, now: datetime = LATER) -> tuple[Released, ...]:
        """Release what is superseded."""
        return release_superseded(self.catalogue, self.store, self.collection, now)

    def version_in(self, uri: str) -> int:
        """Read every chunk of a product, and give the version that all values tell."""
        group = zarr.open_consolidated(self.opened(uri), mode="r")
        (values,) = {*np.unique(group["a"][:]), group.attrs["version"]}
        return int(values)

    def items(self) -> dict[str, Document]:
        return {found["id"]: found for found in self.catalogue.items(self.collection)}

    def require_whole(self) -> None:
        """See that each item leads to a whole product, and each of its links to an item."""
        items = self.items()
        for found in items.values():
            validate_item(found)
            if not self._is_half_removed(found):
                assert self.version_in(product_of(found)) > 0
            for rel in VERSION_LINKS & {link["rel"] for link in found["links"]}:
                assert linked_id(found, rel) in items
        if isinstance(self.catalogue, StaticCatalogue):
            assert dangling(Path(self.catalogue.root)) == []

    def _is_half_removed(self, found: Document) -> bool:
        """Say whether the upstream catalogue was left with a version that is sent without assets."""
        half = isinstance(self.catalogue, UpstreamCatalogue) and not found["assets"]
        return half and earlier_version(found) is not None

    def require_nothing_more(self, *ids: str) -> None:
        """See that there are these items, and their products, and no other."""
        self.require_whole()
        assert sorted(self.items()) == sorted(ids)
        products = {product_of(found) for found in self.items().values()}
        assert {one.uri for one in self.store.products(self.shelf) if one.is_complete} == products


def described(uri: str, item_id: str = ID) -> Document:
    document = item(item_id, href=uri)
    properties = {"owner": OWNER, "product:type": "S02MSIL1C", "created": "2024-06-16T01:02:03Z"}
    return {**document, "collection": COLLECTION, "properties": document["properties"] | properties}


def product_of(found: Document) -> str:
    return str(found["assets"]["product"]["href"])


# --- the worlds --------------------------------------------------------------------------------------


@contextmanager
def full_disk(writes: int) -> Iterator[None]:
    """Let each change of a file fail from some point on."""
    left = iter(range(writes))

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever the real one takes
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", failing(os.fsync))
        patch.setattr(shutil, "rmtree", failing(shutil.rmtree))
        for name in ("unlink", "rename", "rmdir"):
            patch.setattr(Path, name, failing(getattr(Path, name)))
        yield


@dataclass
class Death(Trouble):
    """The server dies at the so-many-th request that changes something, before or after it does so."""

    times: int | None = None
    reset: bool = True
    left: list[None] = field(default_factory=list)

    def meets(self, received: Received) -> bool:
        if (
            received.method in ("PUT", "POST", "DELETE")
            and not received.path.endswith("/search")
            and self.left
        ):
            self.left.pop()
            return False
        return not self.left and received.method != "GET"


@contextmanager
def dead_servers(peer: StacApi, proxy: Proxy, writes: int) -> Iterator[None]:
    """Let the catalogue die, and S3 where the catalogue is through."""
    death = Death(left=[None] * writes, after_work=writes % 2 == 1)
    peer.add(death)
    proxy.cut(lambda line: line.startswith(("PUT", "POST")) and not death.left, times=100_000)
    try:
        yield
    finally:
        peer.troubles.clear()
        proxy.cut(lambda _: False, times=0)


@pytest.fixture
def files(tmp_path: Path) -> World:
    return World(
        catalogue=StaticCatalogue(root=str(tmp_path / "catalogue")),
        store=FolderObjectStore(root=str(tmp_path)),
        bucket="bucket",
        opened=lambda uri: zarr.DirectoryStore(unquote(urlsplit(uri).path)),
        broken=full_disk,
    )


def servers(catalogue: StacApiCatalogue, peer: StacApi, proxy: Proxy, bucket: str, root: Path) -> World:
    import s3fs  # noqa: PLC0415 - heavy, and needed where there is an S3 server only

    catalogue._sleep = lambda _: None
    storage = S3Storage(
        endpoint_url=proxy.url,
        region_name="eu-central-1",
        aws_access_key_id="someone",
        aws_secret_access_key="anything",  # noqa: S106 - the server takes any
        max_attempts=1,
    )
    reader = s3fs.S3FileSystem(endpoint_url=os.environ["AWS_ENDPOINT_URL"], use_listings_cache=False)
    return World(
        catalogue=catalogue,
        store=S3ObjectStore(root=str(root), storage=storage),
        bucket=bucket,
        opened=lambda uri: s3fs.S3Map(uri.removeprefix("s3://"), s3=reader),
        broken=lambda writes: dead_servers(peer, proxy, writes),
    )


@pytest.fixture
def proxy(s3_endpoint: str) -> Iterator[Proxy]:
    with relaying(s3_endpoint) as proxy:
        yield proxy


@pytest.fixture
def stac(stac_api: StacApi, proxy: Proxy, s3: Any, tmp_path: Path) -> World:  # noqa: ANN401 - boto3 ships no types
    bucket = f"bucket-{uuid4()}"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
    catalogue = StacApiCatalogue(url=stac_api.url, authentication=Authentication(), retries=0)
    return servers(catalogue, stac_api, proxy, bucket, tmp_path)


@pytest.fixture
def upstream(upstream_catalogue: StacApi, upstream_bucket: str, proxy: Proxy, tmp_path: Path) -> World:
    catalogue = UpstreamCatalogue(url=upstream_catalogue.url, authentication=Authentication(), retries=0)
    return servers(catalogue, upstream_catalogue, proxy, upstream_bucket, tmp_path)


@pytest.fixture(params=["files", "stac", "upstream"])
def world(request: pytest.FixtureRequest) -> World:
    made: World = request.getfixturevalue(request.param)
    return made


# --- publication and release ----------------------------------------------------------------------------


def test_first_publication_is_the_plain_item(world: World) -> None:
    uri = world.converted(1)
    published = world.published(uri)
    assert published.item == described(uri)
    assert differences(described(uri), world.catalogue.read(published.href)) == ()
    assert world.published(uri) == published
    world.require_nothing_more(ID)


def test_former_product_stays_under_an_id_of_its_own(world: World) -> None:
    uris = [world.converted(version) for version in (1, 2, 3)]
    hrefs = {world.published(uri).href for uri in uris}
    assert len(hrefs) == 1
    world.require_nothing_more(ID, f"{ID}.v1", f"{ID}.v2")
    items = world.items()
    assert [product_of(items[name]) for name in (f"{ID}.v1", f"{ID}.v2", ID)] == uris
    assert items[ID]["properties"]["version"] == "3"
    assert "deprecated" not in items[ID]["properties"]
    assert linked_id(items[ID], "predecessor-version") == f"{ID}.v2"
    assert linked_id(items[f"{ID}.v2"], "predecessor-version") == f"{ID}.v1"
    for number in (1, 2):
        properties = items[f"{ID}.v{number}"]["properties"]
        assert (properties["version"], properties["deprecated"]) == (str(number), True)
        assert datetime.fromisoformat(properties["expires"]) == SOON
        for rel in ("successor-version", "latest-version"):
            assert linked_id(items[f"{ID}.v{number}"], rel) == ID


def test_links_of_versions_are_followed_by_other_software(world: World) -> None:
    for version in (1, 2):
        href = world.published(world.converted(version)).href
    current = pystac.Item.from_file(href)
    (before,) = current.get_links("predecessor-version")
    former = pystac.Item.from_file(str(before.get_absolute_href()))
    (after,) = former.get_links("latest-version")
    assert pystac.Item.from_file(str(after.get_absolute_href())).id == current.id == ID
    assert former.id == f"{ID}.v1"


def test_publishing_again_keeps_the_version(world: World) -> None:
    for version in (1, 2):
        world.published(world.converted(version))
    changed = described(product_of(world.items()[ID]))
    changed["properties"]["created"] = "2024-06-16T01:02:04Z"
    published = publish_version(changed, SPEC, world.catalogue, world.store, LATER)
    found = world.catalogue.read(published.href)
    assert differences(published.item, found) == ()
    assert found["properties"]["version"] == "2"
    assert found["properties"]["created"] == "2024-06-16T01:02:04Z"
    assert linked_id(found, "predecessor-version") == f"{ID}.v1"
    world.require_nothing_more(ID, f"{ID}.v1")


def test_superseded_versions_are_released_when_their_time_is_over(world: World) -> None:
    first, second, third = (world.converted(version) for version in (1, 2, 3))
    world.published(first)
    world.published(second, SOON)
    world.published(third, LATER + timedelta(days=1))
    assert world.released(SOON - timedelta(seconds=1)) == ()
    assert world.released() == (Released(f"{ID}.v1", ID, first),)
    world.require_nothing_more(ID, f"{ID}.v2")
    assert linked_id(world.items()[f"{ID}.v2"], "predecessor-version") is None
    assert world.released(LATER + timedelta(days=2)) == (Released(f"{ID}.v2", ID, second),)
    world.require_nothing_more(ID)
    assert linked_id(world.items()[ID], "predecessor-version") is None
    assert world.items()[ID]["properties"]["version"] == "3"
    assert world.store.find(world.shelf, SAFE) is not None
    fourth = world.converted(4)
    world.published(fourth)
    assert world.items()[ID]["properties"]["version"] == "4"
    world.require_nothing_more(ID, f"{ID}.v3")


def test_successor_links_past_a_version_that_goes_first(world: World) -> None:
    uris = [world.converted(version) for version in (1, 2, 3)]
    world.published(uris[0])
    world.published(uris[1], LATER + timedelta(days=1))
    world.published(uris[2], SOON)
    assert world.released() == (Released(f"{ID}.v2", ID, uris[1]),)
    world.require_nothing_more(ID, f"{ID}.v1")
    assert linked_id(world.items()[ID], "predecessor-version") == f"{ID}.v1"


def test_product_that_is_needed_again_is_not_released(world: World) -> None:
    """The item of the first product is published anew, when the second one proves a mistake."""
    first, second = (world.converted(version) for version in (1, 2))
    for uri in (first, second, first):
        world.published(uri)
    assert world.items()[ID]["properties"]["version"] == "3"
    assert world.released() == (Released(f"{ID}.v1", ID, None), Released(f"{ID}.v2", ID, second))
    world.require_nothing_more(ID)
    assert world.version_in(first) == 1


def test_released_product_is_not_published_again(world: World) -> None:
    first, second = (world.converted(version) for version in (1, 2))
    for uri in (first, second):
        world.published(uri)
    world.released()
    with pytest.raises(PermanentError, match=r"not there.*staged_safe_item"):
        world.published(first)
    world.require_nothing_more(ID)


def test_description_of_another_product_is_not_published(world: World) -> None:
    """Somebody removes the product meanwhile, and another one takes its place."""
    uri = world.converted(1)
    stored = world.store.provenance_of(uri)
    assert stored is not None
    world.store.remove_product(uri)
    assert world.converted(2) == uri

    def publish(digest: str) -> Published:
        return publish_version(
            described(uri), SPEC, world.catalogue, world.store, SOON, metadata_sha256=digest
        )

    with pytest.raises(PermanentError, match=r"another product stands.*stac_item again"):
        publish(stored.metadata_sha256)
    assert world.items() == {}
    publish(metadata_digest(world.store.open_product(uri)))
    world.require_nothing_more(ID)


def test_lost_product_is_not_kept_as_a_version(world: World) -> None:
    uri, lost = world.converted(1), world.converted(2)
    world.published(lost)
    world.store.remove_product(lost)
    assert world.published(uri).item == described(uri)
    world.require_nothing_more(ID)


@pytest.mark.parametrize(
    "changed",
    [
        {"deprecated": False},
        {"version": "2"},
        {"expires": "soon"},
        {"links": []},
        {"links": [{"rel": rel, "href": "./other"} for rel in ("successor-version", "latest-version")]},
    ],
)
def test_items_that_only_look_like_versions_are_no_versions(stac: World, changed: Mapping[str, Any]) -> None:
    world = stac
    for version in (1, 2):
        world.published(world.converted(version))
    lookalike = world.items()[f"{ID}.v1"]
    properties = {name: value for name, value in changed.items() if name != "links"}
    lookalike["properties"] |= properties
    lookalike["links"] = changed.get("links", lookalike["links"])
    world.catalogue.publish(lookalike, SPEC)
    assert world.released() == ()
    third = world.published(world.converted(3))
    assert {ID, f"{ID}.v1", f"{ID}.v2"} == set(world.items())
    assert third.item["properties"]["version"] == "3"


def test_version_id_that_an_ordinary_item_has_is_left_to_it(world: World) -> None:
    first, second = (world.converted(version) for version in (1, 2))
    ordinary = described(first, f"{ID}.v1")
    world.catalogue.publish(ordinary, SPEC)
    for uri in (first, second):
        world.published(uri)
    assert differences(ordinary, world.items()[f"{ID}.v1"]) == ()
    assert sorted(world.items()) == [ID, f"{ID}.v1", f"{ID}.v2"]
    assert world.items()[ID]["properties"]["version"] == "3"


def test_ordinary_item_does_not_take_the_place_of_a_version(world: World) -> None:
    for version in (1, 2):
        world.published(world.converted(version))
    before = world.items()
    other = world.converted(3)
    with pytest.raises((OrderError, PermanentError), match=r"earlier version|not of this item"):
        publish_version(described(other, f"{ID}.v1"), SPEC, world.catalogue, world.store, SOON)
    assert world.items() == before


def test_product_that_somebody_else_s_item_names_is_not_removed(stac: World) -> None:
    """Others may write to the catalogue: an expired item there must not lead us to remove what is ours."""
    uri, second = (stac.converted(version) for version in (1, 2))
    for one in (uri, second):
        stac.published(one)
    forged = stac.items()[f"{ID}.v1"]
    target = "S02MSIL1C_OTHER"
    links = [{**link, "href": link["href"].replace(ID, target)} for link in forged["links"]]
    stac.catalogue.publish({**forged, "id": f"{target}.v1", "links": links}, SPEC)
    stac.catalogue.remove(f"{ID}.v1", SPEC)
    assert stac.released() == (Released(f"{target}.v1", target, None),)
    assert stac.version_in(uri) == 1


def test_versions_of_every_owner_are_released(stac: World) -> None:
    """A STAC API lists a collection without its owner; the items say whose they are."""
    for version in (1, 2):
        stac.published(stac.converted(version))
    (listed,) = stac.catalogue.collections()
    assert listed.owner == ""
    assert len(release_superseded(stac.catalogue, stac.store, listed, LATER)) == 1
    stac.require_nothing_more(ID)


# --- orders that go to another collection ---------------------------------------------------------------


def path_of(found: Document, rel: str) -> str:
    (href,) = (str(link["href"]) for link in found["links"] if link["rel"] == rel)
    return urlsplit(href).path


def test_item_of_an_order_that_moved_stays_until_its_time_is_over(world: World) -> None:
    there = replace(world, collection=ELSEWHERE)
    first, former = world.converted(1), world.converted(2)
    world.published(first, SOON - timedelta(days=1))
    world.published(former, SOON - timedelta(days=1))
    second = there.converted(3)
    published = there.published(second)
    assert there.moved_from(former, published)
    assert not there.moved_from(former, published, LATER)
    moved, current = world.items()[ID], there.items()[ID]
    properties = moved["properties"]
    assert (properties["deprecated"], properties["version"]) == (True, "2")
    assert datetime.fromisoformat(properties["expires"]) == SOON
    for rel in ("successor-version", "latest-version"):
        assert path_of(moved, rel) == path_of(current, "self")
    assert differences(described(second) | {"collection": ELSEWHERE.id}, current) == ()
    for place, ids in ((world, (ID, f"{ID}.v1")), (there, (ID,))):
        assert place.released(SOON - timedelta(days=2)) == ()
        place.require_nothing_more(*ids)
    assert world.released() == (Released(f"{ID}.v1", ID, first), Released(ID, ID, former))
    assert there.released() == ()
    world.require_nothing_more()
    there.require_nothing_more(ID)
    assert there.version_in(second) == 3


def test_item_of_a_product_that_eopf_names_otherwise_by_now_stays_until_its_time_is_over(
    world: World,
) -> None:
    former, second = world.converted(1), world.converted(2, OTHERWISE)
    world.published(former)
    published = world.published(second, item_id=OTHERWISE)
    assert world.moved_from(former, published)
    assert not world.moved_from(second, published)
    items = world.items()
    assert path_of(items[ID], "successor-version") == path_of(items[OTHERWISE], "self")
    assert items[ID]["properties"]["deprecated"]
    assert "deprecated" not in items[OTHERWISE]["properties"]
    assert world.released(SOON - timedelta(days=1)) == ()
    world.require_nothing_more(ID, OTHERWISE)
    assert world.released() == (Released(ID, ID, former),)
    world.require_nothing_more(OTHERWISE)


def test_item_that_moved_goes_after_its_earlier_versions(world: World) -> None:
    there = replace(world, collection=ELSEWHERE)
    first, former = world.converted(1), world.converted(2)
    world.published(first)
    world.published(former, LATER + timedelta(days=1))
    there.moved_from(former, there.published(there.converted(3)), SOON)
    assert world.released() == ()
    world.require_nothing_more(ID, f"{ID}.v1")
    assert len(world.released(LATER + timedelta(days=2))) == 2
    world.require_nothing_more()


def test_order_that_moves_back_is_published_where_it_was(world: World) -> None:
    there = replace(world, collection=ELSEWHERE)
    first, second = world.converted(1), there.converted(2)
    world.published(first)
    there.moved_from(first, there.published(second))
    back = world.published(first)
    assert not {"deprecated", "expires"} & back.item["properties"].keys()
    assert world.moved_from(second, back)
    assert earlier_version(world.items()[ID]) is None
    assert there.released() == (Released(ID, ID, second),)
    assert world.released() == ()
    world.require_nothing_more(ID)
    there.require_nothing_more()


def test_product_of_an_item_that_moved_is_converted_and_published_there_again(world: World) -> None:
    there = replace(world, collection=ELSEWHERE)
    first, third = world.converted(1), world.converted(3)
    world.published(first)
    there.moved_from(first, there.published(there.converted(2)))
    world.published(third)
    world.require_nothing_more(ID, f"{ID}.v1")
    assert world.items()[ID]["properties"]["version"] == "2"
    assert linked_id(world.items()[f"{ID}.v1"], "latest-version") == ID
    assert world.released() == (Released(f"{ID}.v1", ID, first),)
    world.require_nothing_more(ID)


def test_item_that_is_not_the_order_s_own_does_not_give_way(world: World) -> None:
    there = replace(world, collection=ELSEWHERE)
    first, second = world.converted(1), world.converted(2)
    world.published(first)
    world.published(second)
    before, published = world.items(), there.published(there.converted(3))
    current = there.catalogue.read(published.href)
    for former in (first, "file:///nobody/knows.zarr", product_of(current)):
        assert not there.moved_from(former, published)
    of_another = CollectionSpec("another", ELSEWHERE.id, "")
    assert not supersede_moved(second, current, of_another, world.catalogue, world.store, SOON)
    assert not supersede_moved(
        second, current, ELSEWHERE, world.catalogue, world.store, SOON, is_wanted=lambda _: True
    )
    assert world.items() == before


# --- whatever step it is broken off at ------------------------------------------------------------------


def broken_everywhere(world: World, work: Callable[[], object]) -> Iterator[int]:
    """Break work off at each of its writes, as often as it takes to come through; yield after each time."""
    for writes in range(60):
        try:
            with world.broken(writes):
                work()
        except (OSError, ConversionAssetsError):
            yield writes
        else:
            return
    raise AssertionError("it never comes through")


def test_publication_that_is_broken_off_anywhere_is_completed(world: World) -> None:
    first, second = (world.converted(version) for version in (1, 2))
    world.published(first)
    broken = 0
    for _ in broken_everywhere(world, lambda: world.published(second)):
        broken += 1
        world.require_whole()
        assert product_of(world.items()[ID]) in (first, second)
    assert broken > 1
    world.published(second)
    world.require_nothing_more(ID, f"{ID}.v1")
    assert world.items()[ID]["properties"]["version"] == "2"


def test_move_that_is_broken_off_anywhere_is_completed(world: World) -> None:
    there = replace(world, collection=ELSEWHERE)
    first, second = world.converted(1), there.converted(2)
    world.published(first)
    broken = 0
    for _ in broken_everywhere(world, lambda: there.moved_from(first, there.published(second))):
        broken += 1
        world.require_nothing_more(ID)
        there.require_whole()
    assert broken > 1
    assert world.released(SOON) == ()
    broken = 0
    for _ in broken_everywhere(world, world.released):
        broken += 1
        world.require_whole()
    assert broken > 1
    assert world.items() == {}
    there.require_nothing_more(ID)


def test_release_of_a_publication_that_was_never_completed_keeps_the_product(world: World) -> None:
    first = world.converted(1)
    current = world.catalogue.read(world.published(first).href)
    world.catalogue.publish(superseded(current, 1, self_href(current), SOON), SPEC)
    assert world.released() == (Released(f"{ID}.v1", ID, None),)
    assert sorted(world.items()) == [ID]
    world.require_whole()


def test_release_that_is_broken_off_anywhere_leads_nowhere_astray(world: World) -> None:
    uris = [world.converted(version) for version in (1, 2, 3)]
    for uri in uris:
        world.published(uri)
    broken = 0
    for _ in broken_everywhere(world, world.released):
        broken += 1
        world.require_whole()
        assert product_of(world.items()[ID]) == uris[2]
    assert broken > 1
    assert sorted(world.items()) == [ID]
    world.require_whole()
    for left in world.store.products(world.shelf):  # without an item: to be removed by the reconciliation
        if left.uri != uris[2]:
            world.store.remove_product(left.uri)
    world.require_nothing_more(ID)


# --- a reader all the while -----------------------------------------------------------------------------


@dataclass
class Reader:
    """Follows the item to its product and reads all chunks, again and again.

    Attributes:
        href: of the item.
        read: the versions it read, in order.
        faults: what went wrong.
    """

    world: World
    href: str
    read: list[int] = field(default_factory=list)
    faults: list[BaseException] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)
    progress: threading.Condition = field(default_factory=threading.Condition)

    def run(self) -> None:
        while not self.done.is_set() and not self.faults:
            try:
                found = pystac.Item.from_file(self.href)
                version = self.world.version_in(str(found.assets["product"].get_absolute_href()))
            except Exception as error:  # noqa: BLE001 - each is a finding
                self.faults.append(error)
                version = 0
            with self.progress:
                self.read.append(version)
                self.progress.notify_all()

    def finishes(self) -> None:
        """Wait until whatever it began before this call is read."""
        with self.progress:
            wanted = len(self.read) + 2
            assert self.progress.wait_for(lambda: len(self.read) >= wanted or bool(self.faults), 120)


@pytest.mark.parametrize("world", ["files", "stac"], indirect=True)
def test_reader_finds_whole_products_while_versions_come_and_go(world: World) -> None:
    reader = Reader(world, world.published(world.converted(1)).href)
    thread = threading.Thread(target=reader.run)
    thread.start()
    try:
        for version in range(2, 6):
            uri = world.converted(version)
            world.published(uri)
            reader.finishes()
            if version % 2:
                assert len(world.released()) == 2
            reader.finishes()
    finally:
        reader.done.set()
        thread.join()
    assert reader.faults == []
    assert reader.read == sorted(reader.read)
    assert reader.read[-1] == 5
    world.require_nothing_more(ID)
