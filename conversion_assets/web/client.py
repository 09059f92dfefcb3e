"""A client for the services we talk to: bounded repetition, the server's words, no redirects."""

from __future__ import annotations

import json
import logging
import random
import ssl
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Self, TypedDict, Unpack
from urllib.parse import urlsplit

import httpx

from conversion_assets.errors import ConversionAssetsError, PermanentError, TransientError
from conversion_assets.tracing import note, span, trace_headers
from conversion_assets.web.addresses import HTTP_SCHEMES, redacted
from conversion_assets.web.faults import (
    LATER,
    error_of_answer,
    is_passing,
    named_secrets,
    secrets_of_headers,
    subject_of,
)

EXPECTED = (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT)
REPEATABLE_METHODS = frozenset({"GET", "PUT", "DELETE"})
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
DEFAULT_PORTS = {"http": 80, "https": 443}
FIRST_DELAY = 0.5
LONGEST_DELAY = 60.0
LARGEST_ANSWER = 256 * 2**20
BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class Answer:
    """What a server answered.

    Attributes:
        status: HTTP status.
        headers: names in any case.
        json: the parsed body; None where it is not JSON, whatever it is declared as.
        text: the body.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    json: Any = field(repr=False)
    text: str = field(repr=False)


class CallOptions(TypedDict, total=False):
    """Of one request.

    Attributes:
        json: its body, as JSON.
        form: its body, as a form.
        params: its query.
        headers: besides those of the client.
        timeout: seconds to wait for a connection and for each part of the answer.
        expect: statuses that are answers; every other one raises.
        repeat: whether it may be sent again though the server may have carried it out; by default GET, PUT
            and DELETE may.
    """

    json: object
    form: Mapping[str, str] | None
    params: Mapping[str, str | int | float | bool] | None
    headers: Mapping[str, str] | None
    timeout: float | None
    expect: Collection[int]
    repeat: bool | None


class WebClient:
    """One service over HTTP.

    What failed in passing is sent again, with growing pauses or those that the server asks for, up to
    ``retries`` times; what may have been carried out only where that is harmless. No redirect is followed.

    Args:
        base_url: paths of requests are below it.
        auth: one of ``web.authentication``.
        headers: sent with every request.
        timeout: seconds to wait for a connection and for each part of an answer.
        retries: how many times a request is sent again.
        service: what it is to us, such as ``catalogue``, for errors.
        secrets: what errors must not carry, besides what stands in the headers of a request, and below
            names such as ``token`` in its parameters and body.
        sleep: waits some seconds.

    Raises:
        PermanentError: ``base_url`` is not an HTTP URL, or carries credentials.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: httpx.Auth | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30,
        retries: int = 3,
        service: str = "service",
        secrets: Collection[str] = (),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = _checked(base_url, service)
        self.service = service
        self._retries = retries
        self._secrets = frozenset(secrets)
        self._sleep = sleep
        self._http = httpx.Client(
            auth=auth,
            headers={"Accept": "application/json", "User-Agent": "conversion_assets", **(headers or {})},
            timeout=timeout,
            verify=trust(),
        )
        # What a server sets is not sent back: credentials come from our configuration alone.
        self._http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def __repr__(self) -> str:
        return f"WebClient({redacted(self.base_url)!r}, service={self.service!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def get(self, path: str, **options: Unpack[CallOptions]) -> Answer:
        """Read; see ``call``."""
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Unpack[CallOptions]) -> Answer:
        """Create, search or start something; see ``call``."""
        return self.call("POST", path, **options)

    def put(self, path: str, **options: Unpack[CallOptions]) -> Answer:
        """Replace; see ``call``."""
        return self.call("PUT", path, **options)

    def patch(self, path: str, **options: Unpack[CallOptions]) -> Answer:
        """Change in part; see ``call``."""
        return self.call("PATCH", path, **options)

    def delete(self, path: str, **options: Unpack[CallOptions]) -> Answer:
        """Remove; see ``call``."""
        return self.call("DELETE", path, **options)

    def call(self, method: str, path: str, **options: Unpack[CallOptions]) -> Answer:
        """Send a request and give its answer.

        Args:
            method: HTTP method.
            path: below the base URL, quoted; or a whole URL of the same server, such as a link it gave.
            options: see ``CallOptions``.

        Raises:
            TransientError: the service cannot be reached, or is busy or broken, after all repetitions.
            PermanentError: it refused, or the request cannot be sent.
        """
        repeat = options.get("repeat")
        repeat = method in REPEATABLE_METHODS if repeat is None else repeat
        with span(f"{method} {self.service}"):
            request = self._request(method, path, options)
            attempt = 0
            while isinstance(outcome := self._outcome(request, options), _Failure):
                if not outcome.passing or attempt == self._retries or not (repeat or outcome.never_sent):
                    raise outcome.error
                self._sleep(_delay(attempt, outcome.wanted_delay))
                attempt += 1
            note(status=outcome.status)
        return outcome

    def _request(self, method: str, path: str, options: CallOptions) -> httpx.Request:
        url = self._url(path)
        timeout = options.get("timeout")
        try:
            return self._http.build_request(
                method,
                url,
                json=options.get("json"),
                data=options.get("form"),
                params=options.get("params"),
                headers={**trace_headers(), **(options.get("headers") or {})},
                timeout=httpx.USE_CLIENT_DEFAULT if timeout is None else timeout,
            )
        except (httpx.InvalidURL, UnicodeError) as error:
            reason = type(error).__name__  # its text may hold what must not be shown
        raise PermanentError(
            subject_of(self.service, method, url),
            f"the request cannot be written ({reason})",
            "Check address, names and credentials of this service.",
        )

    def _url(self, path: str) -> str:
        if "://" not in path:
            return f"{self.base_url}/{path.lstrip('/')}" if path else self.base_url
        if origin_of(path) != origin_of(self.base_url):
            raise PermanentError(
                f"{self.service} ({redacted(path)})",
                f"this link leads to another server than {redacted(self.base_url)}",
                "Configure the service with the address that its own links have.",
            )
        return path

    def _outcome(self, request: httpx.Request, options: CallOptions) -> Answer | _Failure:
        try:
            response = self._http.send(request, stream=True)
            try:
                body = _body(response)
            finally:
                response.close()
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol) as error:
            return self._not_sent(request, error)
        except (httpx.TransportError, httpx.DecodingError) as error:
            return self._broken(request, error)
        if body is None:
            return self._too_large(request)
        text = body.decode(response.encoding or "utf-8", "replace")
        if response.status_code in options.get("expect", EXPECTED):
            return Answer(response.status_code, response.headers, _parsed(body), text)
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            # Some servers reset the connection after such an answer: the next request needs another one.
            response.extensions["network_stream"].close()
        refusal = error_of_answer(
            self.service,
            request.method,
            str(request.url),
            response.status_code,
            text,
            secrets=self._secrets_of(response.request, options),
        )
        return _Failure(
            refusal,
            passing=is_passing(response.status_code),
            wanted_delay=wanted_delay(response.headers.get("retry-after")),
        )

    def _secrets_of(self, request: httpx.Request, options: CallOptions) -> set[str]:
        return {
            *self._secrets,
            *secrets_of_headers(request.headers),
            *named_secrets(options.get("json")),
            *named_secrets(options.get("form")),
            *named_secrets(dict(request.url.params)),
        }

    def _not_sent(self, request: httpx.Request, error: httpx.TransportError) -> _Failure:
        return _Failure(
            PermanentError(
                self._subject(request),
                f"the request cannot be sent ({type(error).__name__})",
                "Check address and credentials of this service.",
            )
        )

    def _broken(self, request: httpx.Request, error: httpx.RequestError) -> _Failure:
        never_sent = isinstance(error, NEVER_SENT)
        if isinstance(_root(error), ssl.SSLCertVerificationError):
            return _Failure(
                PermanentError(
                    self._subject(request),
                    f"its certificate is not trusted ({reason_of(error)})",
                    "Check its address, or name the authority's certificates with SSL_CERT_FILE.",
                )
            )
        what = "it cannot be reached" if never_sent else "the connection broke before the answer was whole"
        return _Failure(
            TransientError(self._subject(request), f"{what} ({reason_of(error)})", LATER),
            passing=True,
            never_sent=never_sent,
        )

    def _too_large(self, request: httpx.Request) -> _Failure:
        return _Failure(
            PermanentError(
                self._subject(request),
                f"its answer is larger than {LARGEST_ANSWER:,} bytes",
                "Check the address of this service.",
            )
        )

    def _subject(self, request: httpx.Request) -> str:
        return subject_of(self.service, request.method, str(request.url))


