from __future__ import annotations

import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from conversion_assets.errors import (
    ConversionAssetsError,
    OrderError,
    PermanentError,
    PoisonedInputError,
    TransientError,
)
from conversion_assets.orders import Order
from conversion_assets.resources.s3_storage import S3Storage
from conversion_assets.resources.source_credentials import SourceCredentials
from conversion_assets.resources.staging import CopyStaging, StagedCopy, file_href
from conversion_assets.safe.manifest import MANIFEST_NAMES
from conversion_assets.stac.checksums import Checksum
from conversion_assets_tests.resources.http_files import HttpFiles
from conversion_assets_tests.safe.products import CONTENTS, S1_NAME, S3_NAME, document, entry, product

CONTENT = bytes(range(256)) * 4096  # exactly one block, so that a cut in the middle leaves a part
ARCHIVE = "S1A.SAFE.zip"
Stage = Callable[..., StagedCopy]


def order(href: str, **facts: object) -> Order:
    known = {"key": "X", "item_id": "X", "href": href, "derived_from": href, "owner": "local"}
    return Order.model_validate(known | facts)


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    return tmp_path / "staging" / "X"


@pytest.fixture
def stage(staged: Path) -> Stage:
    def copy(href: str, **facts: object) -> StagedCopy:
        staging = CopyStaging(schemes=["file", "s3", "http"], private_hosts=["127.0.0.1"])
        return staging.stage(order(href, **facts), staged, lambda _: None)

    return copy


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def partial_bytes(staged: Path) -> int:
    return sum(path.stat().st_size for path in staged.rglob("*.partial"))


# --- from this machine ------------------------------------------------------------------------------


def test_local_archive_is_copied_and_left_alone(tmp_path: Path, staged: Path, stage: Stage) -> None:
    source = tmp_path / ARCHIVE
    source.write_bytes(CONTENT)
    before = source.stat()
    copy = stage(source.as_uri())
    assert copy == StagedCopy(staged / ARCHIVE, files=1, total_bytes=len(CONTENT), resumed=False)
    assert copy.path.read_bytes() == source.read_bytes() == CONTENT
    assert source.stat().st_mtime_ns == before.st_mtime_ns
    assert partial_bytes(staged) == 0


@pytest.mark.parametrize("name", [S1_NAME, S3_NAME])
def test_local_folder_is_copied_whole(name: str, tmp_path: Path, stage: Stage) -> None:
    source = product(tmp_path / "a place with blanks, % and #", name)
    copy = stage(source.as_uri())
    assert copy.path.name == name
    assert contents(copy.path) == contents(source)
    assert (copy.files, copy.total_bytes) == (4, sum(map(len, contents(source).values())))


def test_finished_copy_is_not_repeated(tmp_path: Path, stage: Stage) -> None:
    source = tmp_path / ARCHIVE
    source.write_bytes(CONTENT)
    first = stage(source.as_uri())
    inode = first.path.stat().st_ino
    assert stage(source.as_uri()).resumed
    assert first.path.stat().st_ino == inode


def test_note_of_a_killed_writer_counts_for_nothing(tmp_path: Path, staged: Path, stage: Stage) -> None:
    source = tmp_path / ARCHIVE
    source.write_bytes(CONTENT)
    stage(source.as_uri())
    (note,) = staged.rglob("*.source.json")
    note.write_text("")
    copy = stage(source.as_uri())
    assert not copy.resumed
    assert copy.path.read_bytes() == CONTENT


def test_changed_folder_leaves_nothing_of_the_former_one(tmp_path: Path, stage: Stage) -> None:
    source = product(tmp_path / "source")
    (source / "data" / "two.bin").write_bytes(b"of the former product")
    stage(source.as_uri())
    shutil.rmtree(source)
    product(tmp_path / "source", manifest=document(entry("data/one.bin", b"new")))
    (source / "data" / "one.bin").write_bytes(b"new")
    assert contents(stage(source.as_uri()).path) == contents(source)


def test_folder_without_manifest_is_refused(tmp_path: Path, stage: Stage) -> None:
    (tmp_path / S1_NAME / "data").mkdir(parents=True)
    (tmp_path / S1_NAME / "data" / "one.bin").write_bytes(b"one")
    with pytest.raises(OrderError, match=r"manifest\.safe"):
        stage((tmp_path / S1_NAME).as_uri())


