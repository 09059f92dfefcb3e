from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from conversion_assets.errors import PermanentError, TransientError
from conversion_assets.resources.inbox_folder import UNFINISHED, InboxFolder, read_cursor
from conversion_assets.resources.input_source import Arrival
from conversion_assets.resources.item_filter import SPARE, ItemFilter, area_of_box
from conversion_assets_tests.contracts.input_source import InputSourceContract, SourceBench, names
from conversion_assets_tests.resources.stac_source import at, item
from conversion_assets_tests.safe.products import S1_NAME, S2_NAME

LONG = 3600.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "inbox"


def inbox(folder: Path, stable_seconds: float = 0, wanted: ItemFilter | None = None) -> InboxFolder:
    return InboxFolder(
        folder=str(folder), stable_seconds=stable_seconds, is_made=True, wanted=wanted or ItemFilter()
    )


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


def test_folder_that_is_not_ours_is_out_of_reach_while_it_is_missing(folder: Path, tmp_path: Path) -> None:
    watched = InboxFolder(folder=str(folder), stable_seconds=0)
    folder.mkdir()
    (folder / "A.zip").write_text("x")
    cursor = watched.look(None, 10).cursor
    folder.rename(tmp_path / "away")
    with pytest.raises(TransientError, match=r"inbox: the folder cannot be looked into \(No such file"):
        watched.look(cursor, 10)
    assert not folder.exists()
    (tmp_path / "away").rename(folder)
    assert watched.look(cursor, 10).arrivals == ()


def test_what_is_no_folder_is_refused(folder: Path) -> None:
    folder.write_text("x")
    with pytest.raises(PermanentError, match="cannot be looked into"):
        InboxFolder(folder=str(folder), stable_seconds=0).look(None, 10)


@pytest.mark.parametrize("left", [(), (".keep", "A.zip.part")])
def test_empty_folder_is_no_reason_to_forget(folder: Path, tmp_path: Path, left: tuple[str, ...]) -> None:
    """As where a disk is not mounted."""
    folder.mkdir()
    (folder / "A.zip").write_text("x")
    cursor = inbox(folder).look(None, 10).cursor
    (folder / "A.zip").rename(tmp_path / "A.zip")
    for name in left:
        (folder / name).touch()
    empty = inbox(folder).look(cursor, 10)
    assert empty.summary == "Nothing new in the inbox, which is empty now (1 known)."
    (tmp_path / "A.zip").rename(folder / "A.zip")
    assert inbox(folder).look(empty.cursor, 10).arrivals == ()


def test_what_still_changes_is_not_forgotten(folder: Path) -> None:
    folder.mkdir()
    (folder / "A.zip").write_text("x")
    cursor = inbox(folder).look(None, 10).cursor
    (folder / "A.zip").chmod(0o600)  # changes its time, not its version
    cursor = inbox(folder, LONG).look(cursor, 10).cursor
    assert inbox(folder).look(cursor, 10).arrivals == ()


def test_archives_and_folders_are_chosen_by_their_names(folder: Path) -> None:
    folder.mkdir()
    for name in (f"{S1_NAME}.zip", S2_NAME, "unknown.zip"):
        (folder / name).write_text("x")
    types = inbox(folder, wanted=ItemFilter(product_types=["S02MSIL1C"])).look(None, 10)
    assert [arrival.name for arrival in types.arrivals] == [S2_NAME]
    assert [skipped.name for skipped in types.skipped] == ["unknown.zip"]
    assert set(read_cursor(types.cursor)) == {f"{S1_NAME}.zip", S2_NAME, "unknown.zip"}
    times = inbox(folder, wanted=ItemFilter(acquired_to="2014-01-01T00:00:00Z")).look(None, 10)
    assert times.arrivals == ()
    assert [skipped.reason for skipped in times.skipped] == ["it has no time of acquisition"]
    placed = inbox(folder, wanted=ItemFilter(area=area_of_box((0, 0, 1, 1)))).look(None, 10)
    assert placed.arrivals == ()
    assert {skipped.reason for skipped in placed.skipped} == {"where it was taken cannot be told from a name"}


def test_documents_are_chosen_by_their_items(folder: Path) -> None:
    folder.mkdir()
    features = [item("C"), item("D", 0, **{"product:type": "S2MSI1C"})]
    for name, document in {
        "A.json": item("A"),
        "B.json": item("B", unpublished=at(0)),
        "C.geojson": {"type": "FeatureCollection", "features": features},
        "D.json": features[1],
    }.items():
        (folder / name).write_text(json.dumps(document))
    look = inbox(folder, wanted=ItemFilter(product_types=["S02MSIL2A"])).look(None, 10)
    assert sorted(names(look.arrivals)) == ["A", "C"]
    assert [skipped.name for skipped in look.skipped] == ["B.json"]
    (collection,) = (json.loads(one.document or b"") for one in look.arrivals if one.name == "C.geojson")
    assert [feature["id"] for feature in collection["features"]] == ["C"]


def test_one_look_is_bounded_and_the_next_goes_on(folder: Path) -> None:
    folder.mkdir()
    for number in range(SPARE + 1):
        (folder / f"{S1_NAME.removesuffix('6FF8.SAFE')}{number:04}.zip").write_text("x")
    watched = inbox(folder, wanted=ItemFilter(product_types=["S02MSIL1C"]))
    first = watched.look(None, 1)
    assert (first.arrivals, first.skipped, len(read_cursor(first.cursor))) == ((), (), SPARE)
    assert len(read_cursor(watched.look(first.cursor, 1).cursor)) == SPARE + 1


def test_folders_archives_and_documents_are_noticed_oldest_first(folder: Path) -> None:
    (folder / "B.SAFE" / "data").mkdir(parents=True)
    (folder / "B.SAFE" / "data" / "x").write_text("x")
    wait_for_the_clock(folder)
    (folder / "A.zip").write_text("zip")
    wait_for_the_clock(folder)
    (folder / "C.json").write_text("{}")
    found = arrivals(folder)
    assert [arrival.name for arrival in found] == ["B.SAFE", "A.zip", "C.json"]
    products, document = found[:2], found[2]
    assert [arrival.source for arrival in products] == [str(folder / arrival.name) for arrival in products]
    assert (document.source, document.document) == ((folder / "C.json").as_uri(), b"{}")


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
