"""Errors as Dagster failures: told by class, so that only what may pass by itself is retried."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from conversion_assets.errors import ConversionAssetsError, PermanentError, TransientError

RETRIES = dg.RetryPolicy(max_retries=3, delay=1, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


@contextmanager
def failures_told_by_class() -> Iterator[None]:
    """Turn errors into Dagster failures that say how they are to be treated."""
    try:
        yield
    except (dg.Failure, dg.RetryRequested):
        raise
    except Exception as error:
        raise failure_of(classed(error)) from error


@contextmanager
def transient_errors_retried(attempt: int) -> Iterator[None]:
    """Ask Dagster for another attempt when an error may pass by itself, after a growing, jittered delay.

    The steps have no retry policy of Dagster's own: with one, a step that is cancelled is tried again.

    Args:
        attempt: number of attempts before this one.
    """
    try:
        yield
    except TransientError as error:
        if attempt >= RETRIES.max_retries:
            raise
        raise dg.RetryRequested(
            max_retries=RETRIES.max_retries, seconds_to_wait=RETRIES.calculate_delay(attempt + 1)
        ) from error


def failure_of(error: ConversionAssetsError) -> dg.Failure:
    """Give the Dagster failure of an error: its text, its class and its parts."""
    return dg.Failure(
        description=str(error),
        metadata={
            "error_class": error.error_class.value,
            "exit_code": error.exit_code,
            "subject": error.subject,
            "rule": error.rule,
            "way_out": error.way_out,
        },
        allow_retries=False,
    )


def classed(error: Exception) -> ConversionAssetsError:
    """Give an error as one of ours; what nobody foresaw is permanent."""
    if isinstance(error, ConversionAssetsError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return PermanentError(
            error.filename or "the disk", "there is no space left", "Free some space, then order again."
        )
    return PermanentError(
        type(error).__name__, str(error) or "no message", "Report it with the log of this run."
    )
