"""A long history at once: the rows of one real order, written again for orders that never were.

The rows are copied inside the database (``INSERT ... SELECT``) with another key and another run, since an
order by the real way takes about a second. Copied are the materializations with their data versions, the run
and its tags; pictures and tables of the metadata are left out, for they are tens of kilobytes an order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import (
    AssetEventTagsTable,
    DynamicPartitionsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from sqlalchemy.engine import Connection

from conversion_assets.partitions import safe_items

BATCH = 50_000
HEAVY = ("quicklook", "footprint", "arrays", "item")
MATERIALIZED, PLANNED = "ASSET_MATERIALIZATION", "ASSET_MATERIALIZATION_PLANNED"
NUMBERS = sa.Table("benchmark_numbers", sa.MetaData(), sa.Column("n", sa.Integer, primary_key=True))

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Model:
    """The order whose rows are copied.

    Attributes:
        run_id: its run.
        key: its partition.
    """

    run_id: str
    key: str


def write_past(instance: dg.DagsterInstance, model: Model, numbers: range, *, live: bool) -> None:
    """Write orders that were published.

    Args:
        instance: whose storage is written to.
        model: a real order of it.
        numbers: of the orders to write.
        live: keep their keys as partitions; and what was planned in their history, as it is in a real one.
    """
    events, runs = instance.event_log_storage, instance.run_storage
    if not (isinstance(events, SqlEventLogStorage) and isinstance(runs, SqlRunStorage)):
        raise TypeError("the history lies in no SQL database")
    for first in range(numbers.start, numbers.stop, BATCH):
        batch = range(first, min(first + BATCH, numbers.stop))
        with events.index_connection() as connection:
            _number(connection, batch)
            latest = _latest_event(connection)
            _copy(connection, SqlEventLogStorageTable, _events(connection, model, planned=live), model)
            _copy_event_tags(connection, model, latest)
            if live:
                name = str(safe_items.name)
                key = {"partitions_def_name": name, "partition": model.key}
                _copy(connection, DynamicPartitionsTable, [key], model)
        with runs.connect() as connection:
            _number(connection, batch)
            for table in (RunsTable, RunTagsTable):
                _copy(connection, table, _rows(connection, table, table.c.run_id == model.run_id), model)


def _number(connection: Connection, numbers: range) -> None:
    """Keep the numbers of a batch in a table of this connection."""
    connection.exec_driver_sql(
        "CREATE TEMPORARY TABLE IF NOT EXISTS benchmark_numbers (n INTEGER PRIMARY KEY)"
    )
    connection.execute(NUMBERS.delete())
    connection.execute(NUMBERS.insert(), [{"n": number} for number in numbers])


def _copy(connection: Connection, table: sa.Table, rows: Rows, model: Model) -> None:
    """Write each row once for each number, with the number in the place of the order and its run."""
    for row in rows:
        values = [_value(value, model) for value in row.values()]
        connection.execute(table.insert().from_select(list(row), sa.select(*values).select_from(NUMBERS)))


def _latest_event(connection: Connection) -> int:
    return int(connection.execute(sa.select(sa.func.max(SqlEventLogStorageTable.c.id))).scalar_one())


def _copy_event_tags(connection: Connection, model: Model, after: int) -> None:
    """Give the materializations after an event the tags of the real ones, data versions among them."""
    events, tags = SqlEventLogStorageTable, AssetEventTagsTable
    of_model = (events.c.partition == model.key) & (events.c.dagster_event_type == MATERIALIZED)
    names = ("asset_key", "key", "value", "event_timestamp")
    real = sa.select(*(tags.c[name] for name in names)).join(events, tags.c.event_id == events.c.id)
    for row in connection.execute(real.where(of_model)).all():
        of_asset = (events.c.asset_key == row.asset_key) & (events.c.dagster_event_type == MATERIALIZED)
        chosen = sa.select(events.c.id, *map(sa.literal, row)).where((events.c.id > after) & of_asset)
        connection.execute(tags.insert().from_select(["event_id", *names], chosen))


def _numbered(key: str) -> sa.ColumnElement[str]:
    """Give the key of a copy: after a point, so that the name of the product is still read from it."""
    return sa.literal(f"{key}.", sa.Text) + sa.cast(NUMBERS.c.n, sa.Text)


def _value(value: object, model: Model) -> sa.ColumnElement[Any]:
    if not isinstance(value, str) or not (model.key in value or model.run_id in value):
        return sa.literal(value)
    renamed = sa.func.replace(sa.literal(value, sa.Text), model.key, _numbered(model.key))
    run = sa.literal(f"{model.run_id[:20]}-") + sa.cast(NUMBERS.c.n, sa.Text)
    return sa.func.replace(renamed, model.run_id, run)


def _events(connection: Connection, model: Model, *, planned: bool) -> Rows:
    table = SqlEventLogStorageTable
    kinds = (MATERIALIZED, PLANNED) if planned else (MATERIALIZED,)
    condition = (table.c.partition == model.key) & table.c.dagster_event_type.in_(kinds)
    return [{**row, "event": _lightened(row["event"])} for row in _rows(connection, table, condition)]


def _rows(connection: Connection, table: sa.Table, condition: sa.ColumnElement[bool]) -> Rows:
    """Give the rows without the column that the database numbers."""
    found = connection.execute(table.select().where(condition)).mappings()
    return [{name: value for name, value in row.items() if name != "id"} for row in found]


def _lightened(event: str) -> str:
    """Take pictures and tables out of an event's metadata."""
    document = json.loads(event)
    data = document["dagster_event"]["event_specific_data"] or {}
    materialization = data.get("materialization") or {}
    entries = materialization.get("metadata_entries") or []
    materialization["metadata_entries"] = [entry for entry in entries if entry["label"] not in HEAVY]
    return json.dumps(document)