def test_missing_file_is_a_bad_order(tmp_path: Path, stage: Stage) -> None:
    with pytest.raises(OrderError, match="no such file"):
        stage((tmp_path / ARCHIVE).as_uri())


def test_copy_that_no_disk_can_hold_is_refused_before_it_begins(
    tmp_path: Path, staged: Path, stage: Stage
) -> None:
    source = tmp_path / ARCHIVE
    with source.open("wb") as file:
        file.truncate(shutil.disk_usage(tmp_path).free + 2**40)
    with pytest.raises(PermanentError, match=r"needs .* bytes .* free"):
        stage(source.as_uri())
    assert partial_bytes(staged) == 0


@pytest.mark.parametrize("scheme", ["ftp", "https", "data", "FILE+X"])
def test_scheme_that_is_not_allowed_is_refused(scheme: str, stage: Stage) -> None:
    with pytest.raises(OrderError, match="scheme"):
        stage(f"{scheme}://host/{ARCHIVE}")


# --- what the source announces ----------------------------------------------------------------------


def test_announced_size_and_checksum_are_compared(tmp_path: Path, stage: Stage) -> None:
    source = tmp_path / ARCHIVE
    source.write_bytes(CONTENT)
    right = Checksum(algorithm="sha256", digest=sha256(CONTENT).hexdigest())
    assert stage(source.as_uri(), size=len(CONTENT), checksum=right).total_bytes == len(CONTENT)


@pytest.mark.parametrize(
    "announced",
    [
        {"size": len(CONTENT) + 1},
        {"checksum": Checksum(algorithm="sha256", digest="00" * 32)},
        {"checksum": Checksum(algorithm="md5", digest="00" * 16)},
    ],
)
def test_wrong_announcement_is_poisoned_and_no_copy_stays(
    announced: dict[str, Any], tmp_path: Path, staged: Path, stage: Stage
) -> None:
    source = tmp_path / ARCHIVE
    source.write_bytes(CONTENT)
    with pytest.raises(PoisonedInputError, match="announces"):
        stage(source.as_uri(), **announced)
    assert not (staged / ARCHIVE).exists()
    assert partial_bytes(staged) == 0
    assert stage(source.as_uri()).path.read_bytes() == CONTENT


# --- over HTTP --------------------------------------------------------------------------------------


def test_archive_over_http(site: HttpFiles, stage: Stage) -> None:
    site.add(ARCHIVE, CONTENT)
    copy = stage(site.url(ARCHIVE))
    assert copy.path.read_bytes() == CONTENT
    assert not copy.resumed


def test_interrupted_transfer_is_continued(site: HttpFiles, staged: Path, stage: Stage) -> None:
    served = site.add(ARCHIVE, CONTENT * 3)
    served.cut_after = len(CONTENT) + 1000
    with pytest.raises(TransientError):
        stage(site.url(ARCHIVE))
    kept = partial_bytes(staged)
    assert kept >= len(CONTENT)
    served.cut_after = None
    copy = stage(site.url(ARCHIVE))
    assert copy.resumed
    assert copy.path.read_bytes() == CONTENT * 3
    assert site.ranges() == [f"bytes={kept}-"]


def test_transfer_that_is_cut_again_and_again_still_ends(site: HttpFiles, staged: Path, stage: Stage) -> None:
    served = site.add(ARCHIVE, CONTENT * 4)
    served.cut_after = len(CONTENT) + 7
    sizes = []
    for _ in range(3):
        with pytest.raises(TransientError):
            stage(site.url(ARCHIVE))
        sizes.append(partial_bytes(staged))
    assert sizes == sorted(set(sizes))
    assert stage(site.url(ARCHIVE)).path.read_bytes() == CONTENT * 4


def test_changed_source_is_not_mixed_with_bytes_of_the_former_one(site: HttpFiles, stage: Stage) -> None:
    served = site.add(ARCHIVE, CONTENT * 3)
    served.cut_after = len(CONTENT) + 1000
    with pytest.raises(TransientError):
        stage(site.url(ARCHIVE))
    served.content, served.cut_after = bytes(reversed(CONTENT)) * 3, None
    copy = stage(site.url(ARCHIVE))
    assert copy.path.read_bytes() == served.content
    assert not copy.resumed
    assert site.ranges() == []


