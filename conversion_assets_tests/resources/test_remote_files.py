from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from conversion_assets.errors import ConversionAssetsError, OrderError, PermanentError, TransientError
from conversion_assets.resources.remote_files import remote_files
from conversion_assets.web.addresses import HrefRules, redacted
from conversion_assets_tests.resources.http_files import HttpFiles, serving

RULES = HrefRules(("file", "s3", "http"), private_hosts=("127.0.0.1",))


@pytest.mark.parametrize(
    ("href", "shown"),
    [
        ("https://user:hunter2@host:8/p/X.zip?sig=hunter2#hunter2", "https://host:8/p/X.zip"),
        ("s3://bucket/a b/X.SAFE", "s3://bucket/a b/X.SAFE"),
        ("file:///a/X.SAFE", "file:///a/X.SAFE"),
        ("https://a@b:c@host/X", "https://host/X"),
    ],
)
def test_redacted_url_holds_no_secret(href: str, shown: str) -> None:
    assert redacted(href) == shown


@pytest.mark.parametrize("href", ["ftp://h/x", "https://h/x", "/no/scheme", "", "javascript:alert(1)"])
def test_only_named_schemes_are_read(href: str) -> None:
    with pytest.raises(OrderError, match="not allowed, only file, s3, http"):
        remote_files(href, RULES)


@pytest.mark.parametrize("start", [0, 1, 999, 1000])
def test_reading_begins_where_it_is_told(start: int, tmp_path: Path, site: HttpFiles) -> None:
    content = bytes(index % 251 for index in range(1000))
    (tmp_path / "x").write_bytes(content)
    site.add("x", content)
    for href in ((tmp_path / "x").as_uri(), site.url("x")):
        files = remote_files(href, RULES)
        assert b"".join(files.read(href, start)) == content[start:]
        assert files.stat(href).size == len(content)


def test_version_follows_the_content(tmp_path: Path, site: HttpFiles) -> None:
    (tmp_path / "x").write_bytes(b"1")
    served = site.add("x", b"1")
    hrefs = ((tmp_path / "x").as_uri(), site.url("x"))
    before = [remote_files(href, RULES).stat(href).version for href in hrefs]
    assert before == [remote_files(href, RULES).stat(href).version for href in hrefs]
    (tmp_path / "x").write_bytes(b"2")
    served.content = b"2"
    after = [remote_files(href, RULES).stat(href).version for href in hrefs]
    assert not set(before) & set(after)


def test_folders_are_listed_where_there_are_folders(tmp_path: Path, site: HttpFiles) -> None:
    (tmp_path / "X.SAFE" / "sub").mkdir(parents=True)
    (tmp_path / "X.SAFE" / "one").write_bytes(b"1")
    (tmp_path / "X.SAFE" / "sub" / "two").write_bytes(b"22")
    (tmp_path / "X.SAFE-neighbour").write_bytes(b"333")
    href = (tmp_path / "X.SAFE").as_uri()
    assert remote_files(href, RULES).list_folder(href) == {"one": 1, "sub/two": 2}
    assert remote_files(href, RULES).list_folder(f"{href}/") == {"one": 1, "sub/two": 2}
    assert remote_files(site.root, RULES).list_folder(site.root) is None


def test_connection_that_breaks_in_the_middle_is_transient(site: HttpFiles) -> None:
    site.add("x", b"x" * 1000).cut_after = 10
    files = remote_files(site.url("x"), RULES)
    with pytest.raises(TransientError, match="cannot be reached"):
        b"".join(files.read(site.url("x")))


def test_url_that_is_none_is_a_bad_order() -> None:
    href = "http://127.0.0.1:port/x"
    with pytest.raises(OrderError, match="cannot be followed"):
        remote_files(href, RULES).stat(href)


