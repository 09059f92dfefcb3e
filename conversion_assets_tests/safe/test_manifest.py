from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion_assets.errors import PoisonedInputError
from conversion_assets.safe import manifest_document
from conversion_assets.safe.manifest import (
    Software,
    find_manifest,
    is_product_folder,
    read_manifest,
)
from conversion_assets_tests.safe.products import (
    S1_NAME,
    S1_PERIOD,
    S2_NAME,
    S2_PERIOD,
    S2_RING,
    S3_NAME,
    S3_PERIOD,
    S3_RING,
    document,
    entry,
    listed,
    product,
)

S2_METADATA = """<?xml version="1.0"?><n1:Level-1C_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int">
<PRODUCT_START_TIME>2021-09-08T04:27:01.024Z</PRODUCT_START_TIME>
<PRODUCT_STOP_TIME>2021-09-08T04:27:05.5Z</PRODUCT_STOP_TIME>
<EXT_POS_LIST>28.5 93.5 27.5 93.5 27.5 92.5 28.5 93.5 </EXT_POS_LIST></n1:Level-1C_User_Product>"""


def test_sentinel_1(tmp_path: Path) -> None:
    manifest = read_manifest(product(tmp_path))
    assert manifest.path == tmp_path / S1_NAME / "manifest.safe"
    assert manifest.folder == tmp_path / S1_NAME
    assert [file.href for file in manifest.files] == ["data/one.bin", "two.xml", "empty.txt"]
    assert [file.size for file in manifest.files] == [3000, 6, 0]
    assert {file.checksum_name for file in manifest.files} == {"MD5"}
    assert manifest.start == datetime(2021, 8, 9, 17, 39, 53, 153776, tzinfo=UTC)
    assert manifest.stop == datetime(2021, 8, 9, 17, 40, 18, 152800, tzinfo=UTC)
    assert manifest.footprint == ((1.51, 46.03), (4.85, 46.43), (5.18, 44.93), (1.93, 44.53))
    assert manifest.facility == "Copernicus S1 Core Ground Segment"
    assert manifest.software == Software(name="Sentinel-1 IPF", version="003.31")


def test_sentinel_2_with_what_its_manifest_leaves_out(tmp_path: Path) -> None:
    folder = product(tmp_path, S2_NAME, document(listed("SHA3-256"), S2_PERIOD, "", "<a:processing/>"))
    (folder / "MTD_MSIL1C.xml").write_text(S2_METADATA)
    manifest = read_manifest(folder)
    assert {file.checksum_name for file in manifest.files} == {"SHA3-256"}
    assert (manifest.stop - manifest.start).total_seconds() == pytest.approx(4.476)
    assert manifest.footprint == ((93.5, 28.5), (93.5, 27.5), (92.5, 27.5), (93.5, 28.5))
    assert manifest.facility is None
    assert manifest.software is None


def test_the_footprint_of_a_sentinel_2_manifest_comes_first(tmp_path: Path) -> None:
    folder = product(tmp_path, S2_NAME, document(listed(), S2_PERIOD, S2_RING))
    (folder / "MTD_MSIL1C.xml").write_text(S2_METADATA)
    assert read_manifest(folder).footprint == ((93.43, 28.02), (93.40, 27.91), (92.99, 27.03), (93.43, 28.02))


def test_sentinel_3(tmp_path: Path) -> None:
    manifest = read_manifest(product(tmp_path, S3_NAME, document(listed(prefix=""), S3_PERIOD, S3_RING)))
    assert manifest.path.name == "xfdumanifest.xml"
    assert manifest.stop == datetime(2021, 8, 10, 8, 15, 45, tzinfo=UTC)
    assert manifest.footprint == ((21.0, 31.4), (21.8, 31.3), (34.4, 29.0), (21.0, 31.4))


def test_an_acquisition_without_stop_is_an_instant_and_may_have_no_footprint(tmp_path: Path) -> None:
    manifest = read_manifest(product(tmp_path, manifest=document(listed(), S2_PERIOD, "")))
    assert manifest.start == manifest.stop
    assert manifest.footprint is None


def test_every_frame_has_its_footprint(tmp_path: Path) -> None:
    rings = f"{S3_RING}</a:footPrint><a:footPrint>{S2_RING}"
    manifest = read_manifest(product(tmp_path, manifest=document(listed(), ring=rings)))
    assert [len(ring) for ring in manifest.footprints] == [4, 4]


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("MD5", "MD5"),
        ("md5", "MD5"),
        ("SHA3-256", "SHA3-256"),
        ("SHA3_256", "SHA3-256"),
        ("sha256", "SHA-256"),
        ("SHA-256", "SHA-256"),
        ("CRC32", "CRC32"),
    ],
)
def test_spellings_of_algorithms(spelling: str, name: str) -> None:
    assert manifest_document.algorithm_name(spelling) == name


