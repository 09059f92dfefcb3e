"""An order that fails in the daemon's hands: kept, told to a webhook, replayed after a fix, published."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from conversion_assets.instance import open_instance
from conversion_assets.ordering import Wishes, orders_from
from conversion_assets.partitions import record_order
from conversion_assets.settings import Settings
from conversion_assets_tests.end_to_end.browser import SECONDS_TO_RUN, Interface, still_alive, wait_for
from conversion_assets_tests.end_to_end.command import leftovers, run
from conversion_assets_tests.end_to_end.launching import launch
from conversion_assets_tests.safe_products import SMALLEST_SCALE, ProductKind, make_archive, make_product
from conversion_assets_tests.web.server import Reply, Site, serving_replies

KIND = ProductKind.S3_OL_ERR
HOOK = "/hooks/canary-of-the-webhook"


@pytest.fixture
def site() -> Iterator[Site]:
    with serving_replies() as served:
        served.on(HOOK, *[Reply(503, b"closed")] * 3, Reply(200, b"ok"))
        yield served


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def interface(home: Path, site: Site) -> Iterator[Interface]:
    told = {
        "CONVERSION_ASSETS_ALERT_WEBHOOK": site.root + HOOK,
        "CONVERSION_ASSETS_UI_URL": "https://dagster.test",
    }
    running = Interface(home, environment=told)
    yield running
    running.end()


@pytest.mark.timeout(600)
def test_poisoned_order_is_told_and_published_once_it_is_mended(
    interface: Interface, home: Path, site: Site, tmp_path: Path
) -> None:
    archive = make_archive(make_product(KIND, tmp_path, scale=SMALLEST_SCALE[KIND]))
    sound = shutil.copy(archive, tmp_path / "sound.zip")
    archive.write_bytes(archive.read_bytes()[:-1000])
    (order,) = orders_from(str(archive), Wishes(owner="local", default_owner="local"))
    url = interface.url()
    with open_instance(Settings(home=home)) as instance:
        record_order(instance, order)
    run_id = launch(url, order.key)

    (told,) = wait_for(
        "the alert", lambda: [asked.body for asked in site.asked_for(HOOK)][3:], SECONDS_TO_RUN
    )
    alert = json.loads(told)
    assert (alert["order"], alert["error_class"], alert["run_id"]) == (order.key, "poisoned", run_id)
    assert alert["url"] == f"https://dagster.test/runs/{run_id}"
    assert alert["reason"] in alert["text"]
    (kept,) = map(json.loads, run("quarantine", "list", "--json", home=home).stdout.splitlines())
    assert (kept["key"], kept["run_id"], kept["step"]) == (order.key, run_id, "unzipped_safe")
    assert kept["evidence"]["bytes"] == archive.stat().st_size
    assert not any("canary" in path.read_text(errors="replace") for path in home.rglob("*") if path.is_file())

    shutil.copy(sound, archive)
    submitted = run("quarantine", "replay", "--class", "poisoned", "--submit", home=home)
    assert submitted.stdout == f"submitted {order.key}\n"
    assert wait_for(
        "the product", lambda: list(home.glob("catalogue/*/*/*/S03OLCERR_*.json")), SECONDS_TO_RUN
    )
    wait_for(
        "the end of the quarantine",
        lambda: run("quarantine", "list", "--json", home=home).stdout == "",
        SECONDS_TO_RUN,
    )
    assert [path for path in (home / "quarantine").rglob("*") if path.is_file()] == []
    assert leftovers(home) == []
    assert len(site.asked_for(HOOK)) == 4


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv of util-linux is not installed")
def test_killed_interface_leaves_no_server_behind(interface: Interface) -> None:
    assert interface.url()
    family = interface.family()
    assert len(family) >= 2
    interface.send(signal.SIGKILL)
    interface.ended()
    psutil.wait_procs(family, timeout=90)
    assert still_alive(family) == []
