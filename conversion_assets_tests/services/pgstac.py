"""A STAC API with transactions: stac-fastapi-pgstac on PostGIS."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from conversion_assets_tests.services.postgres import Postgres
from conversion_assets_tests.services.processes import HOST, answers, free_port, run, serving

POSTGIS = "extension/postgis.control"


@contextlib.contextmanager
def pgstac(server: Postgres, logs: Path) -> Iterator[str]:
    """Run the API on a new database and give its URL."""
    if find_spec("stac_fastapi") is None or find_spec("pypgstac") is None:
        pytest.skip("stac-fastapi-pgstac is not installed: see make install-services")
    shared = run([server.programs / "pg_config", "--sharedir"]).strip()
    if not (Path(shared) / POSTGIS).exists():
        pytest.skip("PostGIS is not installed: see .ci/services-packages")
    database = server.new_database()
    environment = {**database.environment, "ENABLE_TRANSACTIONS_EXTENSIONS": "TRUE"}
    run([Path(sys.executable).with_name("pypgstac"), "migrate"], env=environment)
    port = free_port()
    url = f"http://{HOST}:{port}"
    with serving(
        [sys.executable, "-m", "uvicorn", "stac_fastapi.pgstac.app:app", "--host", HOST, "--port", str(port)],
        log=logs / "pgstac.log",
        ready=answers(f"{url}/_mgmt/ping"),
        env=environment,
    ):
        yield url
