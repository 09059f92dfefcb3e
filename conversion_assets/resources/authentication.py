"""How we prove who we are to a service."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from conversion_assets.errors import PermanentError
from conversion_assets.web.authentication import CookieAuth, HeaderAuth, OidcAuth, OriginAuth

SESSION = "session"

_made: dict[tuple[object, ...], OriginAuth | None] = {}
_making = threading.Lock()


class Authentication(dg.ConfigurableResource):  # type: ignore[type-arg] # the resource provides itself
    """Credentials of one service, or none.

    The first that is given counts: OIDC, then the API key, then the session cookie. With an OIDC user name
    the password grant is used, without one client credentials.

    Attributes:
        api_key_header: header that carries the API key.
        api_key: the key; a secret.
        session_cookie: value of the cookie ``session``; a secret.
        oidc_token_url: token endpoint of the identity provider.
        oidc_client_id: client known to the provider.
        oidc_client_secret: of the client; a secret.
        oidc_username: for the password grant.
        oidc_password: of the user; a secret.
        oidc_scope: scopes asked for, separated by blanks.
    """

    api_key_header: str = "x-api-key"
    api_key: str | None = Field(default=None, repr=False)
    session_cookie: str | None = Field(default=None, repr=False)
    oidc_token_url: str | None = None
    oidc_client_id: str | None = None
    oidc_client_secret: str | None = Field(default=None, repr=False)
    oidc_username: str | None = None
    oidc_password: str | None = Field(default=None, repr=False)
    oidc_scope: str | None = None

    def auth(self, *origin_urls: str) -> OriginAuth | None:
        """Give what proves it to a service; always the same object in one process, for it keeps its token.

        Args:
            origin_urls: URLs of the servers of the service; credentials go to their schemes, hosts and ports
                only.

        Raises:
            PermanentError: a token endpoint without a client.
        """
        # Dagster makes a resource anew for each run and tick.
        known = (*(getattr(self, name) for name in type(self).model_fields), *origin_urls)
        with _making:
            if known not in _made:
                _made[known] = self._make(origin_urls)
            return _made[known]

    def secrets(self) -> Iterator[str]:
        """Give the secrets, for those who keep them out of texts."""
        every = (self.api_key, self.session_cookie, self.oidc_client_secret, self.oidc_password)
        yield from filter(None, every)

    def _make(self, origins: tuple[str, ...]) -> OriginAuth | None:
        if self.oidc_token_url:
            return self._oidc(self.oidc_token_url, origins)
        if self.api_key:
            return HeaderAuth(self.api_key_header, self.api_key, origin=origins)
        if self.session_cookie:
            return CookieAuth(SESSION, self.session_cookie, origin=origins)
        return None

    def _oidc(self, token_url: str, origins: tuple[str, ...]) -> OriginAuth:
        if not self.oidc_client_id:
            raise PermanentError(
                f"OIDC at {token_url}",
                "a token endpoint is configured, but no client id",
                "Name the client that the identity provider knows, or remove the token endpoint.",
            )
        return OidcAuth(
            token_url,
            self.oidc_client_id,
            client_secret=self.oidc_client_secret or None,
            username=self.oidc_username or None,
            password=self.oidc_password or None,
            scope=self.oidc_scope or None,
            origin=origins,
        )
