from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import UnsupportedOperation
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from conversion_assets.errors import PermanentError, TransientError
from conversion_assets.storage.s3_files import S3Files
from conversion_assets.zarr.product_folder import (
    ProductFolder,
    local_product,
    metadata_digest,
    stored_product,
)
from conversion_assets.zarr.quicklook import quicklook
from conversion_assets.zarr.summary import summarize
from conversion_assets.zarr.verification import check_completeness, check_opens
from conversion_assets_tests.conftest import Opened

from .handmade import NAME, band, make_zarr, ramp

zarr: Any = pytest.importorskip("zarr")

B02 = "measurements/reflectance/r10m/b02"
SECRET = "canary-of-the-object-store"  # noqa: S105 - it is to be found nowhere


@pytest.fixture
def product(tmp_path: Path) -> Path:
    return make_zarr(tmp_path, [band(B02, ramp()), band("conditions/angle", ramp(4, 4), separator="/")])


def files_of(product: Path) -> dict[str, int]:
    return {
        path.relative_to(product).as_posix(): path.stat().st_size
        for path in product.rglob("*")
        if path.is_file()
    }


def place_of(product: ProductFolder) -> str:
    return product.uri.removeprefix("s3://")


def test_every_object_is_listed_with_its_bytes(product: Path, opened: Opened) -> None:
    assert opened(product).objects() == files_of(product)


def test_a_listing_is_kept(product: Path) -> None:
    folder = local_product(product)
    before = dict(folder.objects())
    (product / "stray").touch()
    assert folder.objects() == before
    assert "stray" in local_product(product).objects()


def test_links_have_no_size_and_are_not_followed(product: Path, tmp_path: Path) -> None:
    (product / "outside").symlink_to(tmp_path)
    (product / "inside").symlink_to(product / ".zgroup")
    objects = local_product(product).objects()
    assert objects["outside"] is None
    assert objects["inside"] is None
    assert not any(path.startswith("outside/") for path in objects)


