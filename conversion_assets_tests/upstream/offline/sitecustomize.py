"""Lets eopf validate its STAC metadata without the internet, in the workers and in what they start.

Python runs this at start-up where this folder is on PYTHONPATH. Nothing of eopf is replaced: Python's own URL
opener answers with the copies of the public schemas that pystac bundles, and refuses all other addresses.
"""

import io
import json
import urllib.request
import urllib.response


class BundledSchemas(urllib.request.HTTPSHandler):
    """Answers requests for the schemas that pystac bundles."""

    def https_open(self, req: urllib.request.Request) -> urllib.response.addinfourl:  # type: ignore[override]
        """Answer a request."""
        from pystac.validation.local_validator import get_local_schema_cache  # noqa: PLC0415 - few processes ask

        content = json.dumps(get_local_schema_cache()[req.full_url]).encode()
        answer = urllib.response.addinfourl(io.BytesIO(content), req.headers, req.full_url, 200)  # type: ignore[arg-type] # any mapping
        vars(answer)["msg"] = "OK"
        return answer


urllib.request.install_opener(urllib.request.build_opener(BundledSchemas))
