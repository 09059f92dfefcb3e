from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from conversion_assets.safe.archive import extract_product
from conversion_assets_tests.safe.building import ROOT, gzip_bytes, read_tree, tar_bytes
from conversion_assets_tests.safe.test_archive import TREE, refused, written

LONG = f"{ROOT}/{'GRANULE/' * 20}{'x' * 150}"


def tar_of(*members: tuple[tarfile.TarInfo, bytes], tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tar_format) as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def member(
    name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, records: dict[str, str] | None = None
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.pax_headers = kind, size, "", records or {}
    return info


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names(tmp_path: Path, tar_format: int) -> None:
    archive = written(tmp_path, tar_bytes({LONG: b"content"}, tar_format))
    product = extract_product(archive, tmp_path / "destination")
    assert (tmp_path / "destination" / LONG).read_bytes() == b"content"
    assert product.files == 1


def test_a_long_name_that_the_header_cuts_inside_a_character(tmp_path: Path) -> None:
    name = f"{ROOT}/{'x' * (98 - len(ROOT))}éé"
    archive = written(tmp_path, tar_bytes({name: b"content"}, tarfile.GNU_FORMAT))
    extract_product(archive, tmp_path / "destination")
    assert (tmp_path / "destination" / name).read_bytes() == b"content"


def test_ustar_prefix(tmp_path: Path) -> None:
    name = f"{ROOT}/{'a' * 80}/{'b' * 90}"
    archive = written(tmp_path, tar_bytes({name: b"content"}, tarfile.USTAR_FORMAT))
    extract_product(archive, tmp_path / "destination")
    assert (tmp_path / "destination" / name).read_bytes() == b"content"


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (tarfile.SYMTYPE, "symbolic links"),
        (tarfile.LNKTYPE, "hard links"),
        (tarfile.CHRTYPE, "character devices"),
        (tarfile.BLKTYPE, "block devices"),
        (tarfile.FIFOTYPE, "pipes"),
        (tarfile.CONTTYPE, "type '7'"),
        (tarfile.GNUTYPE_SPARSE, "sparse files"),
        (b"V", "type 'V'"),
    ],
)
def test_other_kinds_of_members_are_refused(tmp_path: Path, kind: bytes, rule: str) -> None:
    message = refused(tmp_path, tar_of((member(f"{ROOT}/evil", kind), b"")))
    assert f"{rule} are not accepted" in message
    assert f"'{ROOT}/evil'" in message


@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "a\\b", f"{ROOT}//x", f"{ROOT}/../x", "././x", f"{ROOT}/x\n"]
)
@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_hostile_names_are_refused(tmp_path: Path, name: str, tar_format: int) -> None:
    assert "may not" in refused(tmp_path, tar_of((member(name), b""), tar_format=tar_format))


@pytest.mark.parametrize(
    ("records", "rule"),
    [
        ({"GNU.sparse.major": "1"}, "GNU.sparse.major"),
        ({"linkpath": "/etc/passwd"}, "linkpath"),
        ({"hdrcharset": "BINARY"}, "hdrcharset"),
        ({"path": "../evil"}, "segment"),
        ({"size": "-1"}, "not a number"),
        ({"size": "9" * 5000}, "not a number"),
    ],
)
def test_pax_records_that_change_more_than_they_should(
    tmp_path: Path, records: dict[str, str], rule: str
) -> None:
    assert rule in refused(tmp_path, tar_of((member(f"{ROOT}/x", records=records), b"")))


def test_harmless_pax_records_are_ignored(tmp_path: Path) -> None:
    info = member(f"{ROOT}/x", records={"comment": "hello", "mtime": "1.5", "SCHILY.xattr.user.x": "y"})
    archive = written(tmp_path, tar_of((info, b"")))
    assert extract_product(archive, tmp_path / "destination").files == 1


def pax_header(kind: bytes, data: bytes) -> bytes:
    info = tarfile.TarInfo("header")
    info.type, info.size = kind, len(data)
    return info.tobuf(tarfile.USTAR_FORMAT) + data.ljust(-(-len(data) // 512) * 512, b"\0")


@pytest.mark.parametrize(
    ("header", "rule"),
    [
        (pax_header(b"g", b"10 path=x\n"), "'path'"),
        (pax_header(b"x", b"99 path=x\n"), "malformed"),
        (pax_header(b"x", b"nonsense"), "malformed"),
        (pax_header(b"x", b"0 path=x\n"), "malformed"),
        (pax_header(b"x", b"10 path=x\n10 path=y\n"), "twice"),
        (pax_header(b"x", b"10 path=x\n") * 2, "two extended headers"),
        (pax_header(b"x", b"10 path=x\n") + pax_header(b"L", b"y\0"), "name the same member"),
        (pax_header(b"x", bytes(1 << 21)), "longer than"),
        (pax_header(b"L", b"\xff\xfe\0"), "UTF-8"),
    ],
)
def test_malformed_extended_headers_are_refused(tmp_path: Path, header: bytes, rule: str) -> None:
    assert rule in refused(tmp_path, header + tar_bytes(TREE))


def test_an_extended_header_without_a_member_is_refused(tmp_path: Path) -> None:
    assert "no member" in refused(tmp_path, pax_header(b"x", b"10 path=x\n") + bytes(1024))


@pytest.mark.parametrize("pack", [bytes, gzip_bytes])
def test_the_end_marker_must_be_there_and_be_the_end(tmp_path: Path, pack: type[bytes]) -> None:
    data = tar_bytes(TREE)
    whole = data.rstrip(b"\0")
    content = whole.ljust(-(-len(whole) // 512) * 512, b"\0")
    assert "truncated" in refused(tmp_path, pack(content))
    assert "truncated" in refused(tmp_path, pack(content + bytes(512)))
    assert "end marker" in refused(tmp_path, pack(content + bytes(512) + data))
    assert "follow the end marker" in refused(tmp_path, pack(data + tar_bytes(TREE)))
    assert "follow the end marker" in refused(tmp_path, pack(data + bytes(17 << 20)))


def test_an_archive_that_just_ends_with_its_marker_is_whole(tmp_path: Path) -> None:
    whole = tar_bytes(TREE).rstrip(b"\0")
    content = whole.ljust(-(-len(whole) // 512) * 512 + 1024, b"\0")
    product = extract_product(written(tmp_path, content), tmp_path / "destination")
    assert read_tree(product.root) == TREE


def test_a_changed_header_is_noticed(tmp_path: Path) -> None:
    data = tar_bytes(TREE).replace(b"image.jp2", b"imagf.jp2")
    assert "checksum is wrong" in refused(tmp_path, data)


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    twice = tar_of((member(f"{ROOT}/x"), b""), (member(f"{ROOT}/X"), b""))
    assert "case" in refused(tmp_path, twice) or "twice" in refused(tmp_path, twice)


def test_a_folder_with_content_is_refused(tmp_path: Path) -> None:
    info = member(f"{ROOT}/x", tarfile.DIRTYPE)
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"00000000005\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    assert "folder" in refused(tmp_path, bytes(header) + bytes(2048))


def test_big_sizes_in_binary_are_read(tmp_path: Path) -> None:
    info = member(f"{ROOT}/x", size=1 << 40)
    header = info.tobuf(tarfile.GNU_FORMAT)
    assert "unpacks to more than" in refused(tmp_path, header + bytes(2048))
