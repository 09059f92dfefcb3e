"""What holds for every order that says nothing else, as configuration."""

from __future__ import annotations

import dagster as dg
from pydantic import Field

from conversion_assets.resources.source_credentials import SourceCredentials
from conversion_assets.web.addresses import HrefRules


class OrderDefaults(dg.ConfigurableResource):  # type: ignore[type-arg] # the resource provides itself
    """The owner of orders that name none, and where orders may lead.

    Attributes:
        owner: owner of orders that name none.
        schemes: URL schemes from which may be read.
        hosts: see ``HrefRules``.
        private_hosts: see ``HrefRules``.
        type_names: other names of EOPF product types that target rules may use.
        credentials: how the servers that orders lead to know us.
    """

    owner: str
    schemes: list[str]
    hosts: list[str] = Field(default=[])
    private_hosts: list[str] = Field(default=[])
    type_names: dict[str, str] = Field(default={})
    credentials: SourceCredentials | None = None

    @property
    def rules(self) -> HrefRules:
        """What may be read."""
        return HrefRules(tuple(self.schemes), tuple(self.hosts), tuple(self.private_hosts))
