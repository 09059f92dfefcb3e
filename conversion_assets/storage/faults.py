"""What s3fs and botocore raise, as our classes of error, without their texts, which may tell keys."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from conversion_assets.errors import ConversionAssetsError, PermanentError, TransientError

LATER = "It is tried a few times; order again when the service answers."
CREDENTIALS = "Check access key, secret key and endpoint in the variables of S3."
BUCKET = "Create the bucket, allow it with CONVERSION_ASSETS_S3_CREATE_BUCKETS=1, or check the bucket rules."
RIGHTS = "Ask for the rights to list, read, write and delete there, or check the bucket rules."

UNKNOWN_CALLER = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "InvalidSecurity"}
)
FORBIDDEN = frozenset({"AccessDenied", "AllAccessDisabled", "403"})
BUSY = frozenset(
    {"SlowDown", "ServiceUnavailable", "InternalError", "OperationAborted", "RequestTimeout", "BadDigest"}
)
UNREACHABLE = frozenset({"ConnectionError", "HTTPClientError", "ClientError", "FSTimeoutError"})
NETWORK_LIBRARIES = ("botocore", "aiobotocore", "aiohttp", "fsspec")
BUSY_STATUS = frozenset({408, 429, 500, 502, 503, 504})


@contextmanager
def explained(subject: str) -> Iterator[None]:
    """Turn what the S3 libraries raise into our classes of error; what is not of S3 passes.

    Args:
        subject: bucket or object it is about, as ``s3://…``.

    Raises:
        TransientError: the service is busy or out of reach.
        PermanentError: no such bucket, no right to it, wrong credentials, or another refusal.
        FileNotFoundError: there is no such object.
    """
    try:
        yield
    except ConversionAssetsError:
        raise
    except Exception as error:
        found = _fault(subject, error)
        if found is None:
            raise
        # Without what is behind it: Dagster keeps the texts of the whole chain.
        raise found from None


def _fault(subject: str, error: Exception) -> ConversionAssetsError | None:
    if answer_behind(error):
        return _refusal(subject, error)
    name = type(error).__name__
    if isinstance(error, ConnectionError | TimeoutError | asyncio.IncompleteReadError):
        return TransientError(subject, f"S3 cannot be reached ({name})", LATER)
    if not type(error).__module__.startswith(NETWORK_LIBRARIES):
        return None
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "SSLError" not in kinds and kinds & UNREACHABLE:
        return TransientError(subject, f"S3 cannot be reached ({name})", LATER)
    return PermanentError(subject, f"S3 cannot be used ({name})", CREDENTIALS)


def _refusal(subject: str, error: Exception) -> ConversionAssetsError | None:
    answer, code = answer_behind(error), code_of(error) or "no code"
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "NoSuchBucket":
        return PermanentError(subject, f"there is no bucket {_bucket(subject)}", BUCKET)
    if isinstance(error, FileNotFoundError):
        return None
    if code in BUSY or status in BUSY_STATUS:
        return TransientError(subject, f"S3 is busy ({code})", LATER)
    if code in UNKNOWN_CALLER:
        return PermanentError(subject, f"S3 does not accept the credentials ({code})", CREDENTIALS)
    if code in FORBIDDEN or isinstance(error, PermissionError):
        rule = f"S3 does not permit it in bucket {_bucket(subject)} ({code})"
        return PermanentError(subject, rule, RIGHTS)
    return PermanentError(subject, f"S3 refused with status {status} ({code})", CREDENTIALS)


def _bucket(subject: str) -> str:
    return subject.removeprefix("s3://").partition("/")[0]


def code_of(error: BaseException | None) -> str | None:
    """Give the code of the service's answer behind an error of s3fs or botocore, such as ``NoSuchBucket``."""
    response = answer_behind(error)
    return str(response.get("Error", {}).get("Code") or "") or None


def answer_behind(error: BaseException | None) -> dict[str, Any]:
    """Give the service's answer behind an error of s3fs or botocore; empty where there was none."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return response
        error = error.__cause__
    return {}
