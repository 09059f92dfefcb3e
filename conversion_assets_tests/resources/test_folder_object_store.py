from __future__ import annotations

from pathlib import Path

import pytest

from conversion_assets.resources.folder_object_store import FolderObjectStore
from conversion_assets_tests.contracts.object_store import (
    Bench,
    ObjectStoreContract,
    written,
)

__all__ = ["written"]
BUCKET = "bucket"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    root = tmp_path / "home"
    bucket = root / "products" / BUCKET

    def read() -> dict[str, bytes]:
        files = [path for path in bucket.rglob("*") if path.is_file()]
        return {path.relative_to(bucket).as_posix(): path.read_bytes() for path in files}

    def write(path: str, data: bytes | None) -> None:
        if data is None:
            (bucket / path).unlink()
        else:
            (bucket / path).parent.mkdir(parents=True, exist_ok=True)
            (bucket / path).write_bytes(data)

    store = FolderObjectStore(root=str(root))
    return Bench(store, uri=bucket.as_uri(), above="", read=read, write=write, bucket=BUCKET)


class TestFolderObjectStore(ObjectStoreContract):
    pass
