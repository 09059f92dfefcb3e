from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest

from conversion_assets.definitions import build_definitions
from conversion_assets.instance import open_instance
from conversion_assets.ordering import Wishes, orders_from
from conversion_assets.running import run_order
from conversion_assets.services import order_defaults_now, resources_for
from conversion_assets.settings import PREFIX, Settings
from conversion_assets_tests.end_to_end.command import run
from conversion_assets_tests.end_to_end.secrets_in import in_files, in_texts, search
from conversion_assets_tests.safe.products import S1_NAME
from conversion_assets_tests.web.server import Reply, Site, serving_replies

SECRETS = {
    name: f"canary-of-{name}"
    for name in (
        "SOURCE_API_KEY",
        "SOURCE_OIDC_CLIENT_SECRET",
        "SOURCE_OIDC_PASSWORD",
        "S3_ACCESS_KEY",
        "S3_SECRET_KEY",
        "S3_SESSION_TOKEN",
    )
}
TOKENS = {"access": "canary-of-access", "refresh": "canary-of-refresh", "redirect": "canary-of-signature"}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SECRETS, "S3_ENDPOINT", "S3_REGION"):
        monkeypatch.delenv(PREFIX + name, raising=False)
    for name in ("S3_ACCESSKEY", "S3_SECRETKEY", "S3_ENDPOINT", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(PREFIX + name, value)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving_replies() as served:
        yield served


def archive_of_letters() -> bytes:
    """An archive that is refused as soon as it is unzipped."""
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("letters/first.txt", "Dear reader")
    return content.getvalue()


def test_without_settings_the_usual_credentials_hold(tmp_path: Path) -> None:
    defaults = order_defaults_now(Settings(home=tmp_path))
    assert defaults.credentials
    assert defaults.credentials.storage is None
    assert defaults.credentials.authentication
    assert defaults.credentials.authentication.auth() is None


@pytest.mark.usefixtures("_secrets")
def test_credentials_of_sources_come_from_the_environment(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        source_origins=("https://one.test", "https://two.test"),
        source_oidc_token_url="https://id.test/token",  # noqa: S106 - no password
        source_oidc_client_id="us",
        source_oidc_username="me",
    )
    credentials = order_defaults_now(settings).credentials
    assert credentials
    assert credentials.authentication
    assert credentials.storage
    access = credentials.storage.access()
    known = {*credentials.authentication.secrets(), access.key, access.secret, access.token}
    assert known == set(SECRETS.values())
    assert credentials.origins == ["https://one.test", "https://two.test"]
    assert "canary" not in repr(credentials) + repr(resources_for(settings))


@pytest.mark.parametrize("name", ["S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_SESSION_TOKEN", "S3_ENDPOINT"])
def test_s3_sources_are_on_our_own_s3_where_there_is_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PREFIX + name, "https://s3.test")
    credentials = order_defaults_now(Settings(home=tmp_path)).credentials
    assert credentials
    assert credentials.storage


@pytest.mark.usefixtures("_secrets")
def test_protected_order_leaves_no_secret(
    site: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """From the item to the archive, which a redirect with a signature gives, and is no product."""
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.NOTSET, "httpx")
    token = {"access_token": TOKENS["access"], "refresh_token": TOKENS["refresh"], "expires_in": 0}
    site.on("/token", Reply(body=token))
    assets = {"product": {"href": "../X.zip", "type": "application/zip"}}
    site.on("/items/X", Reply(body={"type": "Feature", "id": "X", "geometry": None, "assets": assets}))
    site.on("/X.zip", Reply(302, headers={"Location": f"/signed?signature={TOKENS['redirect']}"}))
    site.on("/signed", Reply(403), Reply(body=archive_of_letters()))
    settings = Settings(
        home=tmp_path / "home",
        schemes=("http",),
        private_hosts=("127.0.0.1",),
        source_origins=(site.root,),
        source_oidc_token_url=f"{site.root}/token",
        source_oidc_client_id="us",
        source_oidc_username="me",
    )
    defaults = order_defaults_now(settings)
    definitions = build_definitions(settings)
    wishes = Wishes(
        owner="local", default_owner="local", rules=defaults.rules, credentials=defaults.credentials
    )
    (order,) = orders_from(f"{site.root}/items/X", wishes)
    with open_instance(settings) as instance:
        results = [
            run_order(definitions, instance, order, reconvert=False, listener=lambda *_: None) for _ in "12"
        ]
    assert "the server answered 403" in str(results[0].error)
    assert "must hold one .SAFE or .SEN3 folder" in str(results[1].error)
    asked = [one for path in ("/items/X", "/X.zip", "/signed") for one in site.asked_for(path)]
    assert {one.headers.get("authorization") for one in asked} == {f"Bearer {TOKENS['access']}"}
    captured = capfd.readouterr()
    told = in_texts(
        logs=caplog.text,
        out=captured.out,
        err=captured.err,
        order=order.model_dump_json(),
        results=[result.model_dump(mode="json") for result in results],
    )
    assert search(SECRETS | TOKENS, [*told, *in_files(settings.home)]) == {}


def test_addresses_stay_out_of_the_logs(site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore"):
        caplog.set_level(logging.NOTSET, name)
    url = f"{site.root}/x?signature=hunter2"
    httpx.get(url)
    assert "hunter2" in caplog.text
    caplog.clear()
    build_definitions(Settings(home=tmp_path))
    httpx.get(url)
    assert caplog.text == ""
    stricter = logging.getLogger("httpx")
    stricter.setLevel(logging.ERROR)
    build_definitions(Settings(home=tmp_path))
    assert stricter.level == logging.ERROR


def test_command_line_shows_its_key_to_the_source_and_remarks_to_the_person(
    site: Site, tmp_path: Path
) -> None:
    product = {"href": f"s3://bucket/{S1_NAME}.zip", "file:checksum": "an-entity-tag"}
    item = {"type": "Feature", "id": "X", "geometry": None, "assets": {"product": product}}
    site.on("/items/X", Reply(body=item))
    ended = run(
        "convert",
        "--json",
        "--collection",
        "S02MSIL2A=c",
        f"{site.root}/items/X",
        home=tmp_path,
        schemes="http,s3",
        private_hosts="127.0.0.1",
        source_origins=f"https://download.test, {site.root}",
        source_api_key="canary",
    )
    assert ended.code == 2
    assert ended.stderr.startswith("note item X, asset 'product': its file:checksum was left out")
    assert "no target for a product of type S01SIWGRD" in ended.stdout
    assert [asked.headers["x-api-key"] for asked in site.asked] == ["canary"]
    assert (
        search({"key": "canary"}, [*in_texts(out=ended.stdout, err=ended.stderr), *in_files(tmp_path)]) == {}
    )
