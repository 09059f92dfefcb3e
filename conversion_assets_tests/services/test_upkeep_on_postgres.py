"""Retirement and pruning on PostgreSQL, whose tables are those of SQLite, and whose files are none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from conversion_assets.backfilling import Request, cancel, launch
from conversion_assets.instance import POSTGRES_VARIABLE, open_instance
from conversion_assets.quarantining import quarantine_of
from conversion_assets.resources.folder_object_store import FolderObjectStore
from conversion_assets.selecting import PUBLISHED, latest_records
from conversion_assets.settings import Settings
from conversion_assets.standing import standing_of
from conversion_assets.upkeep.pruning import Pruned, prune
from conversion_assets.upkeep.retiring import retire
from conversion_assets_tests.services.postgres import Database
from conversion_assets_tests.upkeep.conftest import Line, line, settings
from conversion_assets_tests.upkeep.test_pruning import rows_of

__all__ = ["line", "settings"]

LATER = datetime.now(UTC) + timedelta(days=91)


def test_order_retires_and_its_run_goes(
    settings: Settings, line: Line, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = database.url.replace("postgresql://", "postgresql+psycopg2://")
    monkeypatch.setenv(POSTGRES_VARIABLE, url)
    quarantine, store = quarantine_of(settings), FolderObjectStore(root=str(settings.home))
    before = LATER - timedelta(days=90)
    with open_instance(settings) as instance:
        run = line(instance, "A")
        published = dict(latest_records(instance, PUBLISHED, ["A"]))["A"]
        assert retire(instance, quarantine, before, LATER, 9) == ("A",)
        assert rows_of(instance, run) > 0
        backfill = launch(instance, Request(("B",)))
        cancel(instance, backfill)
        over = instance.get_backfill(backfill)
        assert over is not None
        instance.update_backfill(over._replace(status=type(over.status).CANCELED))
        pruned = prune(instance, store, quarantine, before, LATER, most=9, jobs=())
        assert pruned == Pruned(runs=1, carried_over=3, backfills=1)
        assert (instance.get_run_ids(), instance.all_logs(run), rows_of(instance, run)) == ([], [], 0)
        assert standing_of(instance, "A").status == "retired"
        kept = dict(latest_records(instance, PUBLISHED, ["A"]))["A"]
        assert (kept.run_id, kept.timestamp) == ("", published.timestamp)
        assert isinstance(kept, dg.EventLogRecord)
