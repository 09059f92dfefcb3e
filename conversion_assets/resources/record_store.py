"""The IO manager between the assets: one small JSON document per asset and partition."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from pydantic import ValidationError

from conversion_assets.errors import PermanentError
from conversion_assets.failures import failures_told_by_class
from conversion_assets.orders import valid_key
from conversion_assets.records import Record
from conversion_assets.resources.file_exchange import write_whole
from conversion_assets.run_traces import order_traced


class RecordStore(dg.ConfigurableIOManager):
    """Keeps records as ``<root>/<asset>/<partition>.json``.

    Attributes:
        root: folder of the records.
    """

    root: str

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[RecordStore]:
        """Trace the order: every asset needs its records, so they are open as long as the run works."""
        with order_traced(context):
            yield self

    def handle_output(self, context: dg.OutputContext, obj: Record) -> None:
        """Write a record; the former one stands until the new one is whole."""
        path = self._path(context.asset_key, context.partition_key)
        write_whole(path, obj.model_dump_json(indent=1).encode())

    def load_input(self, context: dg.InputContext) -> Record:
        """Read the record that the upstream asset left for this partition.

        Raises:
            Failure: there is none, or an older version of the project wrote it; it is not retried.
        """
        with failures_told_by_class():
            return self._read(context)

    def _read(self, context: dg.InputContext) -> Record:
        path = self._path(context.asset_key, context.partition_key)
        kind = context.dagster_type.typing_type
        try:
            record: Record = kind.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise PermanentError(
                f"{context.asset_key.to_user_string()} of {context.partition_key}",
                "it has not been materialized",
                "Materialize it first, or select the whole line of assets.",
            ) from error
        except ValidationError as error:
            raise PermanentError(
                path, "the record was written by another version", "Materialize the asset anew."
            ) from error
        return record

    def _path(self, asset_key: dg.AssetKey, partition_key: str) -> Path:
        return Path(self.root, *asset_key.path, f"{valid_key(partition_key)}.json")