def test_source_without_version_is_copied_from_the_start(site: HttpFiles, stage: Stage) -> None:
    served = site.add(ARCHIVE, CONTENT * 3)
    served.etag, served.cut_after = None, len(CONTENT) + 1000
    with pytest.raises(TransientError):
        stage(site.url(ARCHIVE))
    served.content, served.cut_after = bytes(reversed(CONTENT)) * 3, None
    assert stage(site.url(ARCHIVE)).path.read_bytes() == served.content
    assert site.ranges() == []


def test_server_without_ranges_is_read_anew(site: HttpFiles, stage: Stage) -> None:
    served = site.add(ARCHIVE, CONTENT * 3)
    served.ranges, served.keeps_ranges, served.cut_after = False, False, len(CONTENT) + 1000
    with pytest.raises(TransientError):
        stage(site.url(ARCHIVE))
    served.cut_after = None
    assert stage(site.url(ARCHIVE)).path.read_bytes() == CONTENT * 3


def test_server_that_promises_ranges_and_ignores_them_is_survived(site: HttpFiles, stage: Stage) -> None:
    served = site.add(ARCHIVE, CONTENT * 3)
    served.keeps_ranges, served.cut_after = False, len(CONTENT) + 1000
    with pytest.raises(TransientError):
        stage(site.url(ARCHIVE))
    served.cut_after = None
    assert stage(site.url(ARCHIVE)).path.read_bytes() == CONTENT * 3


def test_copy_that_was_complete_but_not_yet_named_is_finished(
    site: HttpFiles, staged: Path, stage: Stage
) -> None:
    site.add(ARCHIVE, CONTENT)
    copy = stage(site.url(ARCHIVE))
    copy.path.rename(staged / ".transfer" / f"{ARCHIVE}.partial")  # as if killed just before the last step
    again = stage(site.url(ARCHIVE))
    assert again.resumed
    assert again.path.read_bytes() == CONTENT


def test_length_that_is_not_told_is_found_out(site: HttpFiles, stage: Stage) -> None:
    site.add(ARCHIVE, CONTENT).tells_length = False
    assert stage(site.url(ARCHIVE)).total_bytes == len(CONTENT)


def test_busy_server_is_tried_again(site: HttpFiles, stage: Stage) -> None:
    served = site.add(ARCHIVE, CONTENT)
    for served.status in (500, 503, 429):
        with pytest.raises(TransientError, match=str(served.status)):
            stage(site.url(ARCHIVE))
    served.status = None
    assert stage(site.url(ARCHIVE)).path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "error"), [(404, OrderError), (410, OrderError), (401, PermanentError), (403, PermanentError)]
)
def test_refusal_of_the_server_is_told(
    status: int, error: type[ConversionAssetsError], site: HttpFiles, stage: Stage
) -> None:
    site.add(ARCHIVE).status = status
    with pytest.raises(error, match=f"answered {status}") as caught:
        stage(site.url(ARCHIVE))
    assert type(caught.value) is error


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/X.zip", "gopher://127.0.0.1/x"])
def test_redirect_to_a_forbidden_scheme_is_refused(target: str, site: HttpFiles, stage: Stage) -> None:
    served = site.add(ARCHIVE)
    served.status, served.location = 302, target
    with pytest.raises(OrderError, match="redirect"):
        stage(site.url(ARCHIVE))


def test_more_than_the_item_announces_is_not_taken(site: HttpFiles, stage: Stage, staged: Path) -> None:
    site.add(ARCHIVE, CONTENT).tells_length = False
    with pytest.raises(PoisonedInputError, match="more than the 1,000 bytes"):
        stage(site.url(ARCHIVE), size=1000)
    assert partial_bytes(staged) == 0
    assert not (staged / ARCHIVE).exists()


