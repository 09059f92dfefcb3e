"""A converter that converts nothing, gives names as eopf does, and tells its products apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.null_conversion import NullConverter, write_product
from conversion_assets.safe.manifest import read_manifest
from conversion_assets.safe.naming import product_name
from conversion_assets.safe.product_types import product_type_of_name
from conversion_assets.zarr.conversion import Assignment, Conversion
from conversion_assets.zarr.product_folder import CONSOLIDATED_METADATA

VERSION_FILE = "eopf-version"
MADE_BY = "made_by_eopf"


class NumberingConverter(NullConverter):
    """The null conversion, by an eopf whose version a file tells: it changes under way.

    Attributes:
        notes: folder of the file.
    """

    notes: str

    def convert(self, assignment: Assignment, tell: Callable[[str], None]) -> Conversion:
        """See ``Converter.convert``."""
        del tell
        safe = product_name(assignment.safe.name)
        product = assignment.workspace.local_output() / f"{eopf_name(safe)}.zarr"
        write_product(product, product_type_of_name(safe).eopf_type, read_manifest(assignment.safe))
        self._mark(product)
        return Conversion(product.as_uri(), eopf_name(safe), self.eopf_version())

    def eopf_version(self) -> str:
        """See ``Converter.eopf_version``."""
        return Path(self.notes, VERSION_FILE).read_text()

    def _mark(self, product: Path) -> None:
        """Let a product tell which eopf made it."""
        root, consolidated = product / ".zattrs", product / CONSOLIDATED_METADATA
        attributes = json.loads(root.read_bytes()) | {MADE_BY: self.eopf_version()}
        document = json.loads(consolidated.read_bytes())
        document["metadata"][".zattrs"] = attributes
        root.write_text(json.dumps(attributes))
        consolidated.write_text(json.dumps(document))


def eopf_name(safe: str) -> str:
    """Give a name like that of eopf, which knows nothing of the unique digits at the end."""
    mission, _, _, _, start, _, orbit, _, _ = safe.split("_")
    return f"S01SIWGRD_{start}_0025_{mission[-1]}{orbit[-3:]}_T000"
