from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs

import dagster as dg
import pytest

from conversion_assets.errors import OrderError, PermanentError
from conversion_assets.ordering import Wishes, orders_from, read_document
from conversion_assets.orders import Order
from conversion_assets.resources.authentication import Authentication
from conversion_assets.resources.s3_storage import S3Storage
from conversion_assets.resources.source_credentials import SourceCredentials
from conversion_assets.resources.staging import CopyStaging, StagedCopy
from conversion_assets.web.addresses import HrefRules
from conversion_assets_tests.web.server import Reply, Site, serving_replies

CONTENT = b"an archive"
HOSTS = ["127.0.0.1", "localhost"]
RULES = HrefRules(("file", "s3", "http"), private_hosts=tuple(HOSTS))
KEY = Authentication(api_key="hunter2")
Stage = Callable[[SourceCredentials, str], StagedCopy]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving_replies() as served:
        served.on("/X.zip", Reply(body=CONTENT))
        yield served


@pytest.fixture
def provider() -> Iterator[Site]:
    with serving_replies() as served:
        yield served


@pytest.fixture
def third() -> Iterator[Site]:
    with serving_replies() as served:
        served.on("/mirror", Reply(body=CONTENT))
        yield served


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    def staged(credentials: SourceCredentials, href: str) -> StagedCopy:
        order = Order(key="X", item_id="X", href=href, derived_from=href, owner="local")
        copying = CopyStaging(schemes=list(RULES.schemes), private_hosts=HOSTS, credentials=credentials)
        return copying.stage(order, tmp_path / "staged", lambda _: None)

    return staged


def token(number: int, **facts: object) -> Reply:
    return Reply(body={"access_token": f"token-{number}", "token_type": "Bearer", **facts})


def by_oidc(provider: Site, *sources: str) -> SourceCredentials:
    return SourceCredentials(
        origins=list(sources),
        authentication=Authentication(
            oidc_token_url=f"{provider.root}/token",
            oidc_client_id="us",
            oidc_username="me",
            oidc_password="hunter2",  # noqa: S106 - any
        ),
    )


def sent(site: Site, header: str = "authorization") -> list[str | None]:
    return [asked.headers.get(header) for asked in site.asked]


def test_protected_download_over_several_servers(
    site: Site, provider: Site, third: Site, stage: Stage
) -> None:
    """As one catalogue does it: the item's server sends on to the download server, which has a mirror."""
    provider.on("/token", token(1))
    site.on("/catalogue/X.zip", Reply(302, headers={"Location": f"{site.other_root}/download"}))
    site.on("/download", Reply(302, headers={"Location": f"{third.root}/mirror"}))
    credentials = by_oidc(provider, site.root, f"{site.other_root}/of/no/importance")
    assert stage(credentials, f"{site.root}/catalogue/X.zip").path.read_bytes() == CONTENT
    assert len(site.asked) == 2 * len(third.asked) > 0
    assert set(sent(site)) == {"Bearer token-1"}
    assert set(sent(third)) == {None}
    assert not [asked for asked in third.asked if "token-1" in str(asked)]
    (asked,) = provider.asked
    assert parse_qs(asked.body)["password"] == ["hunter2"]


def test_token_that_has_expired_is_renewed(site: Site, provider: Site, stage: Stage) -> None:
    provider.on("/token", token(1, expires_in=0, refresh_token="again"), token(2, expires_in=3600))  # noqa: S106 - any
    stage(by_oidc(provider, site.root), f"{site.root}/X.zip")
    assert len(site.asked) > 2
    assert sent(site)[0] == "Bearer token-1"
    assert set(sent(site)[1:]) == {"Bearer token-2"}
    assert [parse_qs(asked.body)["grant_type"] for asked in provider.asked] == [
        ["password"],
        ["refresh_token"],
    ]


def test_token_that_is_refused_is_renewed(site: Site, provider: Site, stage: Stage) -> None:
    provider.on("/token", token(1), token(2))
    site.on("/X.zip", Reply(401), Reply(body=CONTENT))
    assert stage(by_oidc(provider, site.root), f"{site.root}/X.zip").path.read_bytes() == CONTENT
    assert sent(site)[:2] == ["Bearer token-1", "Bearer token-2"]


