"""Downloads: where redirects may lead, who is told our credentials, and how much is taken."""

from __future__ import annotations

import socket
import traceback
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from conversion_assets.errors import ConversionAssetsError, OrderError, PermanentError, PoisonedInputError
from conversion_assets.resources.remote_files import MOST_REDIRECTS, remote_files
from conversion_assets.web.addresses import HrefRules
from conversion_assets.web.authentication import CookieAuth, HeaderAuth, OidcAuth, OriginAuth, UserAuth
from conversion_assets_tests.web.server import Reply, Site, serving_replies

BOTH = HrefRules(("http",), private_hosts=("127.0.0.1", "localhost"))
ONLY_LOCALHOST = HrefRules(("http",), private_hosts=("localhost",))
TOKEN = Reply(body={"access_token": "hunter2", "token_type": "bearer"})


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving_replies() as served:
        yield served


def read(
    href: str, rules: HrefRules = BOTH, auth: OriginAuth | None = None, limit: int | None = None
) -> bytes:
    return b"".join(remote_files(href, rules, auth).read(href, limit=limit))


def redirect(target: str, status: int = 302) -> Reply:
    return Reply(status, headers={"Location": target})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_to_an_allowed_place_is_followed(status: int, site: Site) -> None:
    site.on("/a/x", redirect("../b/x?part=1", status))
    site.on("/b/x", redirect(f"{site.other_root}/c/x", status))
    site.on("/c/x", Reply(body=b"content"))
    assert read(f"{site.root}/a/x") == b"content"
    assert [asked.path for asked in site.asked] == ["/a/x", "/b/x?part=1", "/c/x"]


@pytest.mark.parametrize(
    "target", ["/x", "//127.0.0.1/x", "http://10.0.0.1/x", "http://[::1]/x", "http://0/x"]
)
def test_redirect_to_a_private_address_is_refused(target: str, site: Site) -> None:
    site.on("/x", redirect(f"{site.root}{target}" if target == "/x" else target))
    with pytest.raises(OrderError, match=r"it is a redirect to .* private network"):
        read(f"{site.other_root}/x", ONLY_LOCALHOST)
    assert len(site.asked) == 1


def test_redirect_to_a_host_that_is_not_named_is_refused(site: Site) -> None:
    rules = HrefRules(("http",), hosts=("data.test",), private_hosts=("127.0.0.1",))
    site.on("/x", redirect("http://elsewhere.test/x?token=hunter2"))
    with pytest.raises(OrderError, match=r"it is a redirect to http://elsewhere\.test/x: the host") as caught:
        read(f"{site.root}/x", rules)
    assert "hunter2" not in str(caught.value)


def test_name_of_this_machine_is_refused(site: Site) -> None:
    href = f"{site.other_root}/x"
    files = remote_files(href, HrefRules(("http",)))
    with pytest.raises(OrderError, match="private network"):
        files.stat(href)
    with pytest.raises(OrderError, match="private network"):
        next(files.read(href))
    assert site.asked == []


def test_redirects_have_an_end(site: Site) -> None:
    site.on("/x", redirect("/x"))
    with pytest.raises(OrderError, match="redirect more than"):
        read(f"{site.root}/x")
    assert len(site.asked) == MOST_REDIRECTS + 1


def test_redirect_to_nowhere_is_an_error_of_the_server(site: Site) -> None:
    site.on("/x", Reply(302))
    with pytest.raises(PermanentError, match="the server answered 302"):
        read(f"{site.root}/x")


@pytest.mark.parametrize("kind", ["header", "cookie", "user", "oidc", "netrc"])
def test_credentials_do_not_follow_to_another_server(kind: str, site: Site, tmp_path: Path) -> None:
    site.on("/token", TOKEN)
    site.on("/first", redirect("/second"))
    site.on("/second", redirect(f"{site.other_root}/third"))
    site.on("/third", redirect(f"{site.root}/fourth"))
    site.on("/fourth", Reply(body=b"content"))
    if kind == "netrc":
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
    basic = f"Basic {b64encode(b'me:hunter2').decode()}"
    auth, (name, value) = {
        "header": (HeaderAuth("x-api-key", "hunter2", origin=site.root), ("x-api-key", "hunter2")),
        "cookie": (CookieAuth("session", "hunter2", origin=site.root), ("cookie", "session=hunter2")),
        "user": (UserAuth("me", "hunter2", origin=site.root), ("authorization", basic)),
        "oidc": (
            OidcAuth(f"{site.root}/token", "us", origin=site.root),
            ("authorization", "Bearer hunter2"),
        ),
        "netrc": (None, ("authorization", basic)),
    }[kind]
    assert read(f"{site.root}/first", auth=auth) == b"content"
    sent = {asked.path: asked.headers.get(name) for asked in site.asked}
    sent.pop("/token", None)
    assert sent == {"/first": value, "/second": value, "/third": None, "/fourth": value}
    (third,) = site.asked_for("/third")
    assert "hunter2" not in str(third.headers)


