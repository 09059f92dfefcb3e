"""Which addresses may be read: schemes, hosts, and what the hosts resolve to."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx

from conversion_assets.errors import OrderError

HTTP_SCHEMES = ("http", "https")
TRANSLATED = IPv6Network("64:ff9b::/96")
"""IPv6 addresses that a gateway turns into the IPv4 address of their last four bytes: RFC 6052."""
DOWNLOAD = "Download the product and order the file"


@dataclass(frozen=True)
class HrefRules:
    """What may be read of what a stranger's document names.

    Attributes:
        schemes: URL schemes that may be followed.
        hosts: hosts that HTTP may ask, such as ``data.example.org`` or ``*.example.org``; empty for any
            public host.
        private_hosts: hosts, in the same form, that may be asked though they are on this machine or in a
            private network.
    """

    schemes: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    private_hosts: tuple[str, ...] = ()

    def check_name(self, url: str) -> None:
        """Refuse a URL for what it says; no name is resolved.

        Raises:
            OrderError: its scheme or host is not allowed, or it is no URL.
        """
        scheme = _scheme(url)
        if scheme not in self.schemes:
            raise OrderError(
                redacted(url),
                f"the scheme {scheme!r} is not allowed, only {', '.join(self.schemes)}",
                f"{DOWNLOAD}, or allow the scheme with CONVERSION_ASSETS_SCHEMES.",
            )
        if scheme not in HTTP_SCHEMES:
            return
        host = _host(url)
        if not host:
            raise OrderError(redacted(url), "it names no host", "Check the URL.")
        if self.hosts and not _matches(host, (*self.hosts, *self.private_hosts)):
            raise OrderError(
                redacted(url),
                f"the host {host} is not allowed, only {', '.join(self.hosts)}",
                f"{DOWNLOAD}, or allow the host with CONVERSION_ASSETS_HOSTS.",
            )
        if _is_address(host):
            self.check_address(url, host)

    def check(self, url: str) -> None:
        """Refuse a URL for what it says or for where it leads; for HTTP its host is resolved.

        A host that cannot be resolved passes: there is no connection to it, or a proxy of the operator's
        choice makes it. S3 is held to its scheme only, since its endpoint is configured.

        Raises:
            OrderError: scheme, host or one of the host's addresses is not allowed, or it is no URL.
        """
        self.check_name(url)
        if _scheme(url) in HTTP_SCHEMES:
            for address in _addresses_of(_host(url)):
                self.check_address(url, address)

    def check_address(self, url: str, address: str) -> None:
        """Refuse an address that is not public, unless the URL's host is one of ``private_hosts``.

        Raises:
            OrderError: it is on this machine, in a private network, or no address of one host.
        """
        host = _host(url)
        if _is_public(address) or _matches(host, self.private_hosts):
            return
        raise OrderError(
            redacted(url),
            f"the host {host} is on this machine or in a private network ({address})",
            f"{DOWNLOAD}, or allow the host with CONVERSION_ASSETS_PRIVATE_HOSTS.",
        )


class ConnectionCheck:
    """Checks the address of each new connection before anything is sent over it.

    A name may resolve to another address between the check and the connection. An instance is the ``trace``
    extension of one request: https://www.encode.io/httpcore/extensions/#trace
    A connection to a proxy is the operator's choice and passes.

    Args:
        rules: what is allowed.
        url: what the request asks for.
    """

    def __init__(self, rules: HrefRules, url: str) -> None:
        self._rules = rules
        self._url = url
        self._is_proxy = False

    def __call__(self, event: str, info: dict[str, Any]) -> None:
        """Take note of what the connection does.

        Raises:
            OrderError: it was made to an address that is not allowed; it is closed.
        """
        if event == "connection.connect_tcp.started":
            self._is_proxy = info["host"] != _host(self._url)
        elif event == "connection.connect_tcp.complete" and not self._is_proxy:
            stream = info["return_value"]
            try:
                self._rules.check_address(self._url, stream.get_extra_info("server_addr")[0])
            except OrderError:
                stream.close()
                raise


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


def _scheme(url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError:
        pass  # its text may repeat user name and password
    raise OrderError(redacted(url), "it is no URL", "Check the URL.")


def _host(url: str) -> str:
    """Give the host as httpx, which makes the connection, understands it."""
    try:
        return httpx.URL(url).raw_host.decode("ascii")
    except (httpx.InvalidURL, UnicodeError) as error:
        raise OrderError(redacted(url), f"it cannot be followed ({error})", "Check the URL.") from error


def _matches(host: str, patterns: tuple[str, ...]) -> bool:
    host = _plain(host)
    return any(
        host.endswith(_plain(pattern[1:])) if pattern.startswith("*.") else host == _plain(pattern)
        for pattern in patterns
    )


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _addresses_of(host: str) -> set[str]:
    try:
        return {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()


def _is_public(address: str) -> bool:
    return all(
        one.is_global and not (one.is_multicast or one.is_reserved)
        for one in _embedded(ip_address(address.partition("%")[0]))
    )


def _embedded(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address | IPv6Address]:
    """Give an address, or the IPv4 addresses that it stands for."""
    if isinstance(address, IPv4Address):
        yield address
    elif address.ipv4_mapped:
        yield address.ipv4_mapped
    elif address.sixtofour:
        yield address.sixtofour
    elif address.teredo:
        yield from address.teredo
    elif address in TRANSLATED:
        yield IPv4Address(address.packed[-4:])
    else:
        yield address