def test_redirect_within_the_allowed_schemes_is_followed(site: HttpFiles, stage: Stage) -> None:
    served = site.add(ARCHIVE)
    served.status, served.location = 307, site.url("elsewhere")
    site.add("elsewhere", CONTENT)
    assert stage(site.url(ARCHIVE)).path.read_bytes() == CONTENT


def test_redirects_without_end_are_an_error_of_ours(site: HttpFiles, stage: Stage) -> None:
    served = site.add(ARCHIVE)
    served.status, served.location = 302, site.url(ARCHIVE)
    with pytest.raises(ConversionAssetsError, match="redirect"):
        stage(site.url(ARCHIVE))


def test_server_that_is_not_there_is_transient(site: HttpFiles, stage: Stage) -> None:
    host = "127.0.0.1:1"
    with pytest.raises(TransientError, match="cannot be reached"):
        stage(f"http://{host}/{ARCHIVE}")
    assert site.requests == []


@pytest.mark.parametrize("name", [S1_NAME, S3_NAME])
def test_folder_over_http_is_read_by_its_manifest(
    name: str, tmp_path: Path, site: HttpFiles, stage: Stage
) -> None:
    source = product(tmp_path / "source", name)
    for path, content in contents(source).items():
        site.add(f"public/{name}/{path}", content)
    copy = stage(site.url(f"public/{name}"))
    assert contents(copy.path) == contents(source)
    assert copy.files == len(CONTENTS) + 1


def test_folder_over_http_continues_with_the_files_that_are_missing(
    tmp_path: Path, site: HttpFiles, stage: Stage
) -> None:
    source = product(tmp_path / "source")
    for path, content in contents(source).items():
        site.add(f"{S1_NAME}/{path}", content)
    site.files[f"{S1_NAME}/two.xml"].status = 503
    with pytest.raises(TransientError, match="503"):
        stage(site.url(S1_NAME))
    site.files[f"{S1_NAME}/two.xml"].status = None
    reads_before = [path for path, _ in site.requests].count(f"{S1_NAME}/data/one.bin")
    copy = stage(site.url(S1_NAME))
    assert copy.resumed
    assert contents(copy.path) == contents(source)
    # Looked at once more, and not read: the first time it was looked at, read, and looked at again.
    assert [path for path, _ in site.requests].count(f"{S1_NAME}/data/one.bin") == reads_before + 1


def test_folder_over_http_without_manifest_is_refused(site: HttpFiles, stage: Stage) -> None:
    with pytest.raises(OrderError, match=" or ".join(MANIFEST_NAMES)):
        stage(site.url(S1_NAME))


def test_manifest_that_names_a_file_outside_is_refused(tmp_path: Path, site: HttpFiles, stage: Stage) -> None:
    site.add(f"{S1_NAME}/manifest.safe", document(entry("../../outside", b"x")).encode())
    site.add("outside", b"x")
    with pytest.raises(PoisonedInputError, match=r"\.\."):
        stage(site.url(S1_NAME))
    assert not list(tmp_path.rglob("outside"))


def test_secrets_of_a_url_are_neither_told_nor_noted(site: HttpFiles, staged: Path, stage: Stage) -> None:
    served = site.add(ARCHIVE, CONTENT)
    served.status = 403
    href = site.url(ARCHIVE).replace("http://", "http://someone:hunter2@") + "?copy=hunter2"
    with pytest.raises(PermanentError) as caught:
        stage(href)
    assert "hunter2" not in str(caught.value)
    served.status = None
    assert stage(href).path.read_bytes() == CONTENT
    assert not any(b"hunter2" in path.read_bytes() for path in staged.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "path", ["", "products/..", "products/%2e%2e", "a%00b", "a%0Ab", ".transfer", "x" * 300]
)
def test_name_that_cannot_be_a_file_is_refused(
    path: str, site: HttpFiles, tmp_path: Path, stage: Stage
) -> None:
    site.add(path, CONTENT)
    with pytest.raises(OrderError, match="name"):
        stage(site.url(path))
    assert contents(tmp_path) == {}


# --- over S3 ----------------------------------------------------------------------------------------


@pytest.fixture
def bucket(s3: Any, request: pytest.FixtureRequest) -> str:  # noqa: ANN401 - boto3 ships no types
    name = f"bucket-{sha256(request.node.name.encode()).hexdigest()[:12]}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return name


