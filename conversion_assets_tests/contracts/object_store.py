"""What every object store must do, wherever it keeps the products; and what one on S3 must do besides."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config

from conversion_assets.errors import OrderError, PermanentError, TransientError
from conversion_assets.provenance import Provenance
from conversion_assets.resources.object_store import ObjectStore, Shelf
from conversion_assets.resources.s3_object_store import S3ObjectStore
from conversion_assets.resources.s3_storage import S3Storage
from conversion_assets.storage.access import S3Access
from conversion_assets.storage.transfer import PART_BYTES
from conversion_assets.zarr.conversion import Workspace
from conversion_assets.zarr.product_folder import ProductFolder, local_product, metadata_digest
from conversion_assets_tests.resources.tcp_proxy import Proxy, relaying

NAME = "S02MSIL1C_20240615T102559_0000_B108_T000"
SAFE = "S2A_MSIL1C_20240615T102601_N0510_R108_T31TGL_20240615T124303.SAFE"
OTHER = SAFE.replace("S2A", "S2B")
KEY = "order-1_a.b"
HOSTILE_KEYS = ("../x", "../../x", "..", "", "/etc", "a/b", "a/../../b", "a\0b", "a\n", ".hidden", "a...b")
SAFE_FILES = {"manifest.safe": b"<xml/>", "GRANULE/a b+c%20é#?.jp2": b"\0" * 5000, "empty.dat": b""}
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["conversion_assets.resources.s3_object_store"])

Contents = Mapping[str, bytes]
Written = Callable[[Workspace, Contents], ProductFolder]


def contents(version: str, *more: str) -> dict[str, bytes]:
    """Give the objects of a product; all but some of the data differ from version to version."""
    return {
        ".zmetadata": f'{{"content": "{version}"}}'.encode(),
        ".zgroup": b"{}",
        "measurements/.zgroup": b"{}",
        "measurements/B02/.zarray": f'["{version}"]'.encode(),
        "measurements/B02/0.0": version.encode() * 100,
        "measurements/B02/0.1": b"",
        **{f"measurements/{name}": b"more" for name in more},
    }


@dataclass(frozen=True)
class Bench:
    """An object store on the test bench, and what the tests must see of it from outside.

    Attributes:
        store: what is tested.
        uri: of the bucket, as products have it.
        above: where the owners' folders begin in it: empty, or a path that ends with a slash.
        read: reads everything in the bucket, by path.
        write: writes an object there by path, or removes it.
        bucket: name of the bucket.
    """

    store: ObjectStore
    uri: str
    above: str
    read: Callable[[], dict[str, bytes]]
    write: Callable[[str, bytes | None], None]
    bucket: str

    @property
    def shelf(self) -> Shelf:
        return Shelf(bucket=self.bucket, owner="someone", collection="sentinel-2-l1c")

    def path(self, uri: str) -> str:
        """Give the path in the bucket of something that has a URI."""
        assert uri.startswith(f"{self.uri}/")
        return uri.removeprefix(f"{self.uri}/")

    def at(self, uri: str) -> dict[str, bytes]:
        """Read everything below a URI."""
        start = f"{self.path(uri)}/"
        return {
            name.removeprefix(start): data for name, data in self.read().items() if name.startswith(start)
        }

    def notes(self, kind: str) -> list[str]:
        """Give the paths of the notes on provenance."""
        return [path for path in self.read() if ".provenance/" in path and f"/{kind}/" in path]

    def written_here(self, workspace: Workspace, product: Contents) -> ProductFolder:
        """Write a product as a converter of this machine does."""
        folder = workspace.local_output() / f"{NAME}.zarr"
        write_files(folder, product)
        return workspace.open_product(folder.as_uri())

    def written_elsewhere(self, workspace: Workspace, product: Contents) -> ProductFolder:
        """Write a product as a service does that names it otherwise."""
        uri = f"{workspace.shared_output()}/{SAFE}.zarr"
        for name, data in product.items():
            self.write(f"{self.path(uri)}/{name}", data)
        return workspace.open_product(uri)

    def promoted(
        self, version: str, safe: str = SAFE, *, written: Written | None = None, shelf: Shelf | None = None
    ) -> tuple[str, Provenance]:
        """Convert and promote a product; its provenance is given as the store keeps it."""
        where = shelf or self.shelf
        workspace = self.store.workspace(where, KEY, Path(self.store.root) / safe)
        product = (written or self.written_here)(workspace, contents(version))
        known = provenance(product, safe)
        uri = self.store.promote(product, where, known)
        place = uri.rpartition("/")[2].removesuffix(".zarr")
        return uri, known.model_copy(update={"stored_as": None if place == NAME else place})


def provenance(product: ProductFolder, safe: str = SAFE) -> Provenance:
    return Provenance(
        name=NAME,
        safe_name=safe,
        fingerprint="f" * 64,
        eopf_version="2.8.1",
        converted=datetime(2026, 1, 1, tzinfo=UTC),
        created=datetime(2025, 1, 1, tzinfo=UTC),
        metadata_sha256=metadata_digest(product),
    )


def write_files(folder: Path, files: Contents) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(params=["here", "elsewhere"])
def written(request: pytest.FixtureRequest, bench: Bench) -> Written:
    return bench.written_here if request.param == "here" else bench.written_elsewhere


class ObjectStoreContract:
    """Tests of any object store; a subclass brings it as the fixture ``bench``."""

    def test_promoted_product_is_found_again(self, bench: Bench, written: Written) -> None:
        assert bench.store.find(bench.shelf, SAFE) is None
        uri, known = bench.promoted("1", written=written)
        assert uri == f"{bench.uri}/{bench.above}someone/sentinel-2-l1c/{NAME}.zarr"
        assert bench.at(uri) == contents("1")
        assert bench.store.find(bench.shelf, SAFE) == (uri, known)
        assert bench.store.find(bench.shelf, OTHER) is None
        product = bench.store.open_product(uri)
        assert (product.uri, product.name) == (uri, f"{NAME}.zarr")
        assert {path: product.read(path) for path in product.objects()} == contents("1")

    def test_next_conversions_stand_beside_the_former_ones(self, bench: Bench, written: Written) -> None:
        first, _ = bench.promoted("1", written=written)
        bench.write(f"{bench.path(first)}/measurements/B99/0.0", b"stranger")
        bench.write(f"{bench.path(first)}x/.zmetadata", b"another product, whose name only begins alike")
        before = bench.at(first)
        second, _ = bench.promoted("22", written=written)
        third, known = bench.promoted("333", written=written)
        assert [second, third] == [f"{first.removesuffix('.zarr')}.v{number}.zarr" for number in (2, 3)]
        assert bench.at(first) == before
        assert bench.at(second) == contents("22")
        assert bench.at(third) == contents("333")
        assert bench.store.find(bench.shelf, SAFE) == (third, known)
        assert list(bench.at(f"{first}x")) == [".zmetadata"]

    def test_name_is_not_given_again_while_a_later_conversion_stands(self, bench: Bench) -> None:
        first, _ = bench.promoted("1")
        second, known = bench.promoted("2")
        bench.store.remove_product(first)
        assert bench.at(first) == {}
        assert bench.store.find(bench.shelf, SAFE) == (second, known)
        with pytest.raises(OrderError, match=rf"taken .* {SAFE}"):
            bench.promoted("x", OTHER)
        third, _ = bench.promoted("3")
        assert third == second.replace(".v2.", ".v3.")

    def test_what_is_left_of_a_product_is_taken_over(self, bench: Bench, written: Written) -> None:
        first, _ = bench.promoted("1")
        bench.write(f"{bench.path(first).removesuffix('.zarr')}.v2.zarr/measurements/B99/0.0", b"left")
        uri, known = bench.promoted("2", written=written)
        assert bench.at(uri) == contents("2")
        assert bench.store.find(bench.shelf, SAFE) == (uri, known)
        assert len(list(bench.store.products(bench.shelf))) == 2

    def test_removed_product_is_gone_and_the_former_is_the_latest_again(self, bench: Bench) -> None:
        first, former = bench.promoted("1")
        second, _ = bench.promoted("2")
        third, _ = bench.promoted("3")
        for uri in (third, second):
            bench.store.remove_product(uri)
            bench.store.remove_product(uri)
            assert bench.at(uri) == {}
        assert bench.at(first) == contents("1")
        assert bench.store.find(bench.shelf, SAFE) == (first, former)
        bench.store.remove_product(first)
        assert bench.store.find(bench.shelf, SAFE) is None
        assert bench.read() == {}
        uri, known = bench.promoted("4", OTHER)
        assert uri == first
        assert bench.store.find(bench.shelf, OTHER) == (uri, known)

    def test_products_are_listed_with_what_is_left_of_such(self, bench: Bench) -> None:
        assert list(bench.store.products(bench.shelf)) == []
        since = datetime.now(UTC) - timedelta(seconds=5)
        uris = [bench.promoted(str(number))[0] for number in range(2)]
        bench.write(f"{bench.path(uris[0])}x/.zmetadata", b"of no product")
        for name in (".zmetadata", ".zgroup"):
            bench.write(f"{bench.path(uris[0])}/{name}", None)
        listed = sorted(bench.store.products(bench.shelf), key=lambda product: product.name, reverse=True)
        assert [(one.uri, one.is_complete) for one in listed] == [(uris[0], False), (uris[1], True)]
        assert [one.name for one in listed] == [f"{NAME}.zarr", f"{NAME}.v2.zarr"]
        assert all(since <= one.changed <= datetime.now(UTC) + timedelta(seconds=5) for one in listed)

    def test_shelves_are_listed(self, bench: Bench) -> None:
        assert list(bench.store.shelves([bench.bucket])) == []
        shelves = [bench.shelf, bench.shelf.model_copy(update={"owner": "another", "collection": "c"})]
        for shelf in shelves:
            bench.promoted("1", shelf=shelf)
        assert sorted(bench.store.shelves([bench.bucket]), key=lambda shelf: shelf.owner) == shelves[::-1]
        assert list(bench.store.shelves(["missing-bucket"])) == []
        assert bench.store.shelf_at(bench.promoted("1")[0]) == bench.shelf

    @pytest.mark.parametrize(
        "uri",
        [
            *(
                "",
                "/etc",
                "file:///etc/passwd",
                "s3://bucket/x",
                "{root}",
                "{product}/",
                "{product}/measurements",
            ),
            *(
                "{shelf}",
                "{shelf}/",
                "{shelf}/x",
                "{shelf}/.zarr",
                "{shelf}/.provenance",
                "{shelf}/../x.zarr",
            ),
            *("{product}/../../x/y.zarr", "{product}/%2e%2e/x.zarr", "{product}?x=1", "{product}#x"),
            *("{product}/.", "{uri}/.provenance/someone/x.zarr", "{uri}/../x/y/z/w.zarr"),
        ],
    )
    def test_nothing_but_products_of_the_store_is_removed(self, bench: Bench, uri: str) -> None:
        product, _ = bench.promoted("1")
        before = bench.read()
        shelf = product.rpartition("/")[0]
        hostile = uri.format(product=product, shelf=shelf, uri=bench.uri, root=bench.store.root)
        for use in (bench.store.remove_product, bench.store.shelf_at):
            with pytest.raises(PermanentError):
                use(hostile)
        assert bench.read() == before

    def test_discarded_work_leaves_the_products(self, bench: Bench, written: Written, tmp_path: Path) -> None:
        safe = write_files(tmp_path / SAFE, SAFE_FILES)
        uri, known = bench.promoted("1", written=written)
        before = bench.read()
        workspace = bench.store.workspace(bench.shelf, KEY, safe)
        workspace.shared_safe(lambda _: None)
        product = written(workspace, contents("2"))
        (bench.store.scratch_folder(KEY) / "left").write_text("x")
        bench.store.discard_work(bench.shelf, KEY)
        with pytest.raises(FileNotFoundError):
            workspace.open_product(product.uri).objects()
        after = bench.read()
        assert {path: after[path] for path in after if ".converting-" not in path} == {
            path: before[path] for path in before if ".converting-" not in path
        }
        assert not [path for path in after if ".converting-" in path or ".SAFE/" in path]
        assert bench.store.find(bench.shelf, SAFE) == (uri, known)
        assert not list(Path(bench.store.root).rglob("left"))
        assert (safe / "manifest.safe").exists()
        bench.store.discard_work(bench.shelf, KEY)

    def test_workspace_is_empty_unless_it_is_kept(self, bench: Bench, written: Written) -> None:
        workspace = bench.store.workspace(bench.shelf, KEY, Path(SAFE))
        product = written(workspace, contents("1"))
        kept = bench.store.workspace(bench.shelf, KEY, Path(SAFE), keep=True)
        assert len(kept.open_product(product.uri).objects()) == len(contents("1"))
        emptied = bench.store.workspace(bench.shelf, KEY, Path(SAFE))
        with pytest.raises(FileNotFoundError):
            emptied.open_product(product.uri).objects()

    def test_workspaces_of_orders_are_apart(self, bench: Bench, written: Written) -> None:
        product = written(bench.store.workspace(bench.shelf, f"{KEY}x", Path(SAFE)), contents("1"))
        bench.store.workspace(bench.shelf, KEY, Path(SAFE))
        bench.store.discard_work(bench.shelf, KEY)
        known = provenance(product)
        assert bench.at(bench.store.promote(product, bench.shelf, known)) == contents("1")

    def test_product_that_was_changed_is_not_taken_for_the_known_one(self, bench: Bench) -> None:
        uri, _ = bench.promoted("1")
        bench.write(f"{bench.path(uri)}/.zmetadata", b"{}")
        assert bench.store.find(bench.shelf, SAFE) is None
        bench.write(f"{bench.path(uri)}/.zmetadata", None)
        assert bench.store.find(bench.shelf, SAFE) is None

    def test_name_that_another_safe_took_is_refused(self, bench: Bench) -> None:
        uri, known = bench.promoted("1")
        with pytest.raises(OrderError, match=rf"taken in someone/sentinel-2-l1c by .* {SAFE}.*--collection"):
            bench.promoted("2", OTHER)
        assert bench.at(uri) == contents("1")
        assert bench.store.find(bench.shelf, SAFE) == (uri, known)

    @pytest.mark.parametrize("damage", [None, b'{"name": "of another version"}', b"\xff"])
    def test_product_of_unreadable_provenance_is_converted_again(
        self, bench: Bench, damage: bytes | None
    ) -> None:
        bench.promoted("1")
        (note,) = bench.notes("products")
        bench.write(note, damage)
        assert bench.store.find(bench.shelf, SAFE) is None
        with pytest.raises(OrderError, match=rf"taken .* {SAFE}"):
            bench.promoted("2", OTHER)
        uri, known = bench.promoted("3")
        assert bench.store.find(bench.shelf, SAFE) == (uri, known)

    def test_shelves_are_apart(self, bench: Bench) -> None:
        shelves = [
            bench.shelf,
            bench.shelf.model_copy(update={"owner": "someone-else"}),
            bench.shelf.model_copy(update={"collection": "another"}),
        ]
        for number, shelf in enumerate(shelves):
            assert bench.store.find(shelf, SAFE) is None
            bench.promoted(str(number), shelf=shelf)
        for number, shelf in enumerate(shelves):
            found = bench.store.find(shelf, SAFE)
            assert found
            assert bench.at(found[0]) == contents(str(number))

    def test_others_can_read_the_safe(self, bench: Bench, tmp_path: Path) -> None:
        safe = write_files(tmp_path / SAFE, SAFE_FILES)
        told: list[str] = []
        workspace = bench.store.workspace(bench.shelf, KEY, safe)
        uri = workspace.shared_safe(told.append)
        assert uri == workspace.shared_safe(told.append)
        assert uri.endswith(f"/{SAFE}")
        here = uri == safe.as_uri()
        found = SAFE_FILES if here else bench.at(uri)
        assert found == SAFE_FILES
        assert here != bool(told)

    @pytest.mark.parametrize("key", HOSTILE_KEYS)
    def test_no_key_leads_astray(self, bench: Bench, key: str) -> None:
        bystander = Path(bench.store.root).parent / "x"
        bystander.mkdir()
        before = bench.read()
        store, shelf = bench.store, bench.shelf
        for use in (
            store.staging_folder,
            store.scratch_folder,
            store.release,
            lambda key: store.workspace(shelf, key, Path(SAFE)),
            lambda key: store.discard_work(shelf, key),
            lambda key: store.turn(key).__enter__(),
        ):
            with pytest.raises(OrderError, match="an id has"):
                use(key)
        assert bystander.exists()
        assert bench.read() == before

    @pytest.mark.parametrize(
        "uri",
        [
            *("file:///etc/passwd", "s3://bucket/x", "{root}/x", "", "/etc"),
            *("{uri}/../../../../x", "{uri}/%2e%2e/%2e%2e/%2e%2e/%2e%2e/x"),
        ],
    )
    def test_only_products_of_the_store_are_read(self, bench: Bench, uri: str) -> None:
        with pytest.raises(PermanentError, match=r"not below|not an s3|no folder"):
            bench.store.open_product(uri.format(uri=bench.uri, root=bench.store.root))

    def test_release_keeps_products_and_other_orders(self, bench: Bench) -> None:
        uri, _ = bench.promoted("1")
        for key in (KEY, "other"):
            bench.store.staging_folder(key).mkdir(parents=True)
            (bench.store.staging_folder(key) / "X.zip").write_text("x")
            (bench.store.scratch_folder(key) / "tmp").write_text("x")
        bench.store.release(KEY)
        assert not bench.store.staging_folder(KEY).exists()
        assert (bench.store.staging_folder("other") / "X.zip").exists()
        assert bench.at(uri) == contents("1")
        bench.store.release(KEY)


@dataclass(frozen=True)
class S3Bench(Bench):
    """An object store on S3.

    Attributes:
        endpoint: of the service.
        is_writable: takes away the right to write to the bucket, or gives it back.
    """

    endpoint: str = ""
    is_writable: Callable[[bool], None] = lambda _: None

    def at_endpoint(self, endpoint: str, **changed: Any) -> S3ObjectStore:  # noqa: ANN401 - any field
        """Give the same store through another address."""
        assert isinstance(self.store, S3ObjectStore)
        storage = S3Storage(**{**dict(self.store.storage), "endpoint_url": endpoint, **changed})
        return S3ObjectStore(root=self.store.root, prefix=self.store.prefix, storage=storage)

    @property
    def product(self) -> str:
        return f"/{self.bucket}/{self.above}someone/sentinel-2-l1c/{NAME}.zarr/"


@cache
def _client(access: S3Access) -> Any:  # noqa: ANN401 - boto3 ships no types
    return boto3.client(
        "s3",
        endpoint_url=access.endpoint_url,
        aws_access_key_id=access.key,
        aws_secret_access_key=access.secret,
        region_name=access.region,
        config=Config(s3={"addressing_style": "path"}),
    )


def s3_bench(storage: S3Storage, root: Path) -> S3Bench:
    """Make a bucket of its own and a store in it."""
    client = _client(storage.access())
    bucket = f"bucket-{uuid4()}"
    client.create_bucket(Bucket=bucket)

    def read() -> dict[str, bytes]:
        listed = client.list_objects_v2(Bucket=bucket).get("Contents", [])
        return {
            entry["Key"]: client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            for entry in listed
        }

    def write(path: str, data: bytes | None) -> None:
        if data is None:
            client.delete_object(Bucket=bucket, Key=path)
        else:
            client.put_object(Bucket=bucket, Key=path, Body=data)

    def is_writable(allowed: bool) -> None:
        statement = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": ["s3:PutObject"],
            "Resource": [f"arn:aws:s3:::{bucket}/*"],
        }
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        if allowed:
            client.delete_bucket_policy(Bucket=bucket)
        else:
            client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))

    return S3Bench(
        store=S3ObjectStore(root=str(root), storage=storage, prefix="/a/prefix/"),
        uri=f"s3://{bucket}",
        above="a/prefix/",
        read=read,
        write=write,
        bucket=bucket,
        endpoint=storage.endpoint_url or "",
        is_writable=is_writable,
    )


@pytest.fixture
def proxy(bench: S3Bench) -> Iterator[Proxy]:
    with relaying(bench.endpoint) as proxy:
        yield proxy


def _promote(store: S3ObjectStore, shelf: Shelf, folder: Path) -> None:
    product = local_product(folder)
    store.promote(product, shelf, provenance(product))


def _promote_there(storage: dict[str, Any], root: str, shelf: dict[str, str], folder: Path) -> None:
    store = S3ObjectStore(root=root, prefix="/a/prefix/", storage=S3Storage(**storage))
    _promote(store, Shelf(**shelf), folder)


class S3ObjectStoreContract(ObjectStoreContract):
    """Tests of the object store on S3; a subclass brings it as the fixture ``bench``, an ``S3Bench``."""

    def test_root_metadata_are_written_last(self, bench: S3Bench, written: Written, proxy: Proxy) -> None:
        bench.write(f"{bench.above}someone/sentinel-2-l1c/{NAME}.zarr/stranger", b"x")
        store = bench.at_endpoint(proxy.url)
        workspace = bench.store.workspace(bench.shelf, KEY, Path(SAFE))
        product = written(workspace, contents("2", "B03/0.0", "B04/0.0"))
        store.promote(product, bench.shelf, provenance(product))
        changes = [request for request in proxy.requests if request.startswith(("PUT", "POST"))]
        names = [line.partition(bench.product)[2] for line in changes if bench.product in line]
        is_metadata = [name.rpartition("/")[2].startswith(".z") for name in names]
        assert sorted(names) == sorted(contents("2", "B03/0.0", "B04/0.0"))
        assert is_metadata == sorted(is_metadata)
        assert names[-1] == ".zmetadata"
        root = changes.index(f"PUT {bench.product}.zmetadata")
        (deletion,) = (i for i, line in enumerate(changes) if line.startswith("POST") and "delete" in line)
        (noted,) = (i for i, line in enumerate(changes) if f"products/{NAME}.json" in line)
        assert noted < root < deletion

    def test_removal_that_breaks_off_leaves_nothing_that_opens(self, bench: S3Bench, proxy: Proxy) -> None:
        uri, _ = bench.promoted("1")
        store = bench.at_endpoint(proxy.url, max_attempts=1)
        veiled = []

        def after_the_root_metadata(line: str) -> bool:
            veiled.append(line) if line.startswith("POST") else None
            return len(veiled) > 1

        proxy.cut(after_the_root_metadata, times=1000)
        with pytest.raises(TransientError):
            store.remove_product(uri)
        assert not {".zmetadata", ".zgroup"} & bench.at(uri).keys()
        assert [one.is_complete for one in bench.store.products(bench.shelf)] == [False]
        assert bench.store.find(bench.shelf, SAFE) is None
        bench.store.remove_product(uri)
        assert list(bench.store.products(bench.shelf)) == []

    @pytest.mark.parametrize("former", [None, "1"])
    def test_promotion_that_was_killed_is_completed_by_repeating(
        self, bench: S3Bench, proxy: Proxy, tmp_path: Path, former: str | None
    ) -> None:
        known = bench.promoted(former) if former else None
        folder = write_files(tmp_path / f"{NAME}.zarr", contents("2", "B03/0.0"))
        uri = f"{bench.uri}/{bench.above}someone/sentinel-2-l1c/{NAME}{'.v2' if former else ''}.zarr"
        path = f"/{bench.bucket}/{bench.path(uri)}"
        stalled = proxy.stall(lambda line: line.startswith(f"PUT {path}/measurements/.z"))
        store = bench.at_endpoint(proxy.url)
        values = (dict(store.storage), store.root, dict(bench.shelf), folder)
        other = PROCESSES.Process(target=_promote_there, args=values)
        other.start()
        assert stalled.wait(60)
        assert other.pid is not None
        os.kill(other.pid, signal.SIGKILL)
        other.join(60)
        assert bench.store.find(bench.shelf, SAFE) == known
        assert ".zmetadata" not in bench.at(uri)
        product = local_product(folder)
        with pytest.raises(OrderError, match="taken"):
            bench.store.promote(product, bench.shelf, provenance(product, OTHER))
        assert bench.store.promote(product, bench.shelf, provenance(product)) == uri
        assert bench.at(uri) == contents("2", "B03/0.0")
        found = bench.store.find(bench.shelf, SAFE)
        assert found
        assert found[0] == uri

    def test_complete_copy_of_the_safe_is_not_sent_again(
        self, bench: S3Bench, proxy: Proxy, tmp_path: Path
    ) -> None:
        large = {**SAFE_FILES, "measurement/large.tiff": os.urandom(2 * PART_BYTES + 1)}
        safe = write_files(tmp_path / SAFE, large)
        uri = bench.store.workspace(bench.shelf, KEY, safe).shared_safe(lambda _: None)
        assert bench.at(uri) == large
        bench.write(f"{bench.path(uri)}/manifest.safe", b"<x")
        bench.write(f"{bench.path(uri)}/stranger", b"x")
        store = bench.at_endpoint(proxy.url)
        assert store.workspace(bench.shelf, KEY, safe, keep=True).shared_safe(lambda _: None) == uri
        sent = [line.rpartition("/")[2] for line in proxy.requests if line.startswith("PUT")]
        assert sent == ["manifest.safe"]
        assert bench.at(uri) == large

    def test_lost_connections_are_made_up_for(self, bench: S3Bench, proxy: Proxy, tmp_path: Path) -> None:
        proxy.cut(lambda line: line.startswith("PUT"), times=2)
        folder = write_files(tmp_path / f"{NAME}.zarr", contents("1"))
        _promote(bench.at_endpoint(proxy.url, max_attempts=3), bench.shelf, folder)
        assert proxy.cuts == 2
        found = bench.store.find(bench.shelf, SAFE)
        assert found
        assert bench.at(found[0]) == contents("1")

    def test_service_out_of_reach_is_transient(self, bench: S3Bench, proxy: Proxy, tmp_path: Path) -> None:
        proxy.cut(lambda line: line.startswith(f"PUT {bench.product}"), times=1000)
        folder = write_files(tmp_path / f"{NAME}.zarr", contents("1"))
        with pytest.raises(TransientError, match="cannot be reached"):
            _promote(bench.at_endpoint(proxy.url, max_attempts=1), bench.shelf, folder)
        assert bench.store.find(bench.shelf, SAFE) is None
        store = bench.at_endpoint("http://127.0.0.1:1", max_attempts=1)
        for use in (store.workspace, lambda *_: store.find(bench.shelf, SAFE)):
            with pytest.raises(TransientError, match="cannot be reached"):
                use(bench.shelf, KEY, Path(SAFE))
        store.discard_workspace(bench.shelf, KEY)

    def test_missing_bucket_is_told_or_made(self, bench: S3Bench) -> None:
        shelf = bench.shelf.model_copy(update={"bucket": f"another-{uuid4()}"})
        assert bench.store.find(shelf, SAFE) is None
        with pytest.raises(PermanentError, match=f"no bucket {shelf.bucket}.*CREATE_BUCKETS"):
            bench.store.workspace(shelf, KEY, Path(SAFE))
        assert isinstance(bench.store, S3ObjectStore)
        making = bench.store.model_copy(update={"create_buckets": True})
        for _ in range(2):
            making.workspace(shelf, KEY, Path(SAFE))
        bench.promoted("1", shelf=shelf)
        assert bench.store.find(shelf, SAFE)

    def test_bucket_without_right_to_write_is_told(self, bench: S3Bench, tmp_path: Path) -> None:
        bench.promoted("1")
        folder = write_files(tmp_path / f"{NAME}.zarr", contents("2"))
        bench.is_writable(False)
        try:
            with pytest.raises(PermanentError, match=f"not permit it in bucket {bench.bucket}.*rights"):
                _promote(bench.at_endpoint(bench.endpoint), bench.shelf, folder)
        finally:
            bench.is_writable(True)
        assert bench.store.find(bench.shelf, SAFE)

    @pytest.mark.parametrize("bucket", ["", "x", "a b", "a/b", "..", "?", "A" * 80])
    def test_impossible_bucket_is_refused(self, bench: S3Bench, bucket: str) -> None:
        with pytest.raises(PermanentError, match="no name of a bucket"):
            bench.store.find(bench.shelf.model_copy(update={"bucket": bucket}), SAFE)

    def test_prefixes_that_lead_astray_are_refused(self, bench: S3Bench) -> None:
        assert isinstance(bench.store, S3ObjectStore)
        before = bench.read()
        for changed in (
            {"prefix": "a/../.."},
            {"prefix": ".."},
            {"staging_prefix": ""},
            {"staging_prefix": ".."},
        ):
            store = bench.store.model_copy(update=changed)
            for use in (store.workspace, lambda *_: store.discard_workspace(bench.shelf, KEY)):  # noqa: B023 - used at once
                with pytest.raises(PermanentError, match="no folder"):
                    use(bench.shelf, KEY, Path(SAFE))
        assert bench.read() == before

    def test_no_secret_is_shown(self, bench: S3Bench) -> None:
        store = bench.at_endpoint(
            "http://127.0.0.1:1",
            aws_access_key_id="canary-key",
            aws_secret_access_key="canary-secret",  # noqa: S106 - that it is not shown is what is tested
            aws_session_token="canary-token",  # noqa: S106 - the same
            max_attempts=1,
        )
        with pytest.raises(TransientError) as caught:
            store.workspace(bench.shelf, KEY, Path(SAFE))
        shown = [caught.value, store, store.storage, store.storage.access(), store._filesystem]
        assert "canary" not in "".join(f"{one} {one!r}" for one in shown)
