"""Processes of ours for pygeoapi, and pygeoapi itself as a server: what standard services look like."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import psutil
from pygeoapi.process.base import BaseProcessor, ProcessorExecuteError

from conversion_assets.zarr.conversion import ConversionRequest
from conversion_assets.zarr.process import ProcessLimits, run_conversion

START_SECONDS = 60
SERVER = """
import sys
from pygeoapi.flask_app import APP
from werkzeug.serving import make_server
make_server("127.0.0.1", 0, APP, threaded=True, fd=int(sys.argv[1])).serve_forever()
"""
METADATA = {
    "version": "1.0.0",
    "title": "a process of the tests",
    "description": "",
    "keywords": [],
    "links": [],
    "inputs": {},
    "outputs": {},
    "jobControlOptions": ["sync-execute", "async-execute"],
}
JSON = "application/json"


class Conversion(BaseProcessor):  # type: ignore[misc] # pygeoapi ships no types
    """Converts a SAFE folder as a conversion on this machine does."""

    def __init__(self, definition: dict[str, Any]) -> None:
        super().__init__(definition, {**METADATA, "id": "convert"})

    def execute(self, data: dict[str, Any], outputs: object = None) -> tuple[str, dict[str, Any]]:
        """Convert; pygeoapi calls it."""
        del outputs
        output = path_of(data["output_zarr_dir_path"])
        scratch = output / ".scratch"
        scratch.mkdir()
        request = ConversionRequest(safe=path_of(data["input_safe_path"]), output=output, scratch=scratch)
        report = run_conversion(request, ProcessLimits(2**33, 120), lambda _: None)
        return JSON, {"zarr_uri": report.product.as_uri(), "eopf_version": report.eopf_version}


class Staging(BaseProcessor):  # type: ignore[misc] # pygeoapi ships no types
    """Fetches the asset of an item into a folder."""

    def __init__(self, definition: dict[str, Any]) -> None:
        super().__init__(definition, {**METADATA, "id": "stage"})

    def execute(self, data: dict[str, Any], outputs: object = None) -> tuple[str, dict[str, Any]]:
        """Fetch; pygeoapi calls it."""
        del outputs
        (asset,) = data["item"]["value"]["assets"].values()
        folder = path_of(data["destination"])
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / asset["file:local_path"]
        target.write_bytes(httpx.get(asset["href"]).raise_for_status().content)
        return JSON, {"href": target.as_uri()}


class Obedience(BaseProcessor):  # type: ignore[misc] # pygeoapi ships no types
    """Does what its inputs say: ends when a file is there, or fails with a text, or gives some outputs."""

    def __init__(self, definition: dict[str, Any]) -> None:
        super().__init__(definition, {**METADATA, "id": "obey"})

    def execute(self, data: dict[str, Any], outputs: object = None) -> tuple[str, Any]:
        """Obey; pygeoapi calls it."""
        del outputs
        while "until" in data and not Path(data["until"]).exists():
            time.sleep(0.02)
        if "failure" in data:
            raise ProcessorExecuteError(data["failure"])
        return JSON, data.get("outputs")


def path_of(uri: str) -> Path:
    """Give the path of a ``file:`` URI."""
    return Path(unquote(urlsplit(uri).path))


@contextmanager
def serving_processes(folder: Path) -> Iterator[str]:
    """Run pygeoapi until the block is left.

    Args:
        folder: for its files.

    Yields:
        Its URL.

    Raises:
        RuntimeError: it ended or did not serve in time; its log stands in the text.
    """
    (folder / "results").mkdir()
    with _started(folder) as (url, server):
        try:
            _wait_for(url, server, folder / "log")
            yield url
        finally:
            with suppress(psutil.NoSuchProcess):
                family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
                for process in family:
                    process.kill()
            shutil.rmtree(folder / "results")


@contextmanager
def _started(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start the server on a socket that is handed to it: nobody else can answer there."""
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    (folder / "config.yml").write_text(json.dumps(_configuration(folder, url)))  # JSON is YAML
    (folder / "openapi.yml").write_text(json.dumps({"openapi": "3.0.2", "paths": {}}))
    environment = {
        **os.environ,
        "PYGEOAPI_CONFIG": str(folder / "config.yml"),
        "PYGEOAPI_OPENAPI": str(folder / "openapi.yml"),
    }
    with (folder / "log").open("wb") as log, listening:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(listening.fileno())],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[listening.fileno()],
        )
    with server:
        yield url, server


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _serves(url):
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(log.read_text())
        time.sleep(0.1)


def _serves(url: str) -> bool:
    try:
        return httpx.get(f"{url}/processes", params={"f": "json"}, timeout=START_SECONDS).is_success
    except httpx.TransportError:
        return False


def _configuration(folder: Path, url: str) -> dict[str, Any]:
    port = urlsplit(url).port
    texts = {"title": "tests", "description": "tests", "url": url, "terms_of_service": "none"}
    processes = {
        name: {"type": "process", "processor": {"name": f"{__name__}.{kind.__name__}"}}
        for name, kind in (("convert", Conversion), ("stage", Staging), ("obey", Obedience))
    }
    return {
        "server": {
            "bind": {"host": "127.0.0.1", "port": port},
            "url": url,
            "mimetype": f"{JSON}; charset=UTF-8",
            "encoding": "utf-8",
            "languages": ["en-US"],
            "limits": {"default_items": 10, "max_items": 50},
            "map": {"url": "https://tile.example.org/{z}/{x}/{y}.png", "attribution": "none"},
            "manager": {
                "name": "TinyDB",
                "connection": str(folder / "jobs.json"),
                "output_dir": str(folder / "results"),
            },
        },
        "logging": {"level": "ERROR"},
        "metadata": {
            "identification": {**texts, "keywords": ["tests"], "keywords_type": "theme"},
            "license": {"name": "none", "url": url},
            "provider": {"name": "tests", "url": url},
            "contact": {"name": "tests"},
        },
        "resources": processes,
    }
