"""Each server of the suite serves, and does what our clients count on."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any

import boto3
import botocore.config
import botocore.exceptions
import httpx
import pytest

from conversion_assets_tests.services.oidc import IdentityProvider
from conversion_assets_tests.services.radosgw import S3Server

BUCKET = "products"


def s3_client(server: S3Server, secret: str | None = None) -> Any:  # noqa: ANN401 - boto3 ships no types
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.key,
        aws_secret_access_key=secret or server.secret,
        region_name="default",
        config=botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
    )


def test_object_is_put_and_got_by_path(radosgw_server: S3Server) -> None:
    client = s3_client(radosgw_server)
    client.create_bucket(Bucket=BUCKET)
    client.put_object(Bucket=BUCKET, Key="a b/é+.zarr/.zattrs", Body=b"{}")
    assert client.get_object(Bucket=BUCKET, Key="a b/é+.zarr/.zattrs")["Body"].read() == b"{}"
    (listed,) = client.list_objects_v2(Bucket=BUCKET, Prefix="a b/")["Contents"]
    assert listed["Key"] == "a b/é+.zarr/.zattrs"
    assert httpx.get(f"{radosgw_server.endpoint_url}/{BUCKET}").status_code == HTTPStatus.FORBIDDEN


def test_wrong_secret_is_refused(radosgw_server: S3Server) -> None:
    with pytest.raises(botocore.exceptions.ClientError, match="SignatureDoesNotMatch"):
        s3_client(radosgw_server, "wrong").list_buckets()


def test_item_is_posted_and_read_back(pgstac_url: str) -> None:
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": "one",
        "collection": "smoke",
        "geometry": {"type": "Point", "coordinates": [1, 2]},
        "bbox": [1, 2, 1, 2],
        "properties": {"datetime": "2024-06-15T10:25:59Z"},
        "links": [],
        "assets": {},
    }
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
    collection: dict[str, Any] = {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": "smoke",
        "description": "One item.",
    }
    collection |= {"license": "other", "extent": extent, "links": []}
    with httpx.Client(base_url=pgstac_url, timeout=30) as client:
        assert client.post("/collections", json=collection).status_code == HTTPStatus.CREATED
        assert client.post("/collections/smoke/items", json=item).status_code == HTTPStatus.CREATED
        assert client.post("/collections/smoke/items", json=item).status_code == HTTPStatus.CONFLICT
        (found,) = client.post("/search", json={"ids": ["one"]}).json()["features"]
    assert found["properties"] == item["properties"]


def token(provider: IdentityProvider, **form: str) -> httpx.Response:
    client = {"client_id": provider.client, "client_secret": provider.secret}
    return httpx.post(provider.token_url, data={**client, **form})


def subject(provider: IdentityProvider, access_token: str) -> str | None:
    headers = {"Authorization": f"Bearer {access_token}"}
    answer = httpx.get(provider.protected_url, headers=headers)
    assert answer.status_code in (HTTPStatus.OK, HTTPStatus.UNAUTHORIZED)
    told: str | None = answer.json().get("subject")
    return told


def test_client_has_a_token_for_a_while(identity_provider: IdentityProvider) -> None:
    answer = token(identity_provider, grant_type="client_credentials").json()
    assert answer["expires_in"] == identity_provider.seconds
    assert subject(identity_provider, answer["access_token"]) == identity_provider.client
    time.sleep(identity_provider.seconds + 1)
    assert subject(identity_provider, answer["access_token"]) is None


def test_user_has_a_token_and_renews_it(identity_provider: IdentityProvider) -> None:
    user = {"username": identity_provider.user, "password": identity_provider.password}
    first = token(identity_provider, grant_type="password", **user).json()
    renewed = token(
        identity_provider, grant_type="refresh_token", refresh_token=first["refresh_token"]
    ).json()
    assert renewed["access_token"] != first["access_token"]
    assert subject(identity_provider, renewed["access_token"]) == identity_provider.user


def test_wrong_credentials_are_refused(identity_provider: IdentityProvider) -> None:
    user = {"username": identity_provider.user, "password": "wrong"}
    answer = token(identity_provider, grant_type="password", **user)
    assert (answer.status_code, answer.json()["error"]) == (HTTPStatus.BAD_REQUEST, "invalid_grant")
    stranger = token(identity_provider, grant_type="client_credentials", client_secret="wrong")  # noqa: S106 - it is to be refused
    assert (stranger.status_code, stranger.json()["error"]) == (HTTPStatus.UNAUTHORIZED, "invalid_client")
