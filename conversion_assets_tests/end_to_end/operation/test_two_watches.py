"""Two watches on one folder, and two on one STAC API, under a daemon: each product is converted once."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
import yaml

from conversion_assets.backfilling import SOURCE_TAG
from conversion_assets.instance import open_instance
from conversion_assets.selecting import PARTITION_TAG
from conversion_assets.settings import Settings
from conversion_assets_tests.end_to_end.browser import wait_for
from conversion_assets_tests.end_to_end.operation.conversions import conversions, statuses
from conversion_assets_tests.faults.rig import Rig
from conversion_assets_tests.faults.supervision import make_quick, supervised
from conversion_assets_tests.faults.wholeness import assert_whole
from conversion_assets_tests.peers.serving import serving
from conversion_assets_tests.resources import http_files
from conversion_assets_tests.resources.stac_source import COLLECTION, StacSource, item

SECONDS_TO_END = 240
OF_FOLDER, OF_API = ("folder_one", "folder_other"), ("api_one", "api_other")
FROM_HERE = {
    "CONVERSION_ASSETS_SCHEMES": "file,s3,http",
    "CONVERSION_ASSETS_PRIVATE_HOSTS": "127.0.0.1",
}


@contextmanager
def catalogue_of(archive: Path) -> Iterator[StacSource]:
    """Serve a STAC API with the item of a product, and the product."""
    with http_files.serving() as site, serving(StacSource()) as api:
        site.add(archive.name, archive.read_bytes())
        document = item(archive.name.partition(".")[0])
        del document["properties"]["product:type"]
        api.put(document | {"assets": {"product": {"href": site.url(archive.name)}}})
        yield api


def watch(settings: Settings, api: StacSource) -> None:
    """Let the home be watched twice for each of both sources."""
    of_folder = {"kind": "inbox", "stable_seconds": 0, "interval_seconds": 1}
    of_api = {"kind": "stac", "url": api.url, "collections": [COLLECTION], "interval_seconds": 1}
    watches = [
        *({"name": name} | of_folder for name in OF_FOLDER),
        *({"name": name} | of_api for name in OF_API),
    ]
    assert settings.watches is not None
    settings.watches.write_text(yaml.safe_dump({"watches": watches}))


def asked_for(settings: Settings) -> Counter[tuple[str, str]]:
    """Count runs by their order and the watch that asked for them."""
    with open_instance(settings) as instance:
        runs = instance.get_runs()
    return Counter((run.tags[PARTITION_TAG], run.tags[SOURCE_TAG]) for run in runs)


@pytest.mark.timeout(400)
def test_two_watches_on_one_source_are_one_result(rig: Rig, archives: list[Path]) -> None:
    settings = Settings(home=rig.home, watches=rig.home / "watches.yaml")
    make_quick(settings, seconds_to_start=SECONDS_TO_END)
    dropped, listed = archives[:2]
    shutil.copy(dropped, rig.home / "inbox")
    with catalogue_of(listed) as api:
        watch(settings, api)
        with supervised(settings, FROM_HERE):
            wait_for("all runs", lambda: statuses(settings)[dg.DagsterRunStatus.SUCCESS] == 4, SECONDS_TO_END)
    of_dropped, of_listed = (path.name.partition(".")[0] for path in (dropped, listed))
    expected = [*((of_dropped, name) for name in OF_FOLDER), *((of_listed, name) for name in OF_API)]
    assert asked_for(settings) == Counter(expected)
    assert conversions(settings) == {of_dropped: 1, of_listed: 1}
    assert_whole(rig.home, items=2)
    rig.require_in_order()
    assert_whole(rig.home, items=2)
