"""The demo: makes a small Sentinel-2 archive and takes it through the whole line.

Usage: ``python -m conversion_assets_tests.demo HOME``. Exit code 0 only if the product was published
and every check passed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from conversion_assets_tests.safe_products import ProductKind, make_archive, make_product

KIND = ProductKind.S2_MSI_L2A
SCALE = 0.06


def main(home: Path) -> int:
    """Make the archive where there is none yet, convert it, say what to do next."""
    archive = demo_archive(home / "demo")
    print(f"Ordering {archive}", file=sys.stderr)  # noqa: T201 - this is a command
    command = [str(Path(sys.executable).with_name("conversion-assets")), "convert", str(archive)]
    code = subprocess.run([*command, "--home", str(home)], check=False).returncode
    if code == 0:
        print("See it in Dagster: make ui")  # noqa: T201 - this is a command
    return code


def demo_archive(folder: Path) -> Path:
    """Give the archive of the demo; it is synthetic, small, and complete."""
    found = sorted(folder.glob("*.zip"))
    if found:
        return found[0]
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as scratch:
        product = make_product(KIND, Path(scratch), scale=SCALE)
        return make_archive(product).rename(folder / f"{product.name}.zip")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
