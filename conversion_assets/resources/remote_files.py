"""Files where the products come from: folders, S3 and HTTPS behind one small interface."""

from __future__ import annotations

import errno
import netrc
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

from conversion_assets.errors import (
    ConversionAssetsError,
    OrderError,
    PermanentError,
    PoisonedInputError,
    TransientError,
)
from conversion_assets.storage.access import S3Access
from conversion_assets.web.addresses import HTTP_SCHEMES, ConnectionCheck, HrefRules, redacted
from conversion_assets.web.authentication import OriginAuth, UserAuth
from conversion_assets.web.client import trust

BLOCK_BYTES = 1 << 20
HTTP_TIMEOUT = httpx.Timeout(60, connect=20)
MOST_REDIRECTS = 20
RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
CREDENTIALS = (
    "credentials come from a netrc file or the variables CONVERSION_ASSETS_SOURCE_*, for S3 from"
    " CONVERSION_ASSETS_S3_* or the usual AWS variables"
)
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
    def read(self, href: str, start: int = 0, limit: int | None = None) -> Iterator[bytes]:
        """Read a file in blocks from byte ``start`` on; raises like ``stat``.

        Args:
            href: of the file.
            start: how many bytes to leave out.
            limit: bytes that the file may have.

        Raises:
            PoisonedInputError: it has more than ``limit`` bytes.
        """

    @abstractmethod
    def list_folder(self, href: str) -> dict[str, int] | None:
        """Map relative paths of all files below a folder to their sizes; None where it cannot be listed."""


def remote_files(
    href: str, rules: HrefRules, auth: OriginAuth | None = None, s3: S3Access | None = None
) -> RemoteFiles:
    """Choose the implementation for a URL.

    Args:
        href: what is to be read.
        rules: what may be.
        auth: how some HTTP servers know us, besides those of the netrc file.
        s3: how S3 knows us, instead of the usual AWS variables.

    Raises:
        OrderError: ``rules`` refuse the scheme or the host.
    """
    rules.check_name(href)
    scheme = urlsplit(href).scheme
    return HttpFiles(rules, auth) if scheme in HTTP_SCHEMES else FsspecFiles(scheme, s3)


