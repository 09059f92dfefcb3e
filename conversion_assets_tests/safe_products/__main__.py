"""Make a product: ``python -m conversion_assets_tests.safe_products KIND FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from conversion_assets.errors import ConversionAssetsError

from . import SUFFIXES, ProductKind, make_archive, make_product


@click.command()
@click.argument("kind", type=click.Choice([kind.value for kind in ProductKind]))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--scale", type=click.FloatRange(0, 1, min_open=True), default=0.02, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--archive", type=click.Choice(SUFFIXES), help="Also pack the product.")
def main(kind: str, folder: Path, scale: float, seed: int, archive: str | None) -> None:
    """Make a synthetic product of a KIND in a FOLDER and print its path."""
    try:
        product = make_product(ProductKind(kind), folder, scale=scale, seed=seed)
    except (ConversionAssetsError, OSError) as error:
        sys.exit(str(error))
    click.echo(make_archive(product, suffix=archive) if archive else product)


if __name__ == "__main__":
    main()
