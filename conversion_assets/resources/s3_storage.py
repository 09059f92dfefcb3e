"""The S3 service of ours: where it is, and whose keys open it."""

from __future__ import annotations

import dagster as dg
from pydantic import Field

from conversion_assets.storage.access import S3Access


class S3Storage(dg.ConfigurableResource):  # type: ignore[type-arg] # the resource provides itself
    """Configured like the ``S3Resource`` of dagster-aws; what is not said comes from botocore's own chain.

    Attributes:
        endpoint_url: URL of the service; that of AWS when there is none.
        region_name: region of the buckets.
        aws_access_key_id: access key, as ``EnvVar``.
        aws_secret_access_key: secret key, as ``EnvVar``.
        aws_session_token: session token, as ``EnvVar``.
        max_attempts: how often a request is sent before it is given up.
    """

    endpoint_url: str | None = None
    region_name: str | None = None
    aws_access_key_id: str | None = Field(default=None, repr=False)
    aws_secret_access_key: str | None = Field(default=None, repr=False)
    aws_session_token: str | None = Field(default=None, repr=False)
    max_attempts: int = 5

    def access(self) -> S3Access:
        """Give the values for those who open files."""
        return S3Access(
            endpoint_url=self.endpoint_url,
            region=self.region_name,
            key=self.aws_access_key_id,
            secret=self.aws_secret_access_key,
            token=self.aws_session_token,
            attempts=self.max_attempts,
        )