def test_marks_of_folders_and_neighbours_do_not_belong_to_a_product(
    product: Path,
    in_bucket: Opened,
    s3: Any,  # noqa: ANN401 - boto3 ships no types
) -> None:
    stored = in_bucket(product)
    bucket, _, prefix = place_of(stored).partition("/")
    for key in (f"{prefix}/", f"{prefix}/measurements/", f"{prefix}2/.zgroup"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    assert stored.objects() == files_of(product)


def test_more_objects_than_one_answer_lists_are_found(
    product: Path, in_bucket: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = in_bucket(product)
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "5")
    assert stored.objects() == files_of(product)


def test_objects_are_read(product: Path, opened: Opened) -> None:
    folder = opened(product)
    assert folder.read(f"{B02}/1.1") == (product / B02 / "1.1").read_bytes()
    assert folder.read_many([".zgroup", "nothing"]) == {
        ".zgroup": (product / ".zgroup").read_bytes(),
        "nothing": None,
    }


def test_what_is_not_there_is_not_found(product: Path, opened: Opened, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"{NAME}.zarr/nothing"):
        opened(product).read("nothing")
    nowhere = opened(tmp_path / "nothing.zarr")
    with pytest.raises(FileNotFoundError, match=r"nothing\.zarr"):
        nowhere.objects()
    with pytest.raises(FileNotFoundError, match=r"nothing\.zarr"):
        metadata_digest(nowhere)


def test_names_and_places(product: Path, in_bucket: Opened, s3_endpoint: str) -> None:
    local, stored = local_product(product), in_bucket(product)
    assert local.name == stored.name == f"{NAME}.zarr"
    assert (local.uri, local.path, dict(local.storage_options)) == (product.as_uri(), product, {})
    assert str(local) == str(product)
    assert str(stored) == stored.uri
    assert stored.uri.startswith("s3://products/")
    assert stored.path is None
    assert stored.storage_options == {"endpoint_url": s3_endpoint}


@pytest.mark.parametrize(
    "options",
    [
        {"endpoint_url": f"http://someone:{SECRET}@s3.test:9000?key={SECRET}"},
        {"client_kwargs": {"endpoint_url": f"http://someone:{SECRET}@s3.test:9000"}},
    ],
)
def test_readers_are_told_the_bare_endpoint(options: dict[str, Any]) -> None:
    files = S3Files(**options, key="someone", secret=SECRET, skip_instance_cache=True)
    product = stored_product(files, "bucket/x.zarr", "s3://bucket/x.zarr")
    assert product.storage_options == {"endpoint_url": "http://s3.test:9000"}
    assert SECRET not in repr(product)


def test_aws_needs_no_endpoint() -> None:
    files = S3Files(skip_instance_cache=True, anon=True)
    assert not stored_product(files, "bucket/x.zarr", "s3://bucket/x.zarr").storage_options


def test_the_digest_changes_with_the_metadata(product: Path, opened: Opened) -> None:
    digest = metadata_digest(opened(product))
    assert digest == metadata_digest(local_product(product))
    with (product / ".zmetadata").open("a") as file:
        file.write("\n")
    assert metadata_digest(opened(product)) != digest


def test_arrays_are_opened_from_the_store(product: Path, opened: Opened) -> None:
    store = opened(product).store()
    assert np.array_equal(zarr.open_array(store, path=B02, mode="r")[:], ramp())
    assert np.array_equal(zarr.open_array(store, path="conditions/angle", mode="r")[:], ramp(4, 4))


def test_a_product_in_a_bucket_is_not_written_to(product: Path, in_bucket: Opened) -> None:
    store = in_bucket(product).store()
    assert len(store) == len(list(store)) == len(files_of(product))
    with pytest.raises(UnsupportedOperation):
        store[".zgroup"] = b"{}"
    with pytest.raises(UnsupportedOperation):
        del store[".zgroup"]


class CountingFiles(S3Files):
    """Counts what is asked of the server."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.asked: Counter[str] = Counter()

    async def _call_s3(self, method: str, *args: object, **kwargs: object) -> object:
        self.asked[f"{method} {kwargs.get('Key', '')}"] += 1
        return await super()._call_s3(method, *args, **kwargs)

    async def _lsdir(self, *args: object, **kwargs: object) -> object:
        self.asked["list"] += 1
        return await super()._lsdir(*args, **kwargs)


def test_examining_a_product_asks_for_little(product: Path, in_bucket: Opened, s3_endpoint: str) -> None:
    root = place_of(in_bucket(product))
    files = CountingFiles(endpoint_url=s3_endpoint, use_listings_cache=False, skip_instance_cache=True)
    stored = stored_product(files, root, f"s3://{root}")
    assert check_completeness(stored).passed
    assert check_opens(stored).passed
    assert summarize(stored).name == NAME
    metadata = {path for path in files_of(product) if path.rpartition("/")[2].startswith(".z")}
    prefix = root.partition("/")[2]
    assert files.asked == {
        "list": 1,
        **{f"get_object {prefix}/{path}": 1 for path in metadata},
        f"get_object {prefix}/{B02}/1.1": 1,
    }


@contextmanager
def answering(status: int, code: str) -> Iterator[str]:
    """Serve an S3 that answers everything with the same error."""
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def product_at(endpoint: str) -> ProductFolder:
    files = S3Files(
        endpoint_url=endpoint,
        key="someone",
        secret=SECRET,
        client_kwargs={"region_name": "eu-central-1"},
        config_kwargs={"retries": {"max_attempts": 0}},
        skip_instance_cache=True,
        use_listings_cache=False,
    )
    return stored_product(files, "bucket/x.zarr", "s3://bucket/x.zarr")


def closed_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


ACTIONS = {
    "list": lambda product: product.objects(),
    "read": lambda product: product.read(".zmetadata"),
    "read_many": lambda product: product.read_many([".zgroup", ".zattrs"]),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_a_store_out_of_reach_is_transient(action: str) -> None:
    with pytest.raises(TransientError, match=r"^s3://bucket/x\.zarr: .*cannot be reached") as caught:
        ACTIONS[action](product_at(closed_port()))
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize(
    ("status", "code", "action"),
    [
        (500, "InternalError", "list"),
        (503, "ServiceUnavailable", "read"),
        (502, "BadGateway", "read_many"),
        (429, "TooManyRequests", "list"),
    ],
)
def test_a_busy_store_is_transient(status: int, code: str, action: str) -> None:
    with (
        answering(status, code) as endpoint,
        pytest.raises(TransientError, match=r"^s3://bucket/x\.zarr: S3 is busy"),
    ):
        ACTIONS[action](product_at(endpoint))


@pytest.mark.parametrize(
    ("status", "code", "words", "action"),
    [
        (403, "AccessDenied", "does not permit", "list"),
        (403, "InvalidAccessKeyId", "does not accept the credentials", "read_many"),
        (400, "InvalidRequest", "refused", "read"),
        (404, "NoSuchBucket", "there is no bucket bucket", "list"),
    ],
)
def test_a_refusal_is_permanent(status: int, code: str, words: str, action: str) -> None:
    with answering(status, code) as endpoint, pytest.raises(PermanentError, match=words) as caught:
        ACTIONS[action](product_at(endpoint))
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r}"


class LosingFiles(S3Files):
    """Loses the connection when a chunk is asked for."""

    async def _cat_file(self, path: str, **kwargs: object) -> object:
        if path.rpartition("/")[2][0].isdigit():
            raise ConnectionResetError
        return await super()._cat_file(path, **kwargs)


def test_a_lost_connection_is_no_missing_chunk(product: Path, in_bucket: Opened, s3_endpoint: str) -> None:
    root = place_of(in_bucket(product))
    files = LosingFiles(endpoint_url=s3_endpoint, use_listings_cache=False, skip_instance_cache=True)
    stored = stored_product(files, root, f"s3://{root}")
    assert check_completeness(stored).passed
    with pytest.raises(TransientError):
        zarr.open_array(stored.store(), path=B02, mode="r")[:]
    with pytest.raises(TransientError):
        check_opens(stored)
    with pytest.raises(PermanentError, match="no quicklook can be made"):
        quicklook(stored)
