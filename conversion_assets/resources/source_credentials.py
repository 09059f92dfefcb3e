"""How the servers that products come from know us."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import dagster as dg
from pydantic import Field

from conversion_assets.errors import PermanentError
from conversion_assets.resources.authentication import Authentication
from conversion_assets.resources.remote_files import RemoteFiles, remote_files
from conversion_assets.resources.s3_storage import S3Storage
from conversion_assets.web.addresses import HTTP_SCHEMES, HrefRules
from conversion_assets.web.authentication import OriginAuth


class SourceCredentials(dg.ConfigurableResource):  # type: ignore[type-arg] # the resource provides itself
    """Credentials of sources, besides those of the netrc file.

    Attributes:
        origins: URLs of the servers that take those of ``authentication``; scheme, host and port count. A
            redirect from one of them to another keeps them, a redirect elsewhere does not.
        authentication: credentials of these servers.
        storage: S3 for ``s3:`` URLs; without it, the usual AWS variables tell.
    """

    origins: list[str] = Field(default=[])
    authentication: Authentication | None = None
    storage: S3Storage | None = None

    def files(self, href: str, rules: HrefRules) -> RemoteFiles:
        """Give access to what a URL names; see ``remote_files``.

        Raises:
            OrderError: ``rules`` refuse the scheme or the host.
            PermanentError: the credentials are not complete.
        """
        auth = self.auth() if urlsplit(href).scheme in HTTP_SCHEMES else None
        return remote_files(href, rules, auth, self.storage.access() if self.storage else None)

    def auth(self) -> OriginAuth | None:
        """Give what proves it to the servers.

        Raises:
            PermanentError: the credentials are not complete.
        """
        auth = self.authentication.auth(*self.origins) if self.authentication else None
        if auth is not None and not self.origins:
            raise PermanentError(
                "the credentials of sources",
                "they are configured, but not for which servers",
                "Name these with CONVERSION_ASSETS_SOURCE_ORIGINS, such as https://download.example.org.",
            )
        return auth

    def secrets(self) -> Iterator[str]:
        """Give the secrets of HTTP servers, for those who keep them out of texts."""
        if self.authentication is not None:
            yield from self.authentication.secrets()
