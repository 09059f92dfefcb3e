"""The web interface as people use it: started by the command, driven in a headless browser."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import playwright
import psutil
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
GROUP_PAGE = "/locations/conversion_assets/asset-groups/conversion"
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
SECONDS_TO_START = 150
SECONDS_TO_END = 60
SECONDS_TO_SHOW = 90
SECONDS_TO_RUN = 240

Found = TypeVar("Found")


def why_no_browser() -> str | None:
    """Tell what the browser tests lack on this machine, or None."""
    if CHROMIUM is None:
        return "Chromium is not installed"
    driver = Path(playwright.__file__).parent / "driver" / "node"
    started = subprocess.run([driver, "--version"], capture_output=True, text=True, check=False)
    return f"Playwright's driver does not start: {started.stderr.strip()}" if started.returncode else None


def wait_for(what: str, look: Callable[[], Found | None], seconds: float) -> Found:
    """Look until there is something; give it."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.2)
    return found


class Interface:
    """``conversion-assets ui`` as a process, and everything it started.

    Args:
        home: its home; what it says is kept beside it.
        port: the port to ask for.
        environment: variables to add to those of this process.
    """

    def __init__(self, home: Path, *, port: int = 0, environment: Mapping[str, str] | None = None) -> None:
        self._output = home.with_name(f"{home.name}-ui.txt")
        program = str(Path(sys.executable).with_name("conversion-assets"))
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [program, "ui", "--home", str(home), "--port", str(port)],
                env={**os.environ, **(environment or {})},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def said(self) -> str:
        return self._output.read_text()

    def url(self) -> str:
        """Wait until it says where it is."""

        def address() -> str | None:
            found = ADDRESS.search(self.said())
            assert found or self._process.poll() is None, self.said()
            return found and found.group()

        return wait_for("the web interface", address, SECONDS_TO_START)

    def family(self) -> list[psutil.Process]:
        """Give the processes it started and those that they started."""
        return psutil.Process(self._process.pid).children(recursive=True)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def ended(self, seconds: float = SECONDS_TO_END) -> int:
        """Wait until it ends; give its exit code."""
        return self._process.wait(seconds)

    def end(self) -> None:
        """End it, if it still runs."""
        if self._process.poll() is None:
            self.send(signal.SIGINT)
            self.ended()


def still_alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if process.is_running() and not _is_zombie(process)]


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def open_page(browser: Browser) -> Page:
    page = browser.new_page(viewport={"width": 1600, "height": 900})
    page.set_default_timeout(SECONDS_TO_SHOW * 1000)
    expect.set_options(timeout=SECONDS_TO_SHOW * 1000)
    return page


def asset_in_graph(page: Page, asset: str) -> Locator:
    return page.locator("svg foreignObject").get_by_text(asset, exact=True)


def materialize(page: Page, url: str, partition: str) -> None:
    """Materialize one partition of all assets by clicks, and wait until its run is green."""
    page.goto(url + GROUP_PAGE)
    page.get_by_role("button", name=re.compile("Materialize all")).click()
    page.get_by_text("Select a partition or create one").click()
    page.get_by_role("menuitem").filter(has=page.locator(f'[data-tooltip="{partition}"]')).click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Launch 1 run").click()
    page.get_by_text("Launched run").wait_for()
    page.get_by_role("button", name="View", exact=True).or_(
        page.get_by_role("link", name="View", exact=True)
    ).first.click()
    page.wait_for_url(re.compile(r"/runs/[0-9a-f-]{36}"))
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=SECONDS_TO_RUN * 1000)


def open_partition(page: Page, url: str, asset: str, partition: str) -> None:
    page.goto(f"{url}/assets/{asset}?view=partitions&partition={partition}")
    page.get_by_text("Materialized", exact=True).first.wait_for()


def metadata_row(page: Page, key: str) -> Locator:
    """Find the row of the metadata table that has a key."""
    return page.locator("tr").filter(has=page.locator("td:first-child").get_by_text(key, exact=True)).first
