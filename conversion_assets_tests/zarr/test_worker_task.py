from __future__ import annotations

import sys
import textwrap
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

import pytest

from conversion_assets.errors import PermanentError, TransientError
from conversion_assets.storage.access import S3Access
from conversion_assets.zarr import process
from conversion_assets.zarr.worker_task import (
    PACKAGE,
    WorkerOrder,
    WorkerReport,
    convert_in,
    require_version,
)
from conversion_assets_tests.otlp_receiver import receiving, tracing_to

SAFE = "X.SAFE"
CHUNKS = 60
LARGE = 2**20
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ENGINE = f"""
    import json, sys
    from pathlib import Path
    request = json.loads(sys.stdin.readline())
    product = Path(request["output"], "product.zarr")
    (product / "data").mkdir(parents=True)
    for number in range({CHUNKS}):
        (product / "data" / str(number)).write_bytes(b"x" * number)
    (product / ".zmetadata").write_bytes(b"{{}}")
    names = sorted(path.name for path in Path(request["safe"]).iterdir())
    (Path(request["scratch"]) / "seen").write_text(str(names))
    report = {{"product": str(product), "name": "product", "product_type": "X", "eopf_version": "2"}}
    print(json.dumps({{"report": report}}))
"""


@dataclass
class PatientTask:
    """A task that is not wanted any more after it said something and was asked a few times.

    Attributes:
        last: how that sentence begins; it is wanted for ever when None.
        more: how often it is still wanted then.
    """

    last: str | None = None
    more: int = 0
    told: list[str] = field(default_factory=list)
    _lock: Any = field(default_factory=Lock)

    def tell(self, text: str) -> None:
        self.told.append(text)

    def require_wanted(self) -> None:
        if self.last and self.told and self.told[-1].startswith(self.last):
            with self._lock:
                self.more -= 1
            if self.more < 0:
                raise TransientError("the task", "it is not wanted", "Order it again.")


@pytest.fixture(autouse=True)
def quick_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "ENGINE", (sys.executable, "-c", textwrap.dedent(ENGINE)))


@pytest.fixture
def access(s3_endpoint: str) -> S3Access:
    return S3Access(endpoint_url=s3_endpoint, region="us-east-1", key="someone", secret="anything")  # noqa: S106 - it takes any


@pytest.fixture
def bucket(s3: Any) -> str:  # noqa: ANN401 - boto3 ships no types
    name = f"bucket-{uuid4()}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    for number in range(3):
        s3.put_object(Bucket=name, Key=f"staged/{SAFE}/{number}.tiff", Body=b"x" * LARGE)
    return name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (made := tmp_path / "temporary").mkdir()
    return made


def order(safe: str, output: str, **more: str) -> WorkerOrder:
    return WorkerOrder(
        safe=safe,
        output=output,
        threads=1,
        memory_limit_bytes=2**33,
        time_limit_seconds=60,
        package_version="1",
        **more,
    )


def on_s3(bucket: str) -> WorkerOrder:
    return order(f"s3://{bucket}/staged/{SAFE}", f"s3://{bucket}/.converting")


def keys(s3: Any, bucket: str) -> list[str]:  # noqa: ANN401 - boto3 ships no types
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket, Prefix=".conv").get("Contents", [])]


def test_product_is_converted_from_and_to_s3(s3: Any, bucket: str, access: S3Access, folder: Path) -> None:  # noqa: ANN401 - boto3 ships no types
    task = PatientTask()
    done = convert_in(folder, on_s3(bucket), access, task)
    assert (folder / "scratch" / "seen").read_text() == "['0.tiff', '1.tiff', '2.tiff']"
    assert WorkerReport.model_validate_json(done.model_dump_json()) == done
    root = done.uri.removeprefix(f"s3://{bucket}/")
    assert root.startswith(".converting/run-")
    assert root.endswith("/product.zarr")
    expected = {f"{root}/.zmetadata", *(f"{root}/data/{number}" for number in range(CHUNKS))}
    assert set(keys(s3, bucket)) == expected
    assert task.told == [f"downloading {SAFE}", "uploading product.zarr"]


def test_each_run_of_a_task_has_its_own_product(bucket: str, access: S3Access, tmp_path: Path) -> None:
    (output := tmp_path / "output").mkdir()
    places = []
    for name in ("one", "other"):
        (folder := tmp_path / name).mkdir()
        wanted = order(f"s3://{bucket}/staged/{SAFE}", output.as_uri())
        places.append(convert_in(folder, wanted, access, PatientTask()).uri)
    assert len(set(places)) == 2
    assert all(place.startswith(f"{output.as_uri()}/run-") for place in places)


@pytest.mark.parametrize("more", [0, 20])
def test_download_ends_when_it_is_not_wanted(bucket: str, access: S3Access, folder: Path, more: int) -> None:
    task = PatientTask("downloading", more)
    with pytest.raises(TransientError, match="not wanted"):
        convert_in(folder, on_s3(bucket), access, task)
    size = sum(path.stat().st_size for path in folder.rglob("*.tiff"))
    assert size < 3 * LARGE
    assert task.told == [f"downloading {SAFE}"]


@pytest.mark.parametrize("more", [0, 20])
def test_upload_that_is_not_wanted_leaves_nothing(
    s3: Any,  # noqa: ANN401 - boto3 ships no types
    bucket: str,
    access: S3Access,
    folder: Path,
    more: int,
) -> None:
    task = PatientTask("uploading", more)
    with pytest.raises(TransientError, match="not wanted"):
        convert_in(folder, on_s3(bucket), access, task)
    assert task.more < 0
    assert keys(s3, bucket) == []


def test_conversion_that_fails_leaves_no_folder(tmp_path: Path, folder: Path) -> None:
    (output := tmp_path / "output").mkdir()
    (safe := tmp_path / SAFE).mkdir()
    wanted = order(safe.as_uri(), output.as_uri()).model_copy(update={"time_limit_seconds": 0})
    with pytest.raises(PermanentError, match="took longer"):
        convert_in(folder, wanted, S3Access(), PatientTask())
    assert list(output.iterdir()) == []


def test_missing_copy_is_told(bucket: str, access: S3Access, folder: Path) -> None:
    wanted = order(f"s3://{bucket}/elsewhere/{SAFE}", f"s3://{bucket}/.converting")
    with pytest.raises(PermanentError, match=f"elsewhere/{SAFE}: there is nothing"):
        convert_in(folder, wanted, access, PatientTask())


def test_output_that_is_not_shared_is_told(tmp_path: Path, folder: Path) -> None:
    (safe := tmp_path / SAFE).mkdir()
    wanted = order(safe.as_uri(), (tmp_path / "elsewhere").as_uri())
    with pytest.raises(PermanentError, match=r"elsewhere: the Dask worker on .* does not see this folder"):
        convert_in(folder, wanted, S3Access(), PatientTask())


def test_another_version_of_this_package_is_refused() -> None:
    require_version(version(PACKAGE))
    with pytest.raises(PermanentError, match=rf"it has {PACKAGE} {version(PACKAGE)}, and 0\.0\.7 asks"):
        require_version("0.0.7")


def test_conversion_is_part_of_the_trace_of_whoever_asked(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (safe := tmp_path / SAFE).mkdir()
    wanted = order(safe.as_uri(), tmp_path.as_uri(), traceparent=TRACEPARENT)
    with receiving() as collector, tracing_to(collector, monkeypatch):
        convert_in(folder, wanted, S3Access(), PatientTask())
        collector.complete()
    found = collector.one("conversion process")
    assert [found.trace, found.parent] == TRACEPARENT.split("-")[1:3]
