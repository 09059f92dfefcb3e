"""Connections to PostgreSQL that are kept for a moment, as Dagster's web server keeps its own."""

from __future__ import annotations

from weakref import WeakSet

import dagster as dg

STATEMENT_MILLISECONDS = 600_000
SECONDS_TO_KEEP = 30
"""A connection that is older is made anew: one that the server closed meanwhile is seldom met with."""
MOST_AT_ONCE = 20

_KEEPING = WeakSet[dg.DagsterInstance]()


def keep_connections(instance: dg.DagsterInstance) -> None:
    """Let an instance use its connections again; with SQLite nothing changes.

    By default Dagster connects anew for each statement, some three hundred times an order. To ask again
    changes nothing.
    """
    if instance in _KEEPING:
        return
    _KEEPING.add(instance)
    instance.optimize_for_webserver(
        statement_timeout=STATEMENT_MILLISECONDS, pool_recycle=SECONDS_TO_KEEP, max_overflow=MOST_AT_ONCE
    )
