"""Errors as Dagster failures: told by class, so that only what may pass by itself is retried."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from conversion_assets.errors import (
    ConversionAssetsError,
    OrderInterruptedError,
    PermanentError,
    TransientError,
)


@contextmanager
def failures_told_by_class() -> Iterator[None]:
    """Turn errors into Dagster failures that say how they are to be treated.

    An interrupt becomes one too: Dagster would try an interrupted step again, as its retry policy says.
    """
    try:
        yield
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as interrupt:
        raise failure_of(OrderInterruptedError()) from interrupt
    except ConversionAssetsError as error:
        raise failure_of(error) from error
    except (dg.Failure, dg.RetryRequested):
        raise
    except Exception as error:
        raise failure_of(_classed(error)) from error


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
        allow_retries=isinstance(error, TransientError),
    )


def _classed(error: Exception) -> ConversionAssetsError:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return PermanentError(
            error.filename or "the disk", "there is no space left", "Free some space, then order again."
        )
    return PermanentError(
        type(error).__name__, str(error) or "no message", "Report it with the log of this run."
    )
