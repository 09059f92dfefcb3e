"""Access to S3: endpoint and credentials, and the file systems made of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from conversion_assets.errors import PermanentError
from conversion_assets.storage.faults import code_of, explained

CONNECTIONS = 32
LOCATION_IS_WANTED = frozenset({"IllegalLocationConstraintException", "InvalidLocationConstraint"})
OURS_ALREADY = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})


@dataclass(frozen=True)
class S3Access:
    """Where an S3 service is and who asks; what is None comes from botocore's own chain.

    Attributes:
        endpoint_url: URL of the service; that of AWS when there is none.
        region: region of the buckets.
        key: access key.
        secret: secret key.
        token: session token.
        attempts: how often a request is sent before it is given up.
    """

    endpoint_url: str | None = None
    region: str | None = None
    key: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    attempts: int = 5

    def filesystem(self) -> Any:  # noqa: ANN401 - s3fs ships no types
        """Make a file system that shares nothing with others, not even what they listed.

        Raises:
            PermanentError: the endpoint is no URL.
        """
        from conversion_assets.storage.s3_files import S3Files  # noqa: PLC0415 - s3fs is heavy

        made = S3Files(
            key=self.key,
            secret=self.secret,
            token=self.token,
            endpoint_url=self.endpoint_url,
            client_kwargs={"region_name": self.region} if self.region else {},
            config_kwargs={
                "s3": {"addressing_style": "path"},
                "retries": {"total_max_attempts": self.attempts, "mode": "standard"},
                "max_pool_connections": CONNECTIONS,
                # The checksums that AWS added in 2024 are unknown to many other services.
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            },
            skip_instance_cache=True,
            use_listings_cache=False,
        )
        made.retries = min(self.attempts, 2)  # over those of botocore: for a body that was cut
        self._connect(made)
        return made

    def _connect(self, filesystem: Any) -> None:  # noqa: ANN401 - s3fs ships no types
        """Make the client now: many threads that need it at once would make one each."""
        try:
            with explained("s3://"):
                filesystem.connect()
        except ValueError:
            raise PermanentError(
                "the endpoint of S3", "it is no URL of a service", "Check CONVERSION_ASSETS_S3_ENDPOINT."
            ) from None


def filesystem_of(uri: str, access: S3Access) -> tuple[Any, str]:
    """Give the file system of a ``file:`` or ``s3:`` URI, and the path in it.

    Args:
        uri: of a file or folder; percent signs are escapes in ``file:`` URIs only.
        access: used for S3.

    Raises:
        PermanentError: another scheme.
    """
    scheme, _, rest = uri.partition("://")
    if scheme == "s3":
        return access.filesystem(), rest.rstrip("/")
    if scheme == "file":
        from fsspec.implementations.local import LocalFileSystem  # noqa: PLC0415 - as heavy as s3fs

        return LocalFileSystem(skip_instance_cache=True), unquote(urlsplit(uri).path)
    raise PermanentError(uri[:200], "it is neither a file: nor an s3: address", "Check who wrote it.")


def create_bucket(filesystem: Any, bucket: str) -> None:  # noqa: ANN401 - s3fs ships no types
    """Create a bucket unless it is there.

    It is asked for without a region first: that is the only way in ``us-east-1`` and fits Ceph; AWS wants
    the region named elsewhere.

    Args:
        filesystem: of ``S3Access.filesystem``.
        bucket: its name.

    Raises:
        TransientError: the service is busy or out of reach.
        PermanentError: no right to do it, wrong credentials, or an impossible name.
    """
    with explained(f"s3://{bucket}"):
        try:
            filesystem.call_s3("head_bucket", Bucket=bucket)
        except FileNotFoundError:
            _create(filesystem, bucket)


def _create(filesystem: Any, bucket: str) -> None:  # noqa: ANN401 - s3fs ships no types
    try:
        filesystem.call_s3("create_bucket", Bucket=bucket)
    except OSError as error:
        code = code_of(error)
        if code in LOCATION_IS_WANTED:
            region = filesystem.s3.meta.region_name
            configuration = {"LocationConstraint": region}
            filesystem.call_s3("create_bucket", Bucket=bucket, CreateBucketConfiguration=configuration)
        elif code not in OURS_ALREADY:
            raise
