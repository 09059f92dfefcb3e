"""How a request shows who we are: each credential goes to the one server it was made for.

A client that follows redirects by itself would carry headers along; ours ask the authentication for each
request anew.
"""

from __future__ import annotations

import re
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote_plus, urlsplit

import httpx

from conversion_assets.errors import PermanentError
from conversion_assets.web.addresses import redacted
from conversion_assets.web.client import Answer, WebClient, origin_of

VISIBLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
RENEWED_AFTER = 0.8
"""Part of a token's life after which it is renewed."""
SIGN_IN = "sign-in service"
REFUSED_REFRESH = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED)


Origins = str | tuple[str, ...]


class OriginAuth(httpx.Auth):
    """Authentication with one server, or with several that take the same credential.

    Args:
        origin: a URL of the server, or one of each; its scheme, host and port count.

    Raises:
        PermanentError: ``origin`` is no URL.
    """

    def __init__(self, origin: Origins) -> None:
        self._origins = tuple(origin_of(url) for url in ((origin,) if isinstance(origin, str) else origin))

    def __repr__(self) -> str:
        servers = ", ".join(f"{scheme}://{host}:{port}" for scheme, host, port in self._origins)
        return f"{type(self).__name__}({servers})"

    def covers(self, url: str | httpx.URL) -> bool:
        """Tell whether a URL is one of the server's."""
        return origin_of(str(url)) in self._origins

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the credential to a request to such a server, and to no other."""
        if self.covers(request.url):
            yield from self._signed(request)
        else:
            yield request

    @abstractmethod
    def _signed(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]: ...


class HeaderAuth(OriginAuth):
    """A fixed header, such as ``x-api-key``.

    Args:
        name: of the header.
        value: the secret.
        origin: a URL of the server, or one of each.

    Raises:
        PermanentError: a header cannot have this value.
    """

    def __init__(self, name: str, value: str, *, origin: Origins) -> None:
        super().__init__(origin)
        self._name = name
        self._value = _writable(f"the header {name}", value)

    def _signed(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers[self._name] = self._value
        yield request


class CookieAuth(OriginAuth):
    """A fixed cookie, such as ``session``; arguments and errors like ``HeaderAuth``."""

    def __init__(self, name: str, value: str, *, origin: Origins) -> None:
        super().__init__(origin)
        self._cookie = f"{name}={_writable(f'the cookie {name}', value, forbidden=';')}"

    def _signed(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Cookie"] = self._cookie
        yield request


class UserAuth(OriginAuth):
    """User name and password, as HTTP Basic."""

    def __init__(self, user: str, password: str, *, origin: Origins) -> None:
        super().__init__(origin)
        self._basic = httpx.BasicAuth(user, password)

    def _signed(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        yield from self._basic.auth_flow(request)


@dataclass(frozen=True)
class _Token:
    value: str
    refresh: str | None
    renew_at: float


class OidcAuth(OriginAuth):
    """A bearer token of an OpenID Connect provider, by client credentials or by user name and password.

    The token is fetched with the first request, shared by all threads, renewed when most of its life is over
    (with its refresh token where there is one), and renewed once when the server refuses it.
    Source: RFC 6749, 2.3.1, 4.3, 4.4 and 6.

    Args:
        token_url: the provider's token endpoint.
        client_id: who we are to the provider.
        client_secret: shown as HTTP Basic; None for a public client.
        username: with ``password``, for whom; None for the client itself.
        password: the user's.
        scope: what the token is to allow.
        origin: a URL of the server that takes the token, or one of each.
        clock: tells seconds that only grow.

    Raises:
        PermanentError: a credential is not one, or ``token_url`` is not a URL.
    """

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: str | None = None,
        username: str | None = None,
        password: str | None = None,
        scope: str | None = None,
        *,
        origin: Origins,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(origin)
        self._client_id = client_id
        self._client_secret = _writable("the client secret", client_secret) if client_secret else None
        self._grant = _grant(username, password, scope)
        self._token_url = token_url
        self._auth = self._client_authentication()
        self._secrets = [secret for secret in (client_secret, password) if secret]
        self._clock = clock
        self._lock = threading.Lock()
        self._token: _Token | None = None

    def _client_authentication(self) -> UserAuth | None:
        if self._client_secret is None:
            return None
        user, password = quote_plus(self._client_id), quote_plus(self._client_secret)
        return UserAuth(user, password, origin=self._token_url)

    def _signed(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = self._valid_token()
        request.headers["Authorization"] = f"Bearer {token.value}"
        response = yield request
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            token = self._valid_token(refused=token)
            request.headers["Authorization"] = f"Bearer {token.value}"
            yield request

    def _valid_token(self, refused: _Token | None = None) -> _Token:
        with self._lock:
            held = self._token
            if held is None or held is refused or self._clock() >= held.renew_at:
                self._token = held = self._renewed(held)
            return held

    def _renewed(self, held: _Token | None) -> _Token:
        if held and held.refresh:
            answer = self._asked(
                {"grant_type": "refresh_token", "refresh_token": held.refresh},
                expect=(HTTPStatus.OK, *REFUSED_REFRESH),
            )
            if answer.status == HTTPStatus.OK:
                return self._token_of(answer, held.refresh)
        return self._token_of(self._asked(self._grant), None)

    def _asked(self, grant: Mapping[str, str], expect: tuple[int, ...] = (HTTPStatus.OK,)) -> Answer:
        public = {"client_id": self._client_id} if self._client_secret is None else {}
        parts = urlsplit(self._token_url)
        with WebClient(
            f"{parts.scheme}://{parts.netloc}",
            auth=self._auth,
            service=SIGN_IN,
            secrets=self._secrets,
        ) as provider:
            path = parts._replace(scheme="", netloc="", fragment="").geturl()
            return provider.post(path, form={**grant, **public}, expect=expect, repeat=True)

    def _token_of(self, answer: Answer, refresh: str | None) -> _Token:
        document: Mapping[str, Any] = answer.json if isinstance(answer.json, dict) else {}
        value = document.get("access_token")
        kind = document.get("token_type", "Bearer")
        if not isinstance(value, str) or not VISIBLE.fullmatch(value) or str(kind).lower() != "bearer":
            raise PermanentError(
                f"{SIGN_IN} ({redacted(self._token_url)})",
                "its answer holds no bearer token",
                "Check that the setting names the token endpoint of the provider.",
            )
        life = document.get("expires_in")
        known = isinstance(life, int | float) or (isinstance(life, str) and life.isdecimal())
        seconds = float(life) if life is not None and known else float("inf")
        given = document.get("refresh_token")
        return _Token(
            value,
            given if isinstance(given, str) and given else refresh,
            self._clock() + RENEWED_AFTER * seconds,
        )


def _grant(username: str | None, password: str | None, scope: str | None) -> dict[str, str]:
    grant = {"grant_type": "client_credentials"}
    if username:
        grant = {"grant_type": "password", "username": username, "password": password or ""}
    return grant | ({"scope": scope} if scope else {})


def _writable(what: str, value: str, forbidden: str = "") -> str:
    """Give a secret without the line end that files and variables like to have.

    Raises:
        PermanentError: it is empty or holds a character that a header cannot; its text does not show it.
    """
    stripped = value.strip()
    if not VISIBLE.fullmatch(stripped) or any(character in stripped for character in forbidden):
        raise PermanentError(
            what,
            "its value is empty or holds characters that a header cannot",
            "Mend the variable that holds it.",
        )
    return stripped