def test_capital_digests_missing_sizes_and_missing_checksums_are_tolerated(tmp_path: Path) -> None:
    bare = '<dataObject><byteStream><fileLocation href="./two.xml"/></byteStream></dataObject>'
    manifest = read_manifest(product(tmp_path, manifest=document(entry("a", b"", "MD5", "ABCDEF") + bare)))
    assert manifest.files[0].checksum == "abcdef"
    assert manifest.files[1].model_dump() == {
        "href": "two.xml",
        "size": None,
        "checksum_name": None,
        "checksum": None,
    }


def test_an_entry_that_is_listed_twice_alike_counts_once(tmp_path: Path) -> None:
    assert len(read_manifest(product(tmp_path, manifest=document(listed() * 2))).files) == 3


BOMB = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>'
EXTERNAL = '<?xml version="1.0"?><!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>'


@pytest.mark.parametrize(
    ("manifest", "rule"),
    [
        (BOMB, "DTD or entities"),
        (EXTERNAL, "DTD or entities"),
        ("<x>", "well-formed"),
        ("", "well-formed"),
        ('<?xml version="1.0" encoding="nonsense"?><x/>', "well-formed"),
        (document(""), "lists no files"),
        (document(entry("../evil", b"")), "segment '..'"),
        (document(entry("/etc/passwd", b"")), "absolute"),
        (document(entry("a\\b", b"")), "backslash"),
        (document(entry("", b"")), "empty"),
        (document("<byteStream size='1'/>"), "empty"),
        (document(entry("a", b"").replace('size="0"', 'size="-1"')), "not a number"),
        (document(entry("a", b"", digest="xyz")), "hexadecimal"),
        (document(entry("a", b"") + entry("a", b"other")), "twice"),
        (document(entry("a", b"") + entry("A", b"")), "twice"),
        (document(listed(), "<a:startTime>yesterday</a:startTime>"), "date and time"),
        (document(listed(), "<a:startTime> </a:startTime>"), "no start"),
        (document(listed(), S1_PERIOD.replace("2021-08-09T17:40", "2020-08-09T17:40")), "before it starts"),
        (document(listed(), ring="<g:posList>1 2 3</g:posList>"), "pairs"),
        (document(listed(), ring="<g:posList>1 north</g:posList>"), "numbers"),
        (document(listed(), ring="<g:posList>1 nan</g:posList>"), "pairs"),
    ],
)
def test_a_manifest_that_says_what_cannot_be_is_refused(tmp_path: Path, manifest: str, rule: str) -> None:
    folder = product(tmp_path, manifest=manifest)
    with pytest.raises(PoisonedInputError) as caught:
        read_manifest(folder)
    assert rule in str(caught.value)
    assert str(folder / "manifest.safe") in str(caught.value)


def test_faults_of_the_metadata_beside_the_manifest_name_that_file(tmp_path: Path) -> None:
    folder = product(tmp_path, S2_NAME, document(listed(), S2_PERIOD, ""))
    (folder / "MTD_MSIL1C.xml").write_text(BOMB)
    with pytest.raises(PoisonedInputError, match=r"MTD_MSIL1C\.xml"):
        read_manifest(folder)


def test_a_document_of_any_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_document, "MAX_DOCUMENT_BYTES", 500)
    with pytest.raises(PoisonedInputError, match="larger than 500 bytes"):
        read_manifest(product(tmp_path))


@given(st.binary(max_size=200), st.integers(0, 3000))
@settings(deadline=None)
def test_no_damage_of_the_text_gives_anything_but_a_refusal(rubbish: bytes, position: int) -> None:
    text = document(listed()).encode()
    damaged = text[:position] + rubbish + text[position + len(rubbish) :]
    with tempfile.TemporaryDirectory() as parent:
        folder = product(Path(parent))
        (folder / "manifest.safe").write_bytes(damaged)
        try:
            manifest = read_manifest(folder)
        except PoisonedInputError:
            return
    for file in manifest.files:
        path = Path(file.href)
        assert not path.is_absolute()
        assert ".." not in path.parts


@pytest.mark.parametrize("name", [S1_NAME, S3_NAME])
def test_a_product_folder_is_known_by_its_name_and_manifest(tmp_path: Path, name: str) -> None:
    folder = product(tmp_path, name)
    assert is_product_folder(folder)


def test_what_is_no_product_folder(tmp_path: Path) -> None:
    empty = tmp_path / "empty.SAFE"
    empty.mkdir()
    unnamed = product(tmp_path, "unnamed")
    assert not is_product_folder(empty)
    assert not is_product_folder(unnamed)
    assert not is_product_folder(tmp_path / "missing")


def test_a_product_has_one_manifest(tmp_path: Path) -> None:
    folder = product(tmp_path)
    assert find_manifest(folder) == folder / "manifest.safe"
    (folder / "xfdumanifest.xml").touch()
    with pytest.raises(PoisonedInputError, match="found 2"):
        find_manifest(folder)
    with pytest.raises(PoisonedInputError, match="found 0"):
        find_manifest(tmp_path)