def test_runs_and_orders_of_one_process_share_a_token(
    site: Site, provider: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider lets a user have so many sessions only."""
    monkeypatch.setenv("SOURCE_PASSWORD", "hunter2")
    provider.on("/token", token(1))
    for _ in range(3):
        configured = by_oidc(provider, site.root)
        authentication = configured.authentication
        assert authentication
        secret = dg.EnvVar("SOURCE_PASSWORD")
        named = authentication.model_copy(update={"oidc_password": secret})
        resource = SourceCredentials(origins=configured.origins, authentication=named)
        with dg.build_resources({"credentials": resource}) as ready:
            read_document(f"{site.root}/X.zip", RULES, ready.credentials)
    assert set(sent(site)) == {"Bearer token-1"}
    assert len(provider.asked) == 1


def test_api_key_of_a_source(site: Site, third: Site, stage: Stage) -> None:
    credentials = SourceCredentials(origins=[site.root], authentication=KEY)
    stage(credentials, f"{site.root}/X.zip")
    assert set(sent(site, "x-api-key")) == {"hunter2"}
    read_document(f"{third.root}/mirror", RULES, credentials)
    assert sent(third, "x-api-key") == [None]


def test_netrc_file_holds_for_all_other_servers(site: Site, third: Site, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password other\n")
    credentials = SourceCredentials(origins=[site.root], authentication=KEY)
    read_document(f"{site.root}/X.zip", RULES, credentials)
    read_document(f"{third.root}/mirror", RULES, credentials)
    assert sent(site) == [None]
    assert str(sent(third)[0]).startswith("Basic ")


def test_protected_item_is_ordered(site: Site, provider: Site) -> None:
    provider.on("/token", token(1))
    asset = {"href": "http://download.test/X.zip", "type": "application/zip"}
    item = {"type": "Feature", "id": "X", "geometry": None, "assets": {"product": asset}}
    site.on("/items/X", Reply(body=item))
    wishes = Wishes(owner="o", default_owner="o", rules=RULES, credentials=by_oidc(provider, site.root))
    (order,) = orders_from(f"{site.root}/items/X", wishes)
    assert order.href == asset["href"]
    assert sent(site) == ["Bearer token-1"]
    assert "hunter2" not in f"{wishes!r}{order!r}"


def test_credentials_for_no_server_are_told(site: Site, stage: Stage, tmp_path: Path) -> None:
    lost = SourceCredentials(authentication=KEY)
    with pytest.raises(PermanentError, match="CONVERSION_ASSETS_SOURCE_ORIGINS") as caught:
        stage(lost, f"{site.root}/X.zip")
    assert "hunter2" not in str(caught.value)
    assert site.asked == []
    (tmp_path / "X.zip").write_bytes(CONTENT)
    assert stage(lost, (tmp_path / "X.zip").as_uri()).path.read_bytes() == CONTENT
    stage(SourceCredentials(authentication=Authentication()), f"{site.root}/X.zip")


def test_server_that_is_no_url_is_told(site: Site, stage: Stage) -> None:
    with pytest.raises(PermanentError, match=r"download\.test: it is no URL of a server"):
        stage(SourceCredentials(origins=["download.test"], authentication=KEY), f"{site.root}/X.zip")


def test_wrong_password_is_told_without_it(site: Site, provider: Site, stage: Stage) -> None:
    words = {"error": "invalid_grant", "error_description": "hunter2 is not the password"}
    provider.on("/token", Reply(401, body=words))
    with pytest.raises(PermanentError, match="401") as caught:
        stage(by_oidc(provider, site.root), f"{site.root}/X.zip")
    assert "hunter2" not in str(caught.value)
    assert site.asked == []


def test_refused_scheme_comes_before_any_credential(provider: Site, stage: Stage) -> None:
    with pytest.raises(OrderError, match="not allowed"):
        stage(by_oidc(provider, "https://download.test"), "https://download.test/X.zip")
    assert provider.asked == []


def test_s3_source_with_keys_of_ours(site: Site, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody-else")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    for path in ("/bucket", "/bucket/X.zip"):
        site.on(path, Reply(403, body=b""))  # as an answer to HEAD has to be
    storage = S3Storage(
        endpoint_url=site.root,
        region_name="eu-central-1",
        aws_access_key_id="ours",
        aws_secret_access_key="hunter2",  # noqa: S106 - any
        aws_session_token="session",  # noqa: S106 - any
        max_attempts=1,
    )
    with pytest.raises(PermanentError) as caught:
        stage(SourceCredentials(storage=storage), "s3://bucket/X.zip")
    assert site.asked
    assert all(" Credential=ours/" in str(value) for value in sent(site))
    assert set(sent(site, "x-amz-security-token")) == {"session"}
    assert "hunter2" not in f"{caught.value}{storage!r}"
