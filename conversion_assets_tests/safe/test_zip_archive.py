from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from conversion_assets.safe.archive import extract_product
from conversion_assets_tests.safe.building import ROOT, RawEntry, raw_zip, read_tree, stdlib_zip
from conversion_assets_tests.safe.test_archive import TREE, refused, written

CONTENT = bytes(range(256)) * 20
FIRST = RawEntry(f"{ROOT}/first".encode(), CONTENT, method=8)
SECOND = RawEntry(f"{ROOT}/second".encode(), CONTENT, method=0)
ENCRYPTED, PATCH, STRONG, MASKED, DESCRIPTOR, UTF8 = 1, 1 << 5, 1 << 6, 1 << 13, 1 << 3, 1 << 11


def descriptor(entry: RawEntry, layout: str, mark: bytes = b"PK\x07\x08") -> bytes:
    return mark + struct.pack(layout, zlib.crc32(entry.content), len(entry.stored), len(entry.content))


def unpacked(tmp_path: Path, data: bytes) -> dict[str, bytes]:
    return read_tree(extract_product(written(tmp_path, data), tmp_path / "destination").root)


def test_the_baseline_of_the_refusals_is_accepted(tmp_path: Path) -> None:
    tree = unpacked(tmp_path, raw_zip([FIRST, SECOND], comment=b"an innocent comment"))
    assert tree == {f"{ROOT}/": b"", f"{ROOT}/first": CONTENT, f"{ROOT}/second": CONTENT}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"name": b"../evil"}, "segment '..'"),
        ({"name": b"/evil"}, "absolute"),
        ({"name": b"X.SAFE\\evil"}, "backslash"),
        ({"name": b"X.SAFE/e\0vil"}, "control"),
        ({"name": b"X.SAFE/\xff"}, "not"),
        ({"mode": stat.S_IFLNK | 0o777}, "links"),
        ({"mode": stat.S_IFIFO | 0o644}, "pipes"),
        ({"mode": stat.S_IFBLK | 0o644}, "devices"),
        ({"mode": stat.S_IFDIR | 0o755}, "end with a slash"),
        ({"flags": UTF8 | ENCRYPTED}, "encrypted"),
        ({"flags": UTF8 | STRONG}, "encrypted"),
        ({"flags": UTF8 | MASKED}, "encrypted"),
        ({"flags": UTF8 | PATCH}, "patches"),
        ({"method": 14}, "method 14"),
        ({"method": 1}, "method 1"),
        ({"crc": 1}, "CRC-32"),
        ({"size": len(CONTENT) - 1}, "more than"),
        ({"size": len(CONTENT) + 1}, "were announced"),
        ({"local_name": f"{ROOT}/other".encode()}, "disagree on name"),
        ({"local_method": 0}, "disagree on name"),
        ({"local_size": 1}, "disagree on CRC or sizes"),
        ({"extra": struct.pack("<HHBL", 0x7075, 8, 1, 0) + b"abc"}, "two names"),
        ({"extra": struct.pack("<HH", 1, 8)}, "extra field"),
        ({"size": 0xFFFFFFFF}, "zip64 block"),
    ],
)
def test_a_bad_member_is_refused_by_name_and_rule(
    tmp_path: Path, change: dict[str, object], rule: str
) -> None:
    bad = replace(FIRST, **change)  # type: ignore[arg-type]  # the table holds fields of RawEntry
    message = refused(tmp_path, raw_zip([bad, SECOND]))
    assert rule in message
    assert ", member '" in message


@pytest.mark.parametrize("second_name", [FIRST.name, FIRST.name.upper(), FIRST.name + b"/below"])
def test_names_that_collide_are_refused(tmp_path: Path, second_name: bytes) -> None:
    refused(tmp_path, raw_zip([FIRST, replace(SECOND, name=second_name)]))


@pytest.mark.parametrize("mode", [0, stat.S_IFDIR | 0o755])
def test_a_folder_has_no_content(tmp_path: Path, mode: int) -> None:
    folder = RawEntry(f"{ROOT}/folder/".encode(), b"content", mode=mode)
    assert "folder" in refused(tmp_path, raw_zip([FIRST, folder]))


def test_a_file_does_not_end_with_a_slash(tmp_path: Path) -> None:
    assert "slash" in refused(tmp_path, raw_zip([FIRST, RawEntry(f"{ROOT}/folder/".encode())]))


def test_a_gap_between_members_is_refused(tmp_path: Path) -> None:
    assert "leaves a gap" in refused(tmp_path, raw_zip([FIRST, SECOND], gap=b"hidden"))


def test_bytes_before_the_first_member_are_refused(tmp_path: Path) -> None:
    hidden = RawEntry(b"hidden", b"content").local()
    assert "before the first" in refused(tmp_path, raw_zip([FIRST, SECOND], before=hidden))
    assert "belong to neither" in refused(tmp_path, hidden + raw_zip([FIRST, SECOND]))


