from __future__ import annotations

import threading
from pathlib import Path

from conversion_assets.resources.file_exchange import write_whole


def test_document_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "document.json"
    contents = [bytes([number]) * 100_000 for number in (1, 2)]
    write_whole(path, contents[0])
    seen, done = set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        write_whole(path, contents[number % 2])
    done.set()
    reader.join()
    assert seen <= set(contents)
    assert [found.name for found in path.parent.iterdir()] == ["document.json"]
