from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from conversion_assets.resources.inbox_folder import UNFINISHED, InboxFolder, read_cursor
from conversion_assets.resources.input_source import Arrival
from conversion_assets_tests.contracts.input_source import InputSourceContract, SourceBench

LONG = 3600.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "inbox"


def inbox(folder: Path, stable_seconds: float = 0) -> InboxFolder:
    return InboxFolder(folder=str(folder), stable_seconds=stable_seconds)


def arrivals(folder: Path, stable_seconds: float = 0) -> tuple[Arrival, ...]:
    return inbox(folder, stable_seconds).look(None, 100).arrivals


class TestInboxFolder(InputSourceContract):
    @pytest.fixture
    def bench(self, folder: Path) -> SourceBench:
        folder.mkdir()

        def put(*names: str) -> None:
            for name in names:
                with (folder / f"{name}.zip").open("a") as file:
                    file.write("x")
                wait_for_the_clock(folder)

        return SourceBench(inbox(folder), put)


def test_inbox_is_made_when_missing(folder: Path) -> None:
    assert arrivals(folder) == ()
    assert folder.is_dir()


def test_folders_archives_and_documents_are_noticed_oldest_first(folder: Path) -> None:
    (folder / "B.SAFE" / "data").mkdir(parents=True)
    (folder / "B.SAFE" / "data" / "x").write_text("x")
    wait_for_the_clock(folder)
    (folder / "A.zip").write_text("zip")
    wait_for_the_clock(folder)
    (folder / "C.json").write_text("{}")
    found = arrivals(folder)
    assert [arrival.name for arrival in found] == ["B.SAFE", "A.zip", "C.json"]
    assert [arrival.source for arrival in found] == [str(folder / arrival.name) for arrival in found]


def wait_for_the_clock(folder: Path) -> None:
    """Wait until the file system's clock has moved on."""
    probe = folder.parent / "probe"
    probe.touch()
    first = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == first:
        probe.touch()
    probe.unlink()


@pytest.mark.parametrize(
    "name", [".hidden", ".A.zip.x8s1", *(f"A.zip{ending}" for ending in UNFINISHED), "A.PART"]
)
def test_unfinished_names_are_passed_over(name: str, folder: Path) -> None:
    folder.mkdir()
    (folder / name).write_text("x")
    assert arrivals(folder) == ()


def test_what_still_changes_is_left(folder: Path) -> None:
    (folder / "A.SAFE").mkdir(parents=True)
    (folder / "B.zip").write_text("x")
    assert arrivals(folder, LONG) == ()
    assert len(arrivals(folder)) == 2


def test_times_that_a_copying_tool_set_do_not_count(folder: Path) -> None:
    (folder / "A.SAFE" / "data").mkdir(parents=True)
    (folder / "A.SAFE" / "data" / "x").write_text("x")
    for path in (folder / "A.SAFE" / "data" / "x", folder / "A.SAFE" / "data", folder / "A.SAFE"):
        os.utime(path, (0, 0))
    assert arrivals(folder, LONG) == ()
    for path in (folder / "A.SAFE" / "data" / "x", folder / "A.SAFE"):
        os.utime(path, (time.time() + LONG, time.time() + LONG))
    assert [arrival.name for arrival in arrivals(folder)] == ["A.SAFE"]


def test_version_follows_the_content(folder: Path) -> None:
    (folder / "A.SAFE" / "data").mkdir(parents=True)
    (folder / "A.SAFE" / "data" / "x").write_text("x")
    versions = [arrivals(folder)[0].version, arrivals(folder)[0].version]
    (folder / "A.SAFE" / "data" / "x").write_text("longer")
    versions.append(arrivals(folder)[0].version)
    (folder / "A.SAFE" / "data" / "y").write_text("")
    versions.append(arrivals(folder)[0].version)
    assert versions[0] == versions[1]
    assert len(set(versions)) == 3


def test_link_to_itself_does_not_hold_up_others(folder: Path) -> None:
    folder.mkdir()
    (folder / "A.zip").symlink_to(folder / "A.zip")
    (folder / "B.zip").write_text("x")
    assert [arrival.name for arrival in arrivals(folder)] == ["B.zip"]


def test_link_that_leads_nowhere_is_passed_over(folder: Path) -> None:
    folder.mkdir()
    (folder / "A.zip").symlink_to(folder / "absent")
    (folder / "B.zip").write_text("x")
    assert [arrival.name for arrival in arrivals(folder)] == ["B.zip"]


def test_cursor_forgets_what_is_gone(folder: Path) -> None:
    folder.mkdir()
    (folder / "X.json").write_text("{}")
    (folder / "Y.json").write_text("{}")
    cursor = inbox(folder).look(None, 10).cursor
    assert set(read_cursor(cursor)) == {"X.json", "Y.json"}
    (folder / "X.json").unlink()
    assert set(read_cursor(inbox(folder).look(cursor, 10).cursor)) == {"Y.json"}


def test_cursor_of_another_version_is_left_aside() -> None:
    assert read_cursor(None) == read_cursor("") == read_cursor('{"version": 0, "taken": {"X": "1"}}') == {}
