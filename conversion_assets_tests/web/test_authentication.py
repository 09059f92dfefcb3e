from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import parse_qs

import pytest

from conversion_assets.errors import PermanentError, TransientError
from conversion_assets.web.authentication import CookieAuth, HeaderAuth, OidcAuth, OriginAuth, UserAuth
from conversion_assets.web.client import WebClient
from conversion_assets_tests.web.server import Reply, Site

USER = {"username": "me", "password": "hunter2 &"}
REFRESH = {"refresh_token": "r1"}
KINDS = ("header", "cookie", "user", "oidc")
SENT = {
    "header": ("x-api-key", "hunter2"),
    "cookie": ("cookie", "session=hunter2"),
    "user": ("authorization", f"Basic {b64encode(b'someone:hunter2').decode()}"),
    "oidc": ("authorization", "Bearer token-1"),
}


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


@pytest.fixture
def oidc(site: Site, clock: list[float]) -> Callable[..., OidcAuth]:
    def make(*credentials: str, **options: str) -> OidcAuth:
        site.on("/data", Reply())
        return OidcAuth(
            f"{site.root}/token", *credentials, origin=site.root, clock=lambda: clock[0], **options
        )

    return make


def token(number: int, **facts: object) -> Reply:
    return Reply(body={"access_token": f"token-{number}", "token_type": "Bearer", **facts})


def forms(site: Site) -> list[dict[str, str]]:
    """Give what the provider was asked."""
    return [
        {name: one for name, (one,) in parse_qs(asked.body).items()} for asked in site.asked_for("/token")
    ]


def bearers(site: Site) -> list[str]:
    return [asked.headers["authorization"] for asked in site.asked_for("/data")]


def ask(site: Site, auth: OriginAuth, times: int = 1) -> None:
    with WebClient(site.root, auth=auth, retries=0) as client:
        for _ in range(times):
            client.get("data")


def made(kind: str, site: Site) -> OriginAuth:
    site.on("/token", token(1))
    kinds: dict[str, OriginAuth] = {
        "header": HeaderAuth("x-api-key", "hunter2\n", origin=site.root),
        "cookie": CookieAuth("session", " hunter2", origin=f"{site.root}/some/path"),
        "user": UserAuth("someone", "hunter2", origin=site.root),
        "oidc": OidcAuth(f"{site.root}/token", "us", "hunter2", origin=site.root),
    }
    return kinds[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_credential_goes_to_its_server_and_to_no_other(kind: str, site: Site) -> None:
    site.on("/data", Reply())
    auth = made(kind, site)
    name, value = SENT[kind]
    for root, expected in ((site.root, value), (site.other_root, None)):
        with WebClient(root, auth=auth) as client:
            client.get("data")
        assert site.asked[-1].headers.get(name) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_secret_is_shown(kind: str, site: Site) -> None:
    auth = made(kind, site)
    site.on("/data", Reply())
    ask(site, auth)
    assert "hunter2" not in repr(auth) + str(auth)
    assert "token-1" not in repr(auth) + str(auth)
    assert "127.0.0.1" in repr(auth)


@pytest.mark.parametrize(
    ("origin", "same"),
    [
        ("https://h:443/x", True),
        ("https://H", True),
        ("http://h", False),
        ("https://h:8443", False),
        ("https://h.example.org", False),
        ("https://example.org/h", False),
    ],
)
def test_server_is_scheme_host_and_port(origin: str, same: bool) -> None:
    assert UserAuth("u", "p", origin=origin).covers("https://h/path?query") is same


@pytest.mark.parametrize("value", ["", "  ", "hunter2\r\nX-Other: 1", "hunter2é", "hunter2\x00"])
def test_value_that_no_header_can_have_is_refused_without_showing_it(value: str) -> None:
    for make in (HeaderAuth, CookieAuth):
        with pytest.raises(PermanentError, match="its value is empty or holds") as caught:
            make("x", value, origin="https://h")
        assert "hunter2" not in f"{caught.value}{caught.value.__context__}"
    with pytest.raises(PermanentError):
        CookieAuth("x", "a;b", origin="https://h")


@pytest.mark.parametrize("origin", ["", "h", "https://", "http://h:port", "http://[::1", "http://h/\ud800"])
def test_origin_is_a_url(origin: str) -> None:
    with pytest.raises(PermanentError, match="no URL"):
        HeaderAuth("x", "y", origin=origin)


def test_client_credentials(site: Site, oidc: Callable[..., OidcAuth]) -> None:
    site.on("/token", token(1, expires_in=100))
    ask(site, oidc("a client", "hunter2+", scope="write"), times=2)
    assert forms(site) == [{"grant_type": "client_credentials", "scope": "write"}]
    expected = b64encode(b"a+client:hunter2%2B").decode()
    assert site.asked_for("/token")[0].headers["authorization"] == f"Basic {expected}"
    assert bearers(site) == ["Bearer token-1"] * 2


def test_password_of_a_public_client(site: Site, oidc: Callable[..., OidcAuth]) -> None:
    site.on("/token", token(1))
    ask(site, oidc("public", **USER))
    assert forms(site) == [{"grant_type": "password", "client_id": "public", **USER}]
    assert "authorization" not in site.asked_for("/token")[0].headers


def test_token_is_renewed_when_most_of_its_life_is_over(
    site: Site, oidc: Callable[..., OidcAuth], clock: list[float]
) -> None:
    site.on("/token", token(1, expires_in="100"), token(2, expires_in=100))
    auth = oidc("us", "hunter2")
    for seconds in (0, 79, 2):
        clock[0] += seconds
        ask(site, auth)
    assert bearers(site) == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]


