"""What the benchmarks run on: inputs, a history, and the code location."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

# Before the test products, which need eccodes: loaded after that, it ends the process with a segmentation
# fault at exit, for both bring a libldap and eccodes shows its own to everyone.
import psycopg2  # type: ignore[import-untyped] # noqa: F401 - loaded, not used

from conversion_assets.instance import POSTGRES_SCHEME, POSTGRES_VARIABLE
from conversion_assets_tests.safe_products import SMALLEST_SCALE, ProductKind, make_archive, make_product
from conversion_assets_tests.services.postgres import postgres

ROOT = Path(__file__).parent.parent
CODE = ("-m", "benchmarks.code_location")
KIND = ProductKind.S1_IW_GRDH
FIRST_START = datetime(2024, 1, 1, tzinfo=UTC)
MINUTES_APART = 7


def fill(inbox: Path, orders: int) -> None:
    """Put archives of different products into an inbox, the smallest that there are."""
    inbox.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=inbox.parent) as scratch, warnings.catch_warnings():
        # rasterio 1.3 multiplies affine transforms with the operator that affine 3 gives up.
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        for number in range(orders):
            start = FIRST_START + timedelta(minutes=MINUTES_APART * number)
            archive = make_archive(make_product(KIND, Path(scratch), scale=SMALLEST_SCALE[KIND], start=start))
            archive.rename(inbox / archive.name)


@contextlib.contextmanager
def history_in(storage: str, logs: Path) -> Iterator[None]:
    """Leave the history to SQLite, or serve it from a PostgreSQL that writes to disk before it answers.

    Args:
        storage: ``sqlite`` or ``postgres``.
        logs: folder for the log of the server.
    """
    former = os.environ.pop(POSTGRES_VARIABLE, None)
    try:
        if storage == "sqlite":
            yield
        else:
            with postgres(logs, options=()) as server:
                url = server.new_database().url.replace("postgresql://", POSTGRES_SCHEME)
                os.environ[POSTGRES_VARIABLE] = url
                yield
    finally:
        os.environ.pop(POSTGRES_VARIABLE, None)
        if former is not None:
            os.environ[POSTGRES_VARIABLE] = former