@dataclass(frozen=True)
class _Failure:
    """Why there is no answer; the error does not hang on those of httpx, whose texts may hold credentials."""

    error: ConversionAssetsError
    passing: bool = False
    never_sent: bool = False
    wanted_delay: float | None = None


def keep_addresses_out_of_logs() -> None:
    """Silence what httpx logs of each request: whole URLs with their queries, and all headers."""
    for logger in map(logging.getLogger, ("httpx", "httpcore")):
        logger.setLevel(max(logger.level, logging.WARNING))


@cache
def trust() -> ssl.SSLContext:
    """Give the authorities that are trusted; reading them takes longer than most requests."""
    return httpx.create_ssl_context()


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Give scheme, host and port of a URL; what is equal is the same server.

    Raises:
        PermanentError: it is no URL of a server.
    """
    with suppress(httpx.InvalidURL, UnicodeError):
        parsed = httpx.URL(url)
        if parsed.host:
            return parsed.scheme, parsed.host, parsed.port or DEFAULT_PORTS.get(parsed.scheme)
    raise PermanentError(redacted(url), "it is no URL of a server", "Mend it: http(s)://HOST[:PORT][/PATH].")


def reason_of(error: Exception) -> str:
    """Say in short why a connection failed: the system's words, or the kind of error."""
    root = _root(error)
    if isinstance(root, ssl.SSLCertVerificationError):
        return root.verify_message
    words = root.strerror if isinstance(root, OSError) else None
    return words or type(error).__name__


