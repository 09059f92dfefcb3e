"""Files where the products come from: folders, S3 and HTTPS behind one small interface."""

from __future__ import annotations

import errno
import netrc
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn
from urllib.parse import unquote, urljoin, urlsplit

import httpx

from conversion_assets.errors import ConversionAssetsError, OrderError, PermanentError, TransientError

BLOCK_BYTES = 1 << 20
HTTP_SCHEMES = ("http", "https")
HTTP_TIMEOUT = httpx.Timeout(60, connect=20)
RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
CREDENTIALS = "credentials come from a netrc file, for S3 from the usual AWS variables"
LATER = "It is tried a few times; order it again later."


@dataclass(frozen=True)
class RemoteFile:
    """What is known of a file before it is read.

    Attributes:
        size: bytes, where the server tells.
        version: changes when the content changes: an ETag, or the time of the last change.
        resumable: whether reading may begin in the middle.
    """

    size: int | None
    version: str | None
    resumable: bool = True


class RemoteFiles(ABC):
    """The files below one kind of URL."""

    @abstractmethod
    def stat(self, href: str) -> RemoteFile:
        """Tell size and version of a file.

        Raises:
            OrderError: there is no such file.
            TransientError: the source cannot be reached just now.
        """

    @abstractmethod
    def read(self, href: str, start: int = 0) -> Iterator[bytes]:
        """Read a file in blocks from byte ``start`` on; raises like ``stat``."""

    @abstractmethod
    def list_folder(self, href: str) -> dict[str, int] | None:
        """Map relative paths of all files below a folder to their sizes; None where it cannot be listed."""


def remote_files(href: str, schemes: tuple[str, ...]) -> RemoteFiles:
    """Choose the implementation for a URL.

    Raises:
        OrderError: the scheme is not one of ``schemes``.
    """
    scheme = urlsplit(href).scheme
    if scheme not in schemes:
        raise OrderError(
            redacted(href),
            f"the scheme {scheme!r} is not allowed, only {', '.join(schemes)}",
            "Download the product and order the file, or allow the scheme with CONVERSION_ASSETS_SCHEMES.",
        )
    return HttpFiles(schemes) if scheme in HTTP_SCHEMES else FsspecFiles(scheme)


def redacted(href: str) -> str:
    """Give a URL without user name, password and query, fit for messages and metadata; a path as it is."""
    if "://" not in href:
        return href
    try:
        parts = urlsplit(href)
    except ValueError:
        return href.partition("://")[0] + "://…"
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()


class FsspecFiles(RemoteFiles):
    """Folders and S3, through fsspec."""

    def __init__(self, scheme: str) -> None:
        import fsspec  # noqa: PLC0415 - s3fs is heavy and only loaded for S3

        self._scheme = scheme
        # Nothing may come from a cache: a source changes while this process lives, and so do credentials.
        self._fs: Any = fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False)

    def _path(self, href: str) -> str:
        parts = urlsplit(href)
        return unquote(parts.path) if self._scheme == "file" else f"{parts.netloc}{parts.path}"

    def stat(self, href: str) -> RemoteFile:
        """See ``RemoteFiles.stat``."""
        with _explained(href):
            info = self._fs.info(self._path(href))
        version = info.get("ETag") or info.get("mtime")
        return RemoteFile(size=int(info["size"]), version=str(version))

    def read(self, href: str, start: int = 0) -> Iterator[bytes]:
        """See ``RemoteFiles.read``."""
        with _explained(href), self._fs.open(self._path(href), "rb", block_size=8 * BLOCK_BYTES) as file:
            file.seek(start)
            while block := file.read(BLOCK_BYTES):
                yield block

    def list_folder(self, href: str) -> dict[str, int] | None:
        """See ``RemoteFiles.list_folder``."""
        root = self._path(href).rstrip("/")
        with _explained(href):
            found = self._fs.find(root, detail=True)
        return {
            PurePosixPath(path).relative_to(PurePosixPath(root)).as_posix(): int(info["size"])
            for path, info in found.items()
            if info["type"] == "file" and path.rstrip("/") != root
        }


