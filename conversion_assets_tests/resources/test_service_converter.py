from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from conversion_assets.errors import PermanentError, PoisonedInputError, TransientError
from conversion_assets.resources.authentication import Authentication
from conversion_assets.resources.folder_object_store import FolderObjectStore
from conversion_assets.resources.job_notes import JobNote
from conversion_assets.resources.job_service import DialectName, JobService
from conversion_assets.resources.object_store import ObjectStore, Shelf
from conversion_assets.resources.s3_object_store import S3ObjectStore
from conversion_assets.resources.s3_storage import S3Storage
from conversion_assets.resources.service_converter import StandardConverter, UpstreamConverter
from conversion_assets.zarr.conversion import Assignment
from conversion_assets_tests.contracts.converter import (
    KEY,
    expected,
    safe,
    unknown_product,
)
from conversion_assets_tests.end_to_end.command import timeless
from conversion_assets_tests.peers.geo_processes import serving_processes
from conversion_assets_tests.peers.serving import serving
from conversion_assets_tests.peers.upstream_dpr import UpstreamDpr
from conversion_assets_tests.safe.products import product

__all__ = ["expected", "safe"]

TOKEN = "canary-token"  # noqa: S105 - is looked for
FEW = {".zattrs": b"{}", ".zgroup": b"{}", ".zmetadata": b'{"metadata": {}}'}


class RunCanceledError(BaseException):
    """What Dagster raises in a run that is cancelled is no ``Exception`` either."""


class Double:
    """Converts in the peer: the product does not matter here (``end_to_end/test_same_everywhere.py``)."""

    def __init__(self) -> None:
        self.objects = FEW

    def __call__(self, safe: Path, product: Path, stopping: Any) -> None:  # noqa: ANN401 - passed on
        del safe, stopping
        product.mkdir()
        for name, content in self.objects.items():
            path = product / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)


@pytest.fixture
def double() -> Double:
    return Double()


@pytest.fixture
def peer(s3: Any, upstream_bucket: str, double: Double) -> Iterator[UpstreamDpr]:  # noqa: ANN401 - boto3 ships no types
    """Serve until its jobs have ended, and only then let go of the bucket."""
    del upstream_bucket
    with serving(UpstreamDpr(s3, double)) as served:
        yield served


def desk(url: str, process: str, dialect: DialectName, tmp_path: Path) -> JobService:
    return JobService(
        name="converting service",
        url=url,
        process=process,
        dialect=dialect,
        authentication=Authentication(),
        notes=str(tmp_path / "jobs"),
        first_pause=0.02,
        longest_pause=0.2,
        retries=0,
    )


@pytest.fixture
def service(peer: UpstreamDpr, tmp_path: Path) -> JobService:
    return desk(f"{peer.url}/dpr", "conv_safe_zarr", "upstream-dpr", tmp_path)


@pytest.fixture
def upstream(service: JobService, s3_endpoint: str) -> UpstreamConverter:
    return UpstreamConverter(
        service=service,
        storage=S3Storage(endpoint_url=s3_endpoint),
        cluster_label="dask-eopf",
        jupyter_token=TOKEN,
    )


@pytest.fixture
def shelf(upstream_bucket: str) -> Shelf:
    return Shelf(bucket=upstream_bucket, owner="tester", collection="products")


@pytest.fixture
def store(s3_endpoint: str, tmp_path: Path) -> S3ObjectStore:
    return S3ObjectStore(root=str(tmp_path / "home"), storage=S3Storage(endpoint_url=s3_endpoint))


def assignment(store: ObjectStore, shelf: Shelf, safe: Path, *, keep: bool = False) -> Assignment:
    workspace = store.workspace(shelf, KEY, safe, keep=keep)
    return Assignment(KEY, safe, store.scratch_folder(KEY), workspace)


def ignored(_: str) -> None:
    """Tell nobody."""


# --- whole products ---------------------------------------------------------------------------------


