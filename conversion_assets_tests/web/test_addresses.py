from __future__ import annotations

import socket
from collections.abc import Sequence

import httpx
import pytest

from conversion_assets.errors import OrderError
from conversion_assets.web.addresses import ConnectionCheck, HrefRules, redacted
from conversion_assets_tests.web.server import Reply, Site

ANY = HrefRules(("file", "s3", "http", "https"))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.10",
        "0.0.0.0",  # noqa: S104 - nothing is bound
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "[::]",
        "[::1]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd12:3456::1]",
        "[ff02::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[2002:7f00:1::]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::a9fe:a9fe]",
        "[2001:db8::1]",
    ],
)
def test_address_that_is_not_public_is_refused_before_anything_is_asked(address: str) -> None:
    with pytest.raises(OrderError, match=r"on this machine or in a private network") as caught:
        ANY.check_name(f"http://someone:hunter2@{address}:8080/x?sig=hunter2")
    assert caught.value.subject == f"http://{address}:8080/x"
    assert "CONVERSION_ASSETS_PRIVATE_HOSTS" in caught.value.way_out


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "1.1.1.1", "[2606:4700::1111]", "[64:ff9b::101:101]", "[::ffff:1.1.1.1]"]
)
def test_public_address_passes(address: str) -> None:
    ANY.check(f"https://{address}/x")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "2130706433", "0x7f.1", "127.1"])
def test_name_that_resolves_to_this_machine_is_refused(host: str) -> None:
    with pytest.raises(OrderError, match=r"on this machine .*\((127\.0\.0\.1|::1)\)"):
        ANY.check(f"http://{host}/x")


def test_every_address_of_a_name_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch, ["93.184.216.34", "10.0.0.1"])
    with pytest.raises(OrderError, match=r"data\.test .*10\.0\.0\.1"):
        ANY.check("https://data.test/x")
    resolve(monkeypatch, ["93.184.216.34"])
    ANY.check("https://data.test/x")


def test_name_without_an_address_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    ANY.check("https://data.test/x")


def resolve(monkeypatch: pytest.MonkeyPatch, addresses: Sequence[str]) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


@pytest.mark.parametrize(
    ("pattern", "host", "allowed"),
    [
        ("data.example.org", "data.example.org", True),
        ("data.example.org", "DATA.example.org.", True),
        ("Data.Example.Org", "data.example.org", True),
        ("data.example.org", "other.example.org", False),
        ("data.example.org", "data.example.org.evil.test", False),
        ("data.example.org", "xdata.example.org", False),
        ("*.example.org", "data.example.org", True),
        ("*.example.org", "a.b.example.org", True),
        ("*.example.org", "example.org", False),
        ("*.example.org", "evilexample.org", False),
        ("*.example.org", "example.org.evil.test", False),
        ("bücher.example", "xn--bcher-kva.example", False),
        ("xn--bcher-kva.example", "bücher.example", True),
    ],
)
def test_hosts_may_be_named(pattern: str, host: str, allowed: bool) -> None:
    rules = HrefRules(("https",), hosts=("unrelated.test", pattern))
    if allowed:
        rules.check_name(f"https://{host}/x")
        return
    with pytest.raises(OrderError, match=r"is not allowed, only unrelated\.test, ") as caught:
        rules.check_name(f"https://{host}/x")
    assert "CONVERSION_ASSETS_HOSTS" in caught.value.way_out


@pytest.mark.parametrize(
    "url",
    [
        "https://data.example.org@evil.test/x",
        "https://data.example.org:pw@evil.test/x",
        "https://evil.test/data.example.org",
        "https://evil.test?data.example.org",
        "https://evil.test#data.example.org",
        "https://evil.test\\@data.example.org/x?",
    ],
)
def test_host_is_the_one_that_is_asked(url: str) -> None:
    """Two parsers may read one URL differently; what counts is the one that makes the connection."""
    rules = HrefRules(("https",), hosts=("data.example.org",))
    if httpx.URL(url).host == "data.example.org":
        rules.check_name(url)
    else:
        with pytest.raises(OrderError):
            rules.check_name(url)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "10.0.0.1"])
def test_private_host_may_be_allowed(host: str) -> None:
    HrefRules(("http",), private_hosts=(host,)).check(f"http://{host}:80/x")
    HrefRules(("http",), hosts=("data.test",), private_hosts=(host,)).check(f"http://{host}:80/x")
    with pytest.raises(OrderError, match="private network"):
        HrefRules(("http",), hosts=(host,)).check(f"http://{host}:80/x")


@pytest.mark.parametrize(
    "url",
    ["http://", "http:///x", "http://[/x", "http://h:port/", "http://h\x00/", "http://h/\ud800", "http://‥/"],
)
def test_what_is_no_url_is_a_bad_order(url: str) -> None:
    with pytest.raises(OrderError):
        ANY.check(url)


def test_error_of_a_url_does_not_repeat_its_password() -> None:
    with pytest.raises(OrderError, match="it is no URL") as caught:
        ANY.check("https://me:hunter2@ex℀mple.org/")
    assert "hunter2" not in f"{caught.value}{caught.value.__cause__}{caught.value.__context__}"


def test_other_schemes_are_held_to_their_name_only() -> None:
    rules = HrefRules(("s3", "file"), hosts=("data.test",))
    rules.check("s3://bucket/x")
    rules.check("file:///x")
    with pytest.raises(OrderError, match="the scheme 'http' is not allowed, only s3, file"):
        rules.check("http://data.test/x")


def test_name_that_changes_its_address_meets_nobody(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answer of the name server is public, that for the connection is not."""
    site.on("/x", Reply())
    resolve(monkeypatch, ["93.184.216.34"])
    url = f"http://data.test:{site.port}/x"
    ANY.check(url)
    resolve_to_site(monkeypatch, site)
    with httpx.Client() as client, pytest.raises(OrderError, match=r"data\.test .*\(127\.0\.0\.1\)"):
        client.get(url, extensions={"trace": ConnectionCheck(ANY, url)})
    assert site.asked == []
    with httpx.Client() as client:
        assert client.get(url).status_code == 200  # without the check it would have been asked


def resolve_to_site(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", site.port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_redacted_url_that_is_none() -> None:
    assert redacted("https://me:hunter2@[/x") == "https://…"
