from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_assets.stac.hrefs import DEFAULT_SCHEMES, RefusedHrefError, resolve_href, scheme_of

_segments = st.lists(st.sampled_from(["a", "b.c", "..", "."]), min_size=1, max_size=6).map(
    lambda parts: "/".join([*parts, "file.zip"])
)


@pytest.mark.parametrize(
    ("href", "base", "expected"),
    [
        ("x.zip", "s3://bucket/a/b.json", "s3://bucket/a/x.zip"),
        ("../x.zip?v=1", "https://host/a/b/c.json?q=2", "https://host/a/x.zip?v=1"),
        ("/x.zip", "https://host/a/b.json", "https://host/x.zip"),
        ("//other/x.zip", "https://host/a/b.json", "https://other/x.zip"),
        ("x%20y.zip", "/data/item.json", "/data/x y.zip"),
        ("file:///data/x%20y.zip", "/inbox/item.json", "/data/x y.zip"),
        ("file://localhost/data/x.zip", "file:///inbox/item.json", "/data/x.zip"),
        ("./x.zip", "file:///inbox/item.json", "/inbox/x.zip"),
        ("HTTPS://host/x", "/inbox/item.json", "https://host/x"),
    ],
)
def test_references_resolve(href: str, base: str, expected: str) -> None:
    assert resolve_href(href, base) == expected


@given(_segments)
def test_relative_urls_resolve_as_in_rfc_3986(relative: str) -> None:
    base = "https://host/one/two/item.json"
    assert resolve_href(relative, base) == urljoin(base, relative)


@given(_segments)
def test_relative_references_stay_in_their_bucket(relative: str) -> None:
    resolved = urlsplit(resolve_href(relative, "s3://bucket/one/item.json"))
    assert (resolved.scheme, resolved.netloc) == ("s3", "bucket")
    assert ".." not in resolved.path.split("/")


@given(st.text(max_size=60), st.sampled_from(["/inbox/i.json", "s3://b/i.json", "https://h/i.json"]))
def test_any_reference_is_refused_or_absolute_and_allowed(href: str, base: str) -> None:
    try:
        resolved = resolve_href(href, base)
    except RefusedHrefError:
        return
    assert scheme_of(resolved) in DEFAULT_SCHEMES
    assert resolved.startswith(("/", "s3://", "https://"))


def test_password_is_refused_with_the_place_of_credentials() -> None:
    with pytest.raises(RefusedHrefError, match="netrc file") as caught:
        resolve_href("https://someone:hunter2@host/x.zip", "/inbox/i.json")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "href",
    ["file://host/share/x.zip", "file:relative.zip", "/a%00b", "file:///a%00b", "x" * 5000, "C:/x.zip"],
)
def test_strange_local_paths_are_refused(href: str) -> None:
    with pytest.raises(RefusedHrefError):
        resolve_href(href, "file:///inbox/item.json")