def test_product_of_a_standard_service_is_byte_for_byte_ours(
    safe: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    store = FolderObjectStore(root=str(tmp_path / "home"))
    order = assignment(store, Shelf(bucket="bucket", owner="tester", collection="products"), safe)
    (tmp_path / "pygeoapi").mkdir()
    with serving_processes(tmp_path / "pygeoapi") as url:
        converter = StandardConverter(service=desk(url, "convert", "standard", tmp_path))
        conversion = converter.convert(order, ignored)
    made = order.workspace.open_product(conversion.uri)
    assert made.path is not None
    assert made.name == f"{conversion.name}.zarr"
    assert timeless(made.path) == expected
    assert conversion.eopf_version == version("eopf")


# --- what goes wrong --------------------------------------------------------------------------------


def test_product_that_eopf_does_not_know_never_reaches_the_service(
    upstream: UpstreamConverter, peer: UpstreamDpr, store: S3ObjectStore, shelf: Shelf, tmp_path: Path
) -> None:
    with pytest.raises(PoisonedInputError, match="no mapping"):
        upstream.convert(assignment(store, shelf, unknown_product(tmp_path)), ignored)
    assert peer.requests == []


class Named(UpstreamConverter):
    """Names products without eopf, which takes seconds and is seen at work above."""

    def _eopf_name(self, assignment: Assignment, tell: Any) -> str:  # noqa: ANN401 - passed on
        del assignment, tell
        return "EOPF"


@pytest.fixture
def named(service: JobService, s3_endpoint: str) -> Named:
    return Named(
        service=service,
        storage=S3Storage(endpoint_url=s3_endpoint),
        cluster_label="dask-eopf",
        jupyter_token=TOKEN,
    )


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Make a product of four small files, which the double does not read."""
    return product(tmp_path / "input")


@pytest.fixture
def order(store: S3ObjectStore, shelf: Shelf, small: Path) -> Assignment:
    return assignment(store, shelf, small)


def test_service_is_told_where_and_with_what(
    named: Named, service: JobService, peer: UpstreamDpr, order: Assignment
) -> None:
    assert named.eopf_version() == "unknown"
    conversion = named.convert(order, ignored)
    assert conversion.eopf_version == named.eopf_version() == version("eopf")
    (sent,) = peer.received("POST")
    body = sent.json()
    assert body["input_safe_path"].endswith(f"/{order.safe.name}")
    assert body["output_zarr_dir_path"].startswith(f"{order.workspace.shared_output()}/")
    assert conversion.uri == f"{body['output_zarr_dir_path']}/{order.safe.stem}.zarr"
    assert (body["jupyter_token"], body["cluster_label"]) == (TOKEN, "dask-eopf")
    assert TOKEN not in repr(named)
    for path in Path(service.notes).rglob("*"):
        assert TOKEN.encode() not in path.read_bytes()
    assert ".keep" not in order.workspace.open_product(conversion.uri).objects()


def test_history_names_the_product_as_it_is_called(named: Named, double: Double, order: Assignment) -> None:
    written = f"{order.safe.stem}.zarr"
    history = {
        "processing_history": {"Level-1": [{"outputs": [f"{written}.zarr"]}]},
        "about": f"not {written}",
    }
    corrected = {"processing_history": {"Level-1": [{"outputs": ["EOPF.zarr"]}]}, "about": f"not {written}"}
    untouched = b'{  "a":1}'
    before = {".zattrs": history, "b/.zattrs": history}
    double.objects = {
        **{name: json.dumps(document).encode() for name, document in before.items()},
        "c/.zattrs": untouched,
        ".zmetadata": json.dumps({"metadata": {**before, "c/.zattrs": {"a": 1}}}, indent=4).encode(),
    }
    made = order.workspace.open_product(named.convert(order, ignored).uri)
    after = dict.fromkeys(before, corrected)
    assert {name: json.loads(made.read(name)) for name in before} == after
    assert made.read("c/.zattrs") == untouched
    assert (
        made.read(".zmetadata")
        == json.dumps({"metadata": {**after, "c/.zattrs": {"a": 1}}}, indent=4).encode()
    )


def test_attempts_never_share_a_place(
    named: Named, peer: UpstreamDpr, store: S3ObjectStore, shelf: Shelf, small: Path
) -> None:
    peer.endless = True

    def cancel(text: str) -> None:
        if text.startswith("converting service: "):
            raise RunCanceledError

    with pytest.raises(RunCanceledError):
        named.convert(assignment(store, shelf, small), cancel)
    assert (len(peer.deleted), peer.jobs) == (1, {})
    assert not named.is_converting(KEY)
    peer.endless = False
    named.convert(assignment(store, shelf, small), ignored)
    first, second = (request.json()["output_zarr_dir_path"] for request in peer.received("POST"))
    assert first != second


def test_conversion_begun_before_a_restart_is_waited_for(
    named: Named, service: JobService, peer: UpstreamDpr, store: S3ObjectStore, shelf: Shelf, small: Path
) -> None:
    peer.endless = True
    left: list[JobNote] = []

    def cancel(text: str) -> None:
        if text.startswith("converting service: "):
            note = service.notebook().read(KEY)
            assert note
            left.append(note)
            raise RunCanceledError

    with pytest.raises(RunCanceledError):
        named.convert(assignment(store, shelf, small), cancel)
    # As if the process had been killed, not cancelled.
    service.notebook().write(KEY, left[0])
    peer.jobs |= peer.deleted
    peer.endless = False
    peer.join()
    assert named.is_converting(KEY)
    conversion = named.convert(assignment(store, shelf, small, keep=True), ignored)
    assert conversion.uri.startswith(f"{left[0].place}/")
    assert len(peer.received("POST")) == 1


def test_product_elsewhere_than_ordered_is_refused(
    named: Named, peer: UpstreamDpr, order: Assignment, shelf: Shelf
) -> None:
    output = order.workspace.shared_output()
    for uri in (
        f"s3://{shelf.bucket}/tester/products/OTHER.zarr",
        f"{output}/../OTHER.zarr",
        f"{output}/OTHER.zarr",
        "file:///etc/passwd.zarr",
        None,
    ):
        peer.says = json.dumps({"zarr_uri": uri})
        with pytest.raises(PermanentError, match="it was to write a"):
            named.convert(order, ignored)


def test_product_that_is_not_there_is_transient(named: Named, double: Double, order: Assignment) -> None:
    double.objects = {".zattrs": b"{}"}
    with pytest.raises(TransientError, match="it is not there"):
        named.convert(order, ignored)


def test_product_cannot_lead_out_of_its_folder(
    named: Named,
    double: Double,
    order: Assignment,
    shelf: Shelf,
    s3: Any,  # noqa: ANN401 - boto3 ships no types
) -> None:
    written = f"{order.safe.stem}.zarr"
    strangers = {"../../../.zattrs": {"name": written}, "/.zattrs": {"name": written}}
    double.objects = {**FEW, ".zmetadata": json.dumps({"metadata": strangers}).encode()}
    s3.put_object(Bucket=shelf.bucket, Key="tester/products/.zattrs", Body=f'"{written}"'.encode())
    named.convert(order, ignored)
    stored = s3.get_object(Bucket=shelf.bucket, Key="tester/products/.zattrs")["Body"].read()
    assert stored == f'"{written}"'.encode()


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Conversion failed: KeyError: 'S3_ACCESSKEY'", TransientError),
        ("distributed.scheduler.KilledWorker: Attempted to run task", TransientError),
        ("Conversion failed safe_to_zarr: No mapping found for url : s3://b/x", PoisonedInputError),
        ("No dask cluster named 'x' was found.", PermanentError),
    ],
)
def test_failures_are_classed_and_carry_the_services_words(
    named: Named, peer: UpstreamDpr, order: Assignment, message: str, kind: type[Exception]
) -> None:
    peer.failures = [f"{message} {TOKEN}"]
    with pytest.raises(kind) as caught:
        named.convert(order, ignored)
    assert message[:40] in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert type(caught.value) is kind


def test_upstream_converter_wants_s3(named: Named, peer: UpstreamDpr, small: Path, tmp_path: Path) -> None:
    store = FolderObjectStore(root=str(tmp_path / "home"))
    shelf = Shelf(bucket="bucket", owner="tester", collection="products")
    with pytest.raises(PermanentError, match="knows only S3"):
        named.convert(assignment(store, shelf, small), ignored)
    assert peer.requests == []


def test_configured_version_is_told_and_another_one_warned_of(
    service: JobService, s3_endpoint: str, order: Assignment, caplog: pytest.LogCaptureFixture
) -> None:
    storage = S3Storage(endpoint_url=s3_endpoint)
    converter = Named(service=service, storage=storage, version="1.0.0")
    assert converter.eopf_version() == "1.0.0"
    assert converter.convert(order, ignored).eopf_version == version("eopf")
    assert "not 1.0.0 as configured" in caplog.text
