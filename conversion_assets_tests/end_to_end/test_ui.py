"""What people do in the web interface, in a real browser: materialize, look, drop into the inbox."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from playwright.sync_api import Page, expect

from conversion_assets.definitions import ASSETS
from conversion_assets.instance import open_instance
from conversion_assets.ordering import Wishes, orders_from
from conversion_assets.partitions import record_order
from conversion_assets.settings import Settings
from conversion_assets_tests.end_to_end.browser import (
    GROUP_PAGE,
    SECONDS_TO_RUN,
    Interface,
    asset_in_graph,
    chromium,
    materialize,
    metadata_row,
    open_page,
    open_partition,
    wait_for,
    why_no_browser,
)
from conversion_assets_tests.safe_products import SMALLEST_SCALE, ProductKind, make_archive, make_product

NO_BROWSER = why_no_browser()
pytestmark = [
    pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER)),
    pytest.mark.timeout(600),
]

KIND = ProductKind.S3_OL_ERR
FROM_INBOX = dg.RunsFilter(tags={"conversion_assets/source": "inbox"})
QUICK = {"CONVERSION_ASSETS_INBOX_STABLE_SECONDS": "0.1"}


class Platform:
    """A home with its web interface and daemon, which can be started again."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self._running = self._started()

    def _started(self) -> Interface:
        return Interface(self.home, environment=QUICK)

    def instance(self) -> dg.DagsterInstance:
        return open_instance(Settings(home=self.home))

    @property
    def url(self) -> str:
        return self._running.url()

    def restart(self) -> None:
        self._running.end()
        self._running = self._started()

    def end(self) -> None:
        self._running.end()


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make two products: one to be ordered, one to be dropped into the inbox."""
    folder = tmp_path_factory.mktemp("archives")
    later = datetime(2024, 7, 1, 9, 30, tzinfo=UTC)
    ordered = make_product(KIND, folder, scale=0.05)
    dropped = make_product(KIND, folder, scale=SMALLEST_SCALE[KIND], start=later)
    return make_archive(ordered), make_archive(dropped)


@pytest.fixture(scope="module")
def ordered(platform: Platform, archives: tuple[Path, Path]) -> str:
    """Record an order without running it; give its partition key."""
    (order,) = orders_from(str(archives[0]), Wishes(owner="local", default_owner="local"))
    with platform.instance() as instance:
        record_order(instance, order)
    return order.key


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    platform = Platform(tmp_path_factory.mktemp("platform"))
    try:
        assert platform.url
        yield platform
    finally:
        platform.end()


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as browser:
        yield open_page(browser)


@pytest.fixture(scope="module")
def materialized(page: Page, platform: Platform, ordered: str, shots: Path) -> str:
    """Materialize the order in the browser; give its partition key."""
    materialize(page, platform.url, ordered)
    page.screenshot(path=shots / "run.png")
    return ordered


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wanted = os.environ.get("CONVERSION_ASSETS_SCREENSHOTS")
    folder = Path(wanted) if wanted else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_asset_graph_shows_the_six_assets(
    page: Page, platform: Platform, materialized: str, shots: Path
) -> None:
    page.goto(platform.url + GROUP_PAGE)
    for asset in ASSETS:
        key = asset.key.to_user_string()
        expect(asset_in_graph(page, key)).to_be_visible()
    page.screenshot(path=shots / "asset_graph.png")
    assert len(ASSETS) == 6
    assert materialized


def test_run_launched_in_the_browser_is_known_as_a_success(platform: Platform, materialized: str) -> None:
    of_partition = dg.RunsFilter(tags={"dagster/partition": materialized})
    with platform.instance() as instance:
        assert [run.status for run in instance.get_runs(of_partition)] == [dg.DagsterRunStatus.SUCCESS]


def test_partition_of_the_product_shows_a_quicklook(
    page: Page, platform: Platform, materialized: str, shots: Path
) -> None:
    open_partition(page, platform.url, "zarr_product", materialized)
    expect(metadata_row(page, "product type")).to_contain_text("S03OLCERR")
    page.screenshot(path=shots / "zarr_product.png")

    metadata_row(page, "quicklook").get_by_text("[Show Markdown]").click()
    picture = page.get_by_role("dialog").locator("img").or_(page.locator('img[src^="data:image/"]')).first
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    page.screenshot(path=shots / "quicklook.png")


def test_partition_of_the_product_shows_its_arrays(
    page: Page, platform: Platform, materialized: str, shots: Path
) -> None:
    open_partition(page, platform.url, "zarr_product", materialized)
    arrays = metadata_row(page, "arrays")
    for text in ("dimensions", "chunks", "measurements/oa08_radiance", "rows, columns"):
        expect(arrays.get_by_text(text, exact=True).first).to_be_attached()
    arrays.scroll_into_view_if_needed()
    page.screenshot(path=shots / "arrays.png")


@pytest.mark.parametrize("asset", ["unzipped_safe", "stac_item"])
def test_partition_shows_the_footprint_on_a_map(
    page: Page, platform: Platform, materialized: str, shots: Path, asset: str
) -> None:
    open_partition(page, platform.url, asset, materialized)
    metadata_row(page, "footprint").get_by_text("[Show Markdown]").click()
    picture = page.locator('img[src^="data:image/"]').first
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    page.screenshot(path=shots / f"{asset}.png")


def test_checks_of_the_product_are_green(
    page: Page, platform: Platform, materialized: str, shots: Path
) -> None:
    page.goto(f"{platform.url}/assets/zarr_product?view=checks")
    for check in ("zarr_complete", "zarr_opens", "zarr_type", "zarr_times", "footprint_agrees"):
        expect(page.get_by_text(check, exact=True).first).to_be_visible()
    expect(page.get_by_text("Succeeded", exact=True)).to_have_count(5)
    expect(page.get_by_text("Passed", exact=True).first).to_be_visible()
    expect(page.get_by_text(re.compile(r"^S03OLCERR_\w+\.zarr$")).first).to_be_visible()
    page.screenshot(path=shots / "checks.png")
    assert materialized


def test_product_dropped_into_the_inbox_is_published_once_whatever_restarts_happen(
    page: Page, platform: Platform, archives: tuple[Path, Path], shots: Path
) -> None:
    inbox = platform.home / "inbox"
    shutil.copy(archives[1], inbox / "coming.part")
    (inbox / "coming.part").rename(inbox / archives[1].name)
    assert wait_for("a published product", lambda: finished_runs(platform), SECONDS_TO_RUN) == [
        dg.DagsterRunStatus.SUCCESS
    ]
    assert len(list(platform.home.glob("catalogue/*/*/2024-07-01/S03OLCERR_*.json"))) == 1

    ticks = number_of_ticks(platform)
    platform.restart()
    wait_for("a tick after the restart", lambda: number_of_ticks(platform) > ticks, SECONDS_TO_RUN)
    assert finished_runs(platform) == [dg.DagsterRunStatus.SUCCESS]

    page.goto(f"{platform.url}/runs")
    expect(page.get_by_text(re.compile("^inbox$")).first).to_be_visible()
    page.screenshot(path=shots / "runs.png")


def finished_runs(platform: Platform) -> list[dg.DagsterRunStatus]:
    """Statuses of the runs that the inbox sensor asked for, once none is under way."""
    with platform.instance() as instance:
        runs = instance.get_runs(FROM_INBOX)
    return [run.status for run in runs] if all(run.is_finished for run in runs) else []


def number_of_ticks(platform: Platform) -> int:
    """Count the finished ticks of the inbox sensor."""
    with platform.instance() as instance:
        state = next(found for found in instance.all_instigator_state() if found.instigator_name == "inbox")
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id)
    return len([tick for tick in ticks if tick.is_completed])