def test_archive_over_s3(s3: Any, bucket: str, stage: Stage) -> None:  # noqa: ANN401
    s3.put_object(Bucket=bucket, Key=f"a b/{ARCHIVE}", Body=CONTENT)
    assert stage(f"s3://{bucket}/a b/{ARCHIVE}").path.read_bytes() == CONTENT


def test_archive_over_our_own_s3(
    s3: Any,  # noqa: ANN401 - boto3 ships no types
    bucket: str,
    staged: Path,
    s3_endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    s3.put_object(Bucket=bucket, Key=ARCHIVE, Body=CONTENT)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    storage = S3Storage(endpoint_url=s3_endpoint, aws_access_key_id="ours", aws_secret_access_key="ours")  # noqa: S106 - any
    staging = CopyStaging(schemes=["s3"], credentials=SourceCredentials(storage=storage))
    copy = staging.stage(order(f"s3://{bucket}/{ARCHIVE}"), staged, lambda _: None)
    assert copy.path.read_bytes() == CONTENT


def test_folder_over_s3(s3: Any, bucket: str, tmp_path: Path, stage: Stage) -> None:  # noqa: ANN401
    source = product(tmp_path / "source")
    s3.put_object(Bucket=bucket, Key=f"{S1_NAME}/", Body=b"")  # as consoles mark a folder
    s3.put_object(Bucket=bucket, Key=f"{S1_NAME}-2/other", Body=b"a neighbour")
    for path, content in contents(source).items():
        s3.put_object(Bucket=bucket, Key=f"{S1_NAME}/{path}", Body=content)
    for href in (f"s3://{bucket}/{S1_NAME}", f"s3://{bucket}/{S1_NAME}/"):
        assert contents(stage(href).path) == contents(source)


def test_changed_object_is_noticed_within_one_process(s3: Any, bucket: str, stage: Stage) -> None:  # noqa: ANN401
    for content in (b"former", b"latter", b"another size"):
        s3.put_object(Bucket=bucket, Key=f"{S1_NAME}/manifest.safe", Body=content)
        copy = stage(f"s3://{bucket}/{S1_NAME}")
        assert contents(copy.path) == {"manifest.safe": content}


def test_object_with_a_hostile_name_is_refused(s3: Any, bucket: str, tmp_path: Path, stage: Stage) -> None:  # noqa: ANN401
    s3.put_object(Bucket=bucket, Key=f"{S1_NAME}/manifest.safe", Body=b"x")
    s3.put_object(Bucket=bucket, Key=f"{S1_NAME}/../../../outside", Body=b"x")
    with pytest.raises(PoisonedInputError, match=r"\.\."):
        stage(f"s3://{bucket}/{S1_NAME}")
    assert not list(tmp_path.rglob("outside"))


def test_missing_object_is_a_bad_order(bucket: str, stage: Stage) -> None:
    with pytest.raises(OrderError, match="no such file"):
        stage(f"s3://{bucket}/{ARCHIVE}")
    with pytest.raises(OrderError):
        stage(f"s3://{bucket}/{S1_NAME}")
    with pytest.raises(OrderError, match="no such file"):
        stage(f"s3://{bucket}-that-is-not-there/{ARCHIVE}")


def test_missing_credentials_are_told(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stage: Stage
) -> None:
    assert s3_endpoint
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "absent"))
    with pytest.raises(PermanentError, match="credentials") as caught:
        stage(f"s3://no-credentials/{ARCHIVE}")
    assert type(caught.value) is PermanentError


@pytest.mark.parametrize(
    ("folder", "file"),
    [
        ("https://h/X.SAFE", "https://h/X.SAFE/a%20b/c.xml"),
        ("https://h/X.SAFE/?signature=s", "https://h/X.SAFE/a%20b/c.xml?signature=s"),
        ("s3://b/X.SAFE/", "s3://b/X.SAFE/a b/c.xml"),
        ("file:///in%20box/X.SAFE", "file:///in%20box/X.SAFE/a%20b/c.xml"),
    ],
)
def test_signature_of_a_folder_holds_for_its_files(folder: str, file: str) -> None:
    assert file_href(folder, "a b/c.xml") == file