def test_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    whole = FIRST.local()
    directory = FIRST.central(0) + replace(SECOND, content=CONTENT, method=8).central(0)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(directory), len(whole), 0)
    refused(tmp_path, whole + directory + end)


@pytest.mark.parametrize("count", [-1, 1])
def test_a_wrong_number_of_entries_is_refused(tmp_path: Path, count: int) -> None:
    assert "entries announced" in refused(tmp_path, raw_zip([FIRST, SECOND], count=count)) or count > 0


def test_two_end_records_are_refused(tmp_path: Path) -> None:
    inner = raw_zip([SECOND])
    assert "several end records" in refused(tmp_path, raw_zip([FIRST], comment=inner))


def test_an_end_record_inside_the_comment_is_refused(tmp_path: Path) -> None:
    assert "several end records" in refused(tmp_path, raw_zip([FIRST], comment=b"PK\x05\x06 hidden"))


def test_a_volume_of_several_is_refused(tmp_path: Path) -> None:
    data = bytearray(raw_zip([FIRST]))
    data[-18] = 1
    assert "volume" in refused(tmp_path, bytes(data))


@pytest.mark.parametrize("layout", ["<LLL", "<LQQ"])
@pytest.mark.parametrize("mark", [b"", b"PK\x07\x08"])
def test_data_descriptors_of_all_spellings(tmp_path: Path, layout: str, mark: bytes) -> None:
    streamed = replace(FIRST, flags=UTF8 | DESCRIPTOR, descriptor=descriptor(FIRST, layout, mark))
    assert unpacked(tmp_path, raw_zip([streamed, SECOND]))[f"{ROOT}/first"] == CONTENT


def test_a_data_descriptor_that_lies_is_refused(tmp_path: Path) -> None:
    lie = descriptor(replace(FIRST, content=b"other"), "<LLL")
    streamed = replace(FIRST, flags=UTF8 | DESCRIPTOR, descriptor=lie)
    assert "gap" in refused(tmp_path, raw_zip([streamed, SECOND]))


class Pipe(io.RawIOBase):
    """Something that can only be written to, so that zipfile has to use data descriptors."""

    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        written_now = bytes(memoryview(data))  # type: ignore[arg-type]  # any buffer, as RawIOBase has it
        self.data += written_now
        return len(written_now)


def test_a_streamed_zip(tmp_path: Path) -> None:
    pipe = Pipe()
    stdlib_zip(TREE, pipe)
    assert unpacked(tmp_path, pipe.data) == TREE


def test_zip64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    data = stdlib_zip(TREE)
    assert b"PK\x06\x06" in data
    assert unpacked(tmp_path, data) == TREE


def test_zip64_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    pipe = Pipe()
    stdlib_zip(TREE, pipe)
    assert unpacked(tmp_path, pipe.data) == TREE


@pytest.mark.parametrize(
    ("offset", "rule"), [(4, "locator"), (24, "volume"), (32, "volume"), (40, "belong"), (48, "belong")]
)
def test_a_zip64_end_record_that_lies_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int, rule: str
) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    data = bytearray(stdlib_zip(TREE))
    data[data.rindex(b"PK\x06\x06") + offset] ^= 1
    message = refused(tmp_path, bytes(data))
    assert rule in message or "disagree" in message


def test_more_than_65535_entries_are_announced_by_zip64(tmp_path: Path) -> None:
    data = raw_zip([RawEntry(f"{ROOT}/{number}".encode()) for number in range(3)])
    end = len(data) - 22
    _, _, _, _, count, size, offset, _ = struct.unpack("<4s4H2LH", data[end:])
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    small = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert len(unpacked(tmp_path, data[:end] + record + locator + small)) == 4
    huge = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1 << 40, 1 << 40, size, offset)
    (tmp_path / "huge").mkdir()
    assert "100000 are allowed" in refused(tmp_path / "huge", data[:end] + huge + locator + small)


@pytest.mark.parametrize("method", [8, 9])
def test_surplus_bytes_behind_compressed_data_are_refused(tmp_path: Path, method: int) -> None:
    entry = replace(FIRST, method=method)
    stored = entry.stored + b"x"
    crc = zlib.crc32(CONTENT)
    local = (20, UTF8, method, 0, 0x21, crc, len(stored), len(CONTENT), len(FIRST.name), 0)
    central = (0x314, 20, *local[1:8], len(FIRST.name), 0, 0, 0, 0, 0, 0)
    body = struct.pack("<4s5H3L2H", b"PK\x03\x04", *local) + FIRST.name + stored
    directory = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *central) + FIRST.name
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), len(body), 0)
    assert "bytes follow the end" in refused(tmp_path, body + directory + end)