@pytest.fixture(params=["variable", "home"])
def netrc_file(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the path at which the user's netrc file is looked for."""
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if request.param == "home":
        return tmp_path / ".netrc"
    monkeypatch.setenv("NETRC", str(tmp_path / "credentials"))
    return tmp_path / "credentials"


def test_credentials_of_a_host_come_from_the_netrc_file(netrc_file: Path, site: HttpFiles) -> None:
    site.add("x", b"content")
    href = site.url("x")
    files = remote_files(href, RULES)
    assert b"".join(files.read(href)) == b"content"  # without such a file
    netrc_file.write_text("machine elsewhere.test login else password where\n")
    files.stat(href)
    netrc_file.write_text("machine 127.0.0.1 login someone password hunter2\n")
    files.stat(href)
    assert b"".join(files.read(href, 3)) == b"tent"
    expected = f"Basic {b64encode(b'someone:hunter2').decode()}"
    assert site.credentials == [None, None, expected, expected]


def test_credentials_do_not_follow_a_redirect_to_another_server(netrc_file: Path, site: HttpFiles) -> None:
    netrc_file.write_text("machine 127.0.0.1 login someone password hunter2\n")
    with serving() as other:
        other.add("x", b"content")
        served = site.add("x")
        served.status, served.location = 302, other.url("x")
        assert b"".join(remote_files(site.url("x"), RULES).read(site.url("x"))) == b"content"
        assert other.credentials == [None]
    assert site.credentials != [None]


def test_entry_for_any_host_is_left_aside(netrc_file: Path, site: HttpFiles) -> None:
    netrc_file.write_text("default login someone password hunter2\n")
    site.add("x")
    remote_files(site.url("x"), RULES).stat(site.url("x"))
    assert site.credentials == [None]


@pytest.mark.parametrize(
    "content", [b"hunter2 machine", b"machine 127.0.0.1 hunter2", b"machine h login \xff"]
)
def test_broken_netrc_file_is_named_without_its_content(
    content: bytes, netrc_file: Path, site: HttpFiles
) -> None:
    netrc_file.write_bytes(content)
    with pytest.raises(PermanentError, match="this netrc file cannot be read") as caught:
        remote_files(site.url("x"), RULES).stat(site.url("x"))
    assert netrc_file.name in caught.value.subject
    told = f"{caught.value}{caught.value.__cause__}{caught.value.__context__}"
    assert "hunter2" not in told
    assert site.requests == []


@pytest.mark.parametrize("status", [401, 403])
def test_refused_access_says_where_credentials_come_from(status: int, site: HttpFiles) -> None:
    site.add("x").status = status
    with pytest.raises(PermanentError, match="netrc") as caught:
        remote_files(site.url("x"), RULES).stat(site.url("x"))
    assert f"the server answered {status}" in caught.value.rule


def test_way_out_of_a_passing_error_holds_after_the_last_attempt_too(site: HttpFiles) -> None:
    site.add("busy").status = 503
    for href in (site.url("busy"), "http://127.0.0.1:1/x"):
        with pytest.raises(TransientError) as caught:
            remote_files(href, RULES).stat(href)
        assert caught.value.way_out == "It is tried a few times; order it again later."


def test_unreadable_answer_is_not_mixed_up_with_ranges(site: HttpFiles) -> None:
    """A server that compresses on the way counts other bytes than we do: no range may be asked for."""
    site.add("x", b"x" * 100).encoding = "gzip"
    stat = remote_files(site.url("x"), RULES).stat(site.url("x"))
    assert (stat.size, stat.resumable) == (None, False)


@pytest.mark.parametrize(
    ("status", "expected"), [(503, TransientError), (500, TransientError), (403, PermanentError)]
)
def test_answers_of_s3_are_told_by_class(
    status: int,
    expected: type[ConversionAssetsError],
    site: HttpFiles,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    s3fs: Any = pytest.importorskip("s3fs")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    for name, value in s3_environment(site.root).items():
        monkeypatch.setenv(name, value)
    site.add("bucket/x").status = status
    site.add("bucket").status = status
    with pytest.raises(expected) as caught:
        remote_files("s3://bucket/x", RULES).stat("s3://bucket/x")
    assert type(caught.value) is expected


def test_s3_that_is_not_there_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3_environment("http://127.0.0.1:1").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TransientError, match="cannot be reached"):
        remote_files("s3://bucket/x", RULES).stat("s3://bucket/x")


def s3_environment(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "anything",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_MAX_ATTEMPTS": "1",
    }