def test_refresh_token_is_used_and_kept(
    site: Site, oidc: Callable[..., OidcAuth], clock: list[float]
) -> None:
    site.on("/token", token(1, expires_in=10, **REFRESH), token(2, expires_in=10), token(3))
    auth = oidc("us", "hunter2", "me", "pw")
    for _ in range(3):
        ask(site, auth)
        clock[0] += 10
    assert forms(site)[1:] == [{"grant_type": "refresh_token", "refresh_token": "r1"}] * 2
    assert bearers(site) == ["Bearer token-1", "Bearer token-2", "Bearer token-3"]


@pytest.mark.parametrize("status", [400, 401])
def test_refresh_token_that_is_refused_is_replaced(
    status: int, site: Site, oidc: Callable[..., OidcAuth], clock: list[float]
) -> None:
    site.on(
        "/token",
        token(1, expires_in=10, **REFRESH),
        Reply(status, {"error": "invalid_grant"}),
        token(2, expires_in=10),
    )
    auth = oidc("us", "hunter2")
    ask(site, auth)
    clock[0] += 10
    ask(site, auth)
    assert [form["grant_type"] for form in forms(site)] == [
        "client_credentials",
        "refresh_token",
        "client_credentials",
    ]
    assert bearers(site)[-1] == "Bearer token-2"


def test_refused_token_is_renewed_once(site: Site, oidc: Callable[..., OidcAuth]) -> None:
    auth = oidc("us", "hunter2")
    site.on("/token", token(1), token(2))
    site.on("/data", Reply(401), Reply(body={"ok": True}))
    with WebClient(site.root, auth=auth, retries=0) as client:
        assert client.post("data", json={"a": 1}).json == {"ok": True}
    assert bearers(site) == ["Bearer token-1", "Bearer token-2"]
    assert [asked.body for asked in site.asked_for("/data")] == ['{"a":1}'] * 2


def test_server_that_refuses_every_token_is_not_asked_for_ever(
    site: Site, oidc: Callable[..., OidcAuth]
) -> None:
    auth = oidc("us", "hunter2")
    site.on("/token", token(1), token(2), token(3))
    site.on("/data", Reply(401, {"detail": "token-2 is not welcome"}))
    with pytest.raises(PermanentError, match=r"401 .*: … is not welcome"):
        ask(site, auth)
    assert len(site.asked_for("/data")) == 2


def test_token_is_shared_by_threads(site: Site, oidc: Callable[..., OidcAuth]) -> None:
    site.on("/token", token(1), token(2))
    auth = oidc("us", "hunter2")
    threads = [threading.Thread(target=ask, args=(site, auth)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bearers(site) == ["Bearer token-1"] * 8
    assert len(forms(site)) == 1


@pytest.mark.parametrize(
    ("reply", "expected", "words"),
    [
        (
            Reply(401, {"error": "invalid_client", "error_description": "no hunter2"}),
            PermanentError,
            "invalid_client: no …",
        ),
        (Reply(400, b"grant_type=client_credentials is not hunter2"), PermanentError, "is not …"),
        (Reply(200, b"<html>sign in"), PermanentError, "holds no bearer token"),
        (Reply(200, {"access_token": "hunter2\r\nX: y"}), PermanentError, "holds no bearer token"),
        (
            Reply(200, {"access_token": "hunter2", "token_type": "mac"}),
            PermanentError,
            "holds no bearer token",
        ),
    ],
)
def test_provider_that_gives_no_token_is_named(
    reply: Reply, expected: type[Exception], words: str, site: Site, oidc: Callable[..., OidcAuth]
) -> None:
    site.on("/token", reply)
    with pytest.raises(expected, match=words) as caught:
        ask(site, oidc("us", "hunter2"))
    assert str(caught.value).startswith(f"sign-in service (POST {site.root}/token)") or "holds no" in words
    assert "hunter2" not in str(caught.value)
    assert site.asked_for("/data") == []


def test_provider_that_fails_in_passing_is_asked_again(site: Site, oidc: Callable[..., OidcAuth]) -> None:
    site.on(
        "/token", Reply(429, headers={"Retry-After": "0"}), Reply(503, headers={"Retry-After": "0"}), token(1)
    )
    ask(site, oidc("us", "hunter2"))
    assert bearers(site) == ["Bearer token-1"]


def test_provider_that_stays_busy_is_transient(site: Site, oidc: Callable[..., OidcAuth]) -> None:
    site.on("/token", Reply(503, headers={"Retry-After": "0"}))
    with pytest.raises(TransientError, match="sign-in service"):
        ask(site, oidc("us", "hunter2"))
