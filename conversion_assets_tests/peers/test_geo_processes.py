"""How the server of processes is started; what it does stands in the tests that use it."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from conversion_assets_tests.peers import geo_processes
from conversion_assets_tests.peers.geo_processes import serving_processes

SLOW_SERVER = """
import http.server, socket, sys
class Slow(http.server.BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self):
        Slow.asked += 1
        self.send_response(503 if Slow.asked < 3 else 200)
        self.send_header("Content-Length", str(len(b"mine")))
        self.end_headers()
        self.wfile.write(b"mine")
server = http.server.HTTPServer(("127.0.0.1", 0), Slow, bind_and_activate=False)
server.socket = socket.socket(fileno=int(sys.argv[1]))
server.serve_forever()
"""


def test_server_is_waited_for_until_it_answers_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geo_processes, "SERVER", SLOW_SERVER)
    with serving_processes(tmp_path) as url:
        assert httpx.get(url).text == "mine"


def test_nobody_else_gets_the_port_before_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.Popen

    def with_a_stranger_before_it(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401 - of Popen
        port = int(httpx.URL((tmp_path / "url").read_text()).port or 0)
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", port))
        return real(*arguments, **options)

    def configuration(_: Path, url: str) -> dict[str, str]:
        (tmp_path / "url").write_text(url)
        return {}

    monkeypatch.setattr(geo_processes, "SERVER", SLOW_SERVER)
    monkeypatch.setattr(geo_processes, "_configuration", configuration)
    monkeypatch.setattr(subprocess, "Popen", with_a_stranger_before_it)
    with serving_processes(tmp_path) as url:
        assert httpx.get(url).text == "mine"


def test_server_that_ends_at_once_is_told_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geo_processes, "SERVER", "raise SystemExit('it cannot start')")
    with pytest.raises(RuntimeError, match="it cannot start"), serving_processes(tmp_path):
        pass
