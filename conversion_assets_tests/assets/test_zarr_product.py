from __future__ import annotations

from pathlib import Path

import dagster as dg

from conversion_assets.definitions import build_definitions
from conversion_assets.instance import open_instance
from conversion_assets.ordering import Wishes, orders_from
from conversion_assets.running import run_order
from conversion_assets.selecting import ZARR
from conversion_assets.settings import Settings
from conversion_assets_tests.faults.converter import NamingConverter
from conversion_assets_tests.faults.sources import make_sources


def test_only_a_product_that_was_found_is_told_as_already_converted(tmp_path: Path) -> None:
    """A conversion without a report, as a service gives none, is a conversion all the same."""
    settings = Settings(home=tmp_path / "home")
    definitions = build_definitions(settings, converter=NamingConverter())
    source = make_sources(tmp_path / "sources").folder
    (order,) = orders_from(str(source), Wishes(owner="local", default_owner="local"))
    with open_instance(settings) as instance:
        for _ in range(2):
            run_order(definitions, instance, order, reconvert=False, listener=lambda *_: None)
        chosen = dg.AssetRecordsFilter(asset_key=ZARR, asset_partitions=[order.key])
        records = reversed(instance.fetch_materializations(chosen, limit=2).records)
    told = [record.asset_materialization for record in records]
    assert ["already converted" in event.metadata for event in told if event] == [False, True]