class FsspecFiles(RemoteFiles):
    """Folders and S3, through fsspec.

    Args:
        scheme: of the URLs.
        s3: how S3 knows us; without it, the usual AWS variables tell.
    """

    def __init__(self, scheme: str, s3: S3Access | None = None) -> None:
        self._scheme = scheme
        self._fs: Any = s3.filesystem() if s3 and scheme == "s3" else self._unconfigured(scheme)

    @staticmethod
    def _unconfigured(scheme: str) -> Any:  # noqa: ANN401 - fsspec ships no types
        # Nothing may come from a cache: a source changes while this process lives, and so do credentials.
        uncached = {"skip_instance_cache": True, "use_listings_cache": False}
        if scheme == "s3":
            from conversion_assets.storage.s3_files import S3Files  # noqa: PLC0415 - s3fs is heavy

            return S3Files(**uncached)
        import fsspec  # noqa: PLC0415 - as heavy as s3fs

        return fsspec.filesystem(scheme, **uncached)

    def _path(self, href: str) -> str:
        parts = urlsplit(href)
        return unquote(parts.path) if self._scheme == "file" else f"{parts.netloc}{parts.path}"

    def stat(self, href: str) -> RemoteFile:
        """See ``RemoteFiles.stat``."""
        with _explained(href):
            info = self._fs.info(self._path(href))
        version = info.get("ETag") or info.get("mtime")
        return RemoteFile(size=int(info["size"]), version=str(version))

    def read(self, href: str, start: int = 0, limit: int | None = None) -> Iterator[bytes]:
        """See ``RemoteFiles.read``."""
        return _limited(self._blocks(href, start), href, start, limit)

    def _blocks(self, href: str, start: int) -> Iterator[bytes]:
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
    """Files over HTTPS.

    The address behind each URL, and behind each redirect, is held to the rules before anything is sent
    there. User name and password of a host come from the user's netrc file: ``~/.netrc``, or the one that
    the variable ``NETRC`` names. They are sent to the server that was asked for, and after a redirect to
    no other; ``auth`` goes to its own servers, wherever they stand in a chain of redirects.

    Args:
        rules: what may be read.
        auth: how some servers know us; it comes before the netrc file.
    """

    def __init__(self, rules: HrefRules, auth: OriginAuth | None = None) -> None:
        self._rules = replace(rules, schemes=tuple(name for name in rules.schemes if name in HTTP_SCHEMES))
        self._auth = auth

    def stat(self, href: str) -> RemoteFile:
        """See ``RemoteFiles.stat``."""
        with _explained(href), self._opened(href) as response:
            response.raise_for_status()
            headers = response.headers
        length = headers.get("content-length")
        plain = headers.get("content-encoding", "identity") == "identity"
        return RemoteFile(
            size=int(length) if length and plain else None,
            version=headers.get("etag") or headers.get("last-modified"),
            resumable=plain and headers.get("accept-ranges") == "bytes",
        )

    def read(self, href: str, start: int = 0, limit: int | None = None) -> Iterator[bytes]:
        """See ``RemoteFiles.read``."""
        return _limited(self._blocks(href, start), href, start, limit)

    def _blocks(self, href: str, start: int) -> Iterator[bytes]:
        headers = {"Range": f"bytes={start}-"} if start else {}
        with _explained(href), self._opened(href, headers) as response:
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

    @contextmanager
    def _opened(self, href: str, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """Ask for a file, following redirects one by one: each is checked, and authenticated anew."""
        self._rules.check(href)
        known = (self._auth, _credentials_for(href))
        url = href
        identity = {"Accept-Encoding": "identity"}
        with httpx.Client(timeout=HTTP_TIMEOUT, headers=identity, verify=trust()) as client:
            for _ in range(MOST_REDIRECTS + 1):
                check = ConnectionCheck(self._rules, url)
                request = client.build_request("GET", url, headers=headers, extensions={"trace": check})
                auth = next((one for one in known if one and one.covers(url)), None)
                with closing(client.send(request, stream=True, auth=auth)) as response:
                    if response.next_request is None:
                        yield response
                        return
                url = self._redirected(url, str(response.next_request.url))
        raise OrderError(
            redacted(href), f"it is a redirect more than {MOST_REDIRECTS} times", "Check the URL."
        )

    def _redirected(self, url: str, target: str) -> str:
        try:
            self._rules.check(target)
        except OrderError as error:
            raise OrderError(
                redacted(url), f"it is a redirect to {error.subject}: {error.rule}", error.way_out
            ) from error
        return target


def _limited(blocks: Iterator[bytes], href: str, start: int, limit: int | None) -> Iterator[bytes]:
    """Pass blocks on as long as the file is not larger than it may be."""
    read = start
    for block in blocks:
        read += len(block)
        if limit is not None and read > limit:
            raise PoisonedInputError(
                redacted(href),
                f"it has more than the {limit:,} bytes that are announced",
                "Check the source: the item and the archive disagree.",
            )
        yield block


def _credentials_for(href: str) -> UserAuth | None:
    """Look up a host in the netrc file.

    An entry ``default`` is left aside: it would go to any host that a stranger's document names.
    """
    host = httpx.URL(href).host
    path = Path(os.environ.get("NETRC") or "~/.netrc")
    try:
        entry = netrc.netrc(path.expanduser()).hosts.get(host) if host != "default" else None
    except (FileNotFoundError, NotADirectoryError, RuntimeError):  # no file, or a user without a home
        return None
    except (OSError, UnicodeDecodeError, netrc.NetrcParseError) as error:
        broken = type(error).__name__  # the text of the error may hold a password
    else:
        return UserAuth(entry[0], entry[2], origin=href) if entry and entry[2] else None
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
        # Its text holds the whole URL, which after a redirect may be a signed one.
        raise _error_of_status(href, error.response.status_code) from None
    except httpx.InvalidURL as error:
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
                "Check endpoint, region and credentials: CONVERSION_ASSETS_S3_* or the usual AWS variables.",
            ) from error
        raise


def _is_passing(error: Exception) -> bool:
    """Tell whether S3 is only busy or out of reach, as s3fs puts it; botocore itself is not loaded here."""
    if isinstance(error, OSError):
        return error.errno in (errno.EBUSY, errno.EREMOTEIO)
    return any(kind.__name__ in ("ConnectionError", "HTTPClientError") for kind in type(error).__mro__)


def _error_of_status(href: str, status: int) -> ConversionAssetsError:
    if status in RETRIED_STATUS:
        return TransientError(redacted(href), f"the server answered {status}", LATER)
    if status in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
        return OrderError(redacted(href), f"the server answered {status}: no such file", "Check the URL.")
    return PermanentError(redacted(href), f"the server answered {status}", f"Check the URL; {CREDENTIALS}.")
