"""References in documents that strangers wrote: made absolute, and refused where they lead astray."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection
from urllib.parse import unquote, urlsplit, urlunsplit

DEFAULT_SCHEMES = ("file", "s3", "https")

_LONGEST = 4096
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=:)")
_LOCAL = "file"


class RefusedHrefError(ValueError):
    """A reference that must not be followed; its text says why and holds no secret."""


def resolve_href(href: str, base_href: str, schemes: Collection[str] = DEFAULT_SCHEMES) -> str:
    """Make a reference absolute and check that it may be followed.

    Relative references resolve as in RFC 3986 section 5 (https://www.rfc-editor.org/rfc/rfc3986), for
    ``s3://`` too.

    Args:
        href: the reference as written.
        base_href: URL or absolute local path of the document it stands in.
        schemes: what may be followed; ``file`` stands for local paths as well.

    Returns:
        A URL, or an absolute local path where the reference is local.

    Raises:
        RefusedHrefError: a scheme that is not allowed, a user name or password, control characters, or a
            local file named by a document that is not local itself.
    """
    if not href or len(href) > _LONGEST or _UNSAFE.search(href):
        raise RefusedHrefError("it is empty, too long, or holds blanks, backslashes or control characters")
    absolute = href if _SCHEME.match(href) else _join(base_href, href)
    scheme = scheme_of(absolute)
    if scheme not in schemes:
        raise RefusedHrefError(f"scheme {scheme!r} is not allowed (allowed: {', '.join(sorted(schemes))})")
    return _local_path(absolute, base_href) if scheme == _LOCAL else _remote_url(absolute)


def scheme_of(href: str) -> str:
    """Name the scheme of an absolute reference.

    Args:
        href: a URL or a local path.

    Returns:
        The scheme in lower case; ``file`` for a local path.
    """
    found = _SCHEME.match(href)
    return found[0].lower() if found else _LOCAL


def _join(base_href: str, relative: str) -> str:
    if scheme_of(base_href) == _LOCAL:
        return posixpath.join(posixpath.dirname(base_href), unquote(relative))
    base = urlsplit(base_href)
    if relative.startswith("//"):
        return f"{base.scheme}:{relative}"
    path, mark, query = relative.partition("?")
    joined = posixpath.normpath(posixpath.join("/", posixpath.dirname(base.path), path))
    return urlunsplit((base.scheme, base.netloc, "/" + joined.lstrip("/") + mark + query, "", ""))


def _remote_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise RefusedHrefError("its host or port cannot be read") from None
    if "@" in parts.netloc:
        raise RefusedHrefError(
            "it carries a user name or password; credentials come from a netrc file, for S3 from the usual"
            " AWS variables"
        )
    if not host:
        raise RefusedHrefError("it names no host or bucket")
    return urlunsplit((parts.scheme.lower(), *parts[1:]))


def _local_path(href: str, base_href: str) -> str:
    if scheme_of(base_href) != _LOCAL:
        raise RefusedHrefError("a document that is not local names a local file")
    path = href
    if _SCHEME.match(href):
        parts = urlsplit(href)
        if parts.netloc not in ("", "localhost"):
            raise RefusedHrefError("a file URL names another host")
        path = unquote(parts.path)
    if not path.startswith("/") or _UNSAFE.search(path.replace(" ", "")):
        raise RefusedHrefError("its path is not absolute, or holds control characters or backslashes")
    return posixpath.normpath(path)
