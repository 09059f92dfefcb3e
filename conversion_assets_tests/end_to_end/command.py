"""The installed command, run as a person or a program runs it, and what it leaves on disk."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

PROGRAM = Path(sys.executable).with_name("conversion-assets")
ENGINE_MODULE = "conversion_assets.zarr.engine"
OURS = ("CONVERSION_ASSETS_", "DAGSTER_")
SECONDS_TO_END = 240
HISTORY_TIME = "time"


class Ended(BaseModel):
    """How a command ended.

    Attributes:
        code: exit code.
        stdout: what it wrote for programs.
        stderr: what it wrote for people.
    """

    model_config = ConfigDict(frozen=True)

    code: int
    stdout: str
    stderr: str

    @property
    def orders(self) -> list[dict[str, Any]]:
        """The JSON objects on standard output."""
        return [json.loads(line) for line in self.stdout.splitlines()]


def environment(**settings: str) -> dict[str, str]:
    """Give the environment of this process without any setting of ours but those named."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return kept | {f"CONVERSION_ASSETS_{name.upper()}": value for name, value in settings.items()}


def run(*arguments: str | Path, home: Path | None = None, **settings: str) -> Ended:
    """Run the command to its end."""
    command = [str(PROGRAM), *map(str, arguments), *(["--home", str(home)] if home else [])]
    done = subprocess.run(
        command,
        env=environment(**settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_TO_END,
    )
    return Ended(code=done.returncode, stdout=done.stdout, stderr=done.stderr)


def convert(*sources: str | Path, home: Path, **settings: str) -> Ended:
    """Convert sources, options among them, with JSON as output."""
    return run("convert", "--json", *sources, home=home, **settings)


def start_converting(source: Path, home: Path, **settings: str) -> subprocess.Popen[str]:
    """Begin to convert a source; the caller sees to the end of it."""
    return subprocess.Popen(
        [str(PROGRAM), "convert", "--json", str(source), "--home", str(home)],
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def inventory(folder: Path) -> dict[str, str]:
    """Give every file below a folder with the SHA-256 of its bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def visible(home: Path) -> list[Path]:
    """List what readers would find of a home: products and documents of the catalogue."""
    return [*home.glob("products/**/*.zarr"), *home.glob("catalogue/**/*.json")]


def leftovers(home: Path) -> list[Path]:
    """List what no finished order may leave: staged copies, temporary files, unfinished products."""
    return [*home.glob("staging/*"), *home.glob("scratch/*"), *home.glob("products/**/.converting-*")]


def timeless(product: Path) -> dict[str, str]:
    """Take inventory of a product without the times at which its processing history was written."""
    found = inventory(product)
    for name in found:
        if name.rpartition("/")[2] in (".zattrs", ".zmetadata"):
            document = json.loads((product / name).read_bytes())
            masked = json.dumps(_masked(document))
            found[name] = hashlib.sha256(masked.encode()).hexdigest()
    return found


def _masked(node: Any, *, in_history: bool = False) -> Any:  # noqa: ANN401 - any JSON
    """Blank the time of the last entry of each level of ``processing_history``, the order of keys kept."""
    if isinstance(node, dict):
        return {
            key: "masked"
            if in_history and key == HISTORY_TIME and node.get("processor") == "EOPF-CPM"
            else _masked(value, in_history=in_history or key == "processing_history")
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_masked(entry, in_history=in_history) for entry in node]
    return node
