from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from conversion_assets.errors import PermanentError
from conversion_assets.storage.access import S3Access, create_bucket, filesystem_of


@pytest.fixture
def access(s3_endpoint: str) -> S3Access:
    return S3Access(s3_endpoint, region="eu-central-1", key="someone", secret="anything")  # noqa: S106 - any will do


def test_local_addresses_are_unquoted(tmp_path: Path) -> None:
    place = tmp_path / "a b%20c"
    place.mkdir()
    (place / "x").write_bytes(b"x")
    filesystem, path = filesystem_of(place.as_uri(), S3Access())
    assert path == str(place)
    assert filesystem.cat_file(f"{path}/x") == b"x"


def test_addresses_on_s3_are_taken_as_they_are(access: S3Access, s3: Any) -> None:  # noqa: ANN401 - boto3 ships no types
    bucket = f"bucket-{uuid4()}"
    filesystem, path = filesystem_of(f"s3://{bucket}/a b%20c#?/", access)
    create_bucket(filesystem, bucket)
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] == "eu-central-1"
    create_bucket(filesystem, bucket)
    s3.put_object(Bucket=bucket, Key="a b%20c#?/x", Body=b"x")
    assert filesystem.cat_file(f"{path}/x") == b"x"


@pytest.mark.parametrize("uri", ["https://host/x", "", "/etc", "s3:/bucket/x"])
def test_other_addresses_are_refused(uri: str) -> None:
    with pytest.raises(PermanentError, match="neither"):
        filesystem_of(uri, S3Access())


@pytest.mark.parametrize("endpoint", ["nonsense", "http://", "http://a b"])
def test_endpoint_that_is_no_url_is_told(endpoint: str) -> None:
    with pytest.raises(PermanentError, match=r"endpoint .* no URL.*CONVERSION_ASSETS_S3_ENDPOINT"):
        S3Access(endpoint, region="x", key="x", secret="x").filesystem()  # noqa: S106 - never sent


def test_credentials_are_not_shown() -> None:
    access = S3Access("http://127.0.0.1:1", key="canary", secret="canary", token="canary")  # noqa: S106 - not shown
    assert "canary" not in f"{access} {access!r}"


def test_filesystems_share_nothing(access: S3Access) -> None:
    assert access.filesystem() is not access.filesystem()
