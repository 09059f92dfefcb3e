from __future__ import annotations

import threading
from pathlib import Path

import pytest

from conversion_assets.resources import file_exchange
from conversion_assets.resources.file_exchange import put_in_place, write_whole


def folder(path: Path, content: str) -> Path:
    path.mkdir(parents=True)
    (path / "content").write_text(content)
    return path


def test_first_one_takes_its_place(tmp_path: Path) -> None:
    put_in_place(folder(tmp_path / "new", "1"), tmp_path / "place", aside=tmp_path / "aside")
    assert (tmp_path / "place" / "content").read_text() == "1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["place"]


@pytest.mark.parametrize("kernel_can", [True, False])
def test_next_one_takes_its_place_and_the_former_stands_aside(
    kernel_can: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernel_can:
        monkeypatch.setattr(file_exchange, "RENAME_EXCHANGE", 1 << 30)  # a flag that no kernel knows
    folder(tmp_path / "place", "1")
    put_in_place(folder(tmp_path / "new", "2"), tmp_path / "place", aside=tmp_path / "aside")
    assert (tmp_path / "place" / "content").read_text() == "2"
    assert (tmp_path / "aside" / "content").read_text() == "1"
    assert not (tmp_path / "new").exists()


def test_reader_finds_a_whole_folder_at_every_instant(tmp_path: Path) -> None:
    place = folder(tmp_path / "place", "0")
    faults, done = [], threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                (place / "content").read_text()
            except FileNotFoundError as error:
                faults.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 200):
        new = folder(tmp_path / "new", str(number))
        put_in_place(new, place, aside=tmp_path / f"aside-{number}")
    done.set()
    reader.join()
    assert faults == []
    assert (place / "content").read_text() == "199"


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