class HttpFiles(RemoteFiles):
    """Files over HTTPS; a redirect must lead to an allowed scheme too.

    User name and password of a host come from the user's netrc file: ``~/.netrc``, or the one that the
    variable ``NETRC`` names. They are sent to that host only, and not after a redirect.
    """

    def __init__(self, schemes: tuple[str, ...]) -> None:
        self._schemes = tuple(scheme for scheme in schemes if scheme in HTTP_SCHEMES)

    def stat(self, href: str) -> RemoteFile:
        """See ``RemoteFiles.stat``."""
        with _explained(href), self._client(href) as client, client.stream("GET", href) as response:
            response.raise_for_status()
            headers = response.headers
        length = headers.get("content-length")
        plain = headers.get("content-encoding", "identity") == "identity"
        return RemoteFile(
            size=int(length) if length and plain else None,
            version=headers.get("etag") or headers.get("last-modified"),
            resumable=plain and headers.get("accept-ranges") == "bytes",
        )

    def read(self, href: str, start: int = 0) -> Iterator[bytes]:
        """See ``RemoteFiles.read``."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        with (
            _explained(href),
            self._client(href) as client,
            client.stream("GET", href, headers=headers) as response,
        ):
            if start and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # nothing is left to read
            response.raise_for_status()
            ignored = start if response.status_code != httpx.codes.PARTIAL_CONTENT else 0
            for block in response.iter_bytes(BLOCK_BYTES):
                if rest := block[ignored:]:
                    yield rest
                ignored = max(0, ignored - len(block))

    def list_folder(self, href: str) -> dict[str, int] | None:
        """HTTP has no folders: always None."""
        del href
        return None

    def _client(self, href: str) -> httpx.Client:
        return httpx.Client(
            auth=_credentials_for(httpx.URL(href).host),
            timeout=HTTP_TIMEOUT,
            follow_redirects=True,
            headers={"Accept-Encoding": "identity"},
            event_hooks={"response": [self._check_redirect]},
        )

    def _check_redirect(self, response: httpx.Response) -> None:
        target = urljoin(str(response.url), response.headers.get("location", ""))
        scheme = urlsplit(target).scheme
        if response.is_redirect and scheme not in self._schemes:
            raise OrderError(
                redacted(str(response.url)),
                f"it is a redirect to {scheme!r}, only {', '.join(self._schemes)} are allowed",
                "Order the product from its real address.",
            )


def _credentials_for(host: str) -> httpx.BasicAuth | None:
    """Look up a host in the netrc file.

    An entry ``default`` is left aside: it would go to any host that a stranger's document names.
    """
    path = Path(os.environ.get("NETRC") or "~/.netrc")
    try:
        entry = netrc.netrc(path.expanduser()).hosts.get(host) if host != "default" else None
    except (FileNotFoundError, NotADirectoryError, RuntimeError):  # no file, or a user without a home
        return None
    except (OSError, UnicodeDecodeError, netrc.NetrcParseError) as error:
        broken = type(error).__name__  # the text of the error may hold a password
    else:
        return httpx.BasicAuth(entry[0], entry[2]) if entry and entry[2] else None
    raise PermanentError(
        path,
        f"this netrc file cannot be read ({broken})",
        "Mend it, or name another one with the variable NETRC: machine HOST login NAME password PASSWORD.",
    )


@contextmanager
def _explained(href: str) -> Iterator[None]:
    """Turn what the libraries raise into our classes of error."""
    try:
        yield
    except ConversionAssetsError:
        raise
    except httpx.HTTPStatusError as error:
        _explain_status(href, error.response.status_code)
    except (httpx.TooManyRedirects, httpx.InvalidURL) as error:
        raise OrderError(redacted(href), f"it cannot be followed ({error})", "Check the URL.") from error
    except (httpx.TransportError, ConnectionError, TimeoutError) as error:
        raise TransientError(
            redacted(href), f"the source cannot be reached ({type(error).__name__})", LATER
        ) from error
    except FileNotFoundError as error:
        raise OrderError(redacted(href), "there is no such file", "Check the path or URL.") from error
    except PermissionError as error:
        raise PermanentError(
            redacted(href), "reading it is not permitted", f"Check the rights; {CREDENTIALS}."
        ) from error
    except Exception as error:
        if _is_passing(error):
            raise TransientError(
                redacted(href), f"the source cannot be reached ({type(error).__name__})", LATER
            ) from error
        if type(error).__module__.startswith(("botocore", "aiobotocore")):
            raise PermanentError(
                redacted(href),
                f"S3 refused ({type(error).__name__})",
                "Check endpoint, region and credentials in the usual AWS variables.",
            ) from error
        raise


def _is_passing(error: Exception) -> bool:
    """Tell whether S3 is only busy or out of reach, as s3fs puts it; botocore itself is not loaded here."""
    if isinstance(error, OSError):
        return error.errno in (errno.EBUSY, errno.EREMOTEIO)
    return any(kind.__name__ in ("ConnectionError", "HTTPClientError") for kind in type(error).__mro__)


def _explain_status(href: str, status: int) -> NoReturn:
    if status in RETRIED_STATUS:
        raise TransientError(redacted(href), f"the server answered {status}", LATER)
    if status in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
        raise OrderError(redacted(href), f"the server answered {status}: no such file", "Check the URL.")
    raise PermanentError(redacted(href), f"the server answered {status}", f"Check the URL; {CREDENTIALS}.")