def wanted_delay(retry_after: str | None) -> float | None:
    """Read the header ``Retry-After``, seconds or a date; None where it is absent or neither.

    Source: RFC 9110, 10.2.3.
    """
    if not retry_after:
        return None
    if retry_after.strip().isdecimal():
        return min(float(retry_after), LONGEST_DELAY)
    try:
        until = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max((until - datetime.now(UTC)).total_seconds(), 0), LONGEST_DELAY)


def _delay(attempt: int, wanted: float | None) -> float:
    if wanted is not None:
        return wanted
    longest = min(FIRST_DELAY * 2.0**attempt, LONGEST_DELAY)
    return longest * random.uniform(0.5, 1)  # noqa: S311 - spreads clients, guards nothing


def _checked(base_url: str, service: str) -> str:
    try:
        parts = urlsplit(base_url)
        complete = parts.scheme in HTTP_SCHEMES and parts.hostname
        _ = parts.port
    except ValueError:
        complete = None
    if not complete or parts.username or parts.password or parts.query:
        raise PermanentError(
            f"{service} ({redacted(base_url)})",
            "the address must be http(s)://HOST[:PORT][/PATH], without user name, password and query",
            "Mend the setting; credentials have settings of their own.",
        )
    return base_url.rstrip("/")


def _body(response: httpx.Response) -> bytes | None:
    """Read a body; None where it is larger than any answer should be."""
    body = bytearray()
    for block in response.iter_bytes(BLOCK_BYTES):
        body += block
        if len(body) > LARGEST_ANSWER:
            return None
    return bytes(body)


def _parsed(body: bytes) -> Any:  # noqa: ANN401 - any JSON
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _root(error: BaseException) -> BaseException:
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return error