def test_several_servers_may_take_one_credential(site: Site) -> None:
    with serving_replies() as third:
        site.on("/catalogue", redirect(f"{site.other_root}/download"))
        site.on("/download", redirect(f"{third.root}/mirror"))
        third.on("/mirror", Reply(body=b"content"))
        auth = HeaderAuth("x-api-key", "hunter2", origin=(site.root, site.other_root))
        assert read(f"{site.root}/catalogue", auth=auth) == b"content"
        assert [asked.headers.get("x-api-key") for asked in site.asked] == ["hunter2", "hunter2"]
        assert "hunter2" not in str(third.asked[0].headers)


@pytest.mark.parametrize("status", [403, 404, 503])
def test_signature_of_a_redirect_is_not_told(status: int, site: Site) -> None:
    site.on("/x", redirect("/signed?X-Amz-Signature=hunter2"))
    site.on("/signed", Reply(status))
    with pytest.raises(ConversionAssetsError, match=str(status)) as caught:
        read(f"{site.root}/x")
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_authentication_comes_before_the_netrc_file(site: Site, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password other\n")
    site.on("/x", Reply(body=b"content"))
    auth = UserAuth("me", "hunter2", origin=site.root)
    assert read(f"{site.root}/x", auth=auth) == b"content"
    assert site.asked[0].headers["authorization"] == f"Basic {b64encode(b'me:hunter2').decode()}"


def test_authentication_for_another_server_leaves_the_netrc_file_in_force(site: Site, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
    site.on("/x", Reply(body=b"content"))
    read(f"{site.root}/x", auth=HeaderAuth("x-api-key", "other", origin=site.other_root))
    assert site.asked[0].headers["authorization"] == f"Basic {b64encode(b'me:hunter2').decode()}"
    assert "x-api-key" not in site.asked[0].headers


def test_name_that_changes_its_address_meets_nobody(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [("93.184.216.34", 0), ("127.0.0.1", site.port)]

    def changing(*_: object, **__: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", answers.pop(0))]

    monkeypatch.setattr(socket, "getaddrinfo", changing)
    with pytest.raises(OrderError, match=r"data\.test .*\(127\.0\.0\.1\)"):
        read(f"http://data.test:{site.port}/x", HrefRules(("http",)))
    assert (site.asked, answers) == ([], [])


def test_token_that_is_refused_is_renewed_once(site: Site) -> None:
    site.on("/token", Reply(body={"access_token": "old"}), Reply(body={"access_token": "new"}))
    site.on("/x", Reply(401), Reply(body=b"content"))
    auth = OidcAuth(f"{site.root}/token", "us", origin=site.root)
    assert read(f"{site.root}/x", auth=auth) == b"content"
    site.on("/x", Reply(401))
    with pytest.raises(PermanentError, match="401"):
        read(f"{site.root}/x", auth=auth)
    sent = [asked.headers["authorization"] for asked in site.asked_for("/x")]
    assert sent == ["Bearer old", "Bearer new", "Bearer new", "Bearer new"]


def test_file_that_is_larger_than_announced_is_left(site: Site, tmp_path: Path) -> None:
    site.on("/x", Reply(body=b"x" * 100))
    (tmp_path / "x").write_bytes(b"x" * 100)
    rules = HrefRules(("http", "file"), private_hosts=("127.0.0.1",))
    for href in (f"{site.root}/x", (tmp_path / "x").as_uri()):
        assert len(read(href, rules, limit=100)) == 100
        with pytest.raises(PoisonedInputError, match="more than the 99 bytes"):
            read(href, rules, limit=99)


def test_proxy_of_the_operator_may_be_on_this_machine(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", site.root)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    site.on("http://data.invalid/x", Reply(body=b"content"))
    assert read("http://data.invalid/x", HrefRules(("http",))) == b"content"
