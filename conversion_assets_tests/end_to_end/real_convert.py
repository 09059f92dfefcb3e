"""``eopf.convert`` itself, offline: ``python -m … SAFE FOLDER`` prints the name of the product.

Nothing of eopf is replaced. Its STAC validation asks the internet for public schemas; here Python's own
URL opener answers with the copies that pystac bundles. Dask runs threads, as the option of eopf allows.
"""

from __future__ import annotations

import io
import json
import sys
import urllib.request
import urllib.response

from pystac.validation.local_validator import get_local_schema_cache


class BundledSchemas(urllib.request.HTTPSHandler):
    """Answers requests for the schemas that pystac bundles, and refuses all others."""

    def https_open(self, req: urllib.request.Request) -> urllib.response.addinfourl:  # type: ignore[override]
        """Answer a request."""
        content = json.dumps(get_local_schema_cache()[req.full_url]).encode()
        answer = urllib.response.addinfourl(io.BytesIO(content), req.headers, req.full_url, 200)  # type: ignore[arg-type] # any mapping
        vars(answer)["msg"] = "OK"
        return answer


def main(safe: str, folder: str) -> None:
    """Convert a product into a folder."""
    urllib.request.install_opener(urllib.request.build_opener(BundledSchemas))
    import dask  # noqa: PLC0415 - heavy
    import rasterio  # noqa: F401, PLC0415 - its GDAL must be loaded before ecCodes' PROJ
    from eopf import convert  # noqa: PLC0415 - heavy
    from eopf.config import EOConfiguration  # noqa: PLC0415 - heavy

    EOConfiguration()["store__convert__use_multithreading"] = False
    with dask.config.set(scheduler="threads"):
        _, name = convert(safe, folder)
    sys.stdout.write(name)


if __name__ == "__main__":
    main(*sys.argv[1:])
