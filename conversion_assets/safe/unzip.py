"""From a staged copy to the product folder, whatever an earlier attempt left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from conversion_assets.errors import PermanentError
from conversion_assets.progress import percent
from conversion_assets.safe.archive import extract_product
from conversion_assets.safe.manifest import is_product_folder
from conversion_assets.safe.members import ExtractionLimits


def unzip(staged: Path, destination: Path, limits: ExtractionLimits, tell: Callable[[str], None]) -> Path:
    """Unpack a staged archive; a staged folder is left where it is.

    Args:
        staged: an archive, or a ``.SAFE`` or ``.SEN3`` folder; an archive may be gone when an earlier
            attempt unpacked it.
        destination: private folder that holds nothing but the product when this returns.
        limits: how much the archive may unpack to.
        tell: receives a sentence now and then.

    Returns:
        The product folder, not yet compared with its manifest.

    Raises:
        PoisonedInputError: the archive is corrupt, hostile, or does not hold exactly one product.
        PermanentError: no space left, or the archive is gone.
    """
    if staged.is_dir():
        return staged
    unpacked = [child for child in destination.glob("*") if is_product_folder(child)]
    if not staged.exists() and len(unpacked) == 1:
        return unpacked[0]
    if not staged.exists():
        raise PermanentError(
            staged,
            "the staged copy has been released",
            "Materialize from staged_safe_item on, so that it is fetched again.",
        )
    if destination.exists():
        shutil.rmtree(destination)
    tell(f"unpacking {staged.name}")
    return extract_product(staged, destination, limits, percent(tell, f"unpacking {staged.name}")).root
