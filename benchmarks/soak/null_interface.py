"""``conversion-assets ui`` with the code locations of a file: ``-m benchmarks.soak.null_interface FILE``."""

from __future__ import annotations

import sys
from pathlib import Path

from conversion_assets import servers
from conversion_assets.settings import Settings

if __name__ == "__main__":
    workspace = Path(sys.argv[1])
    vars(servers)["workspace_arguments"] = lambda: ["-w", str(workspace)]  # people need no such choice
    sys.exit(servers.serve(Settings(), port=0))
