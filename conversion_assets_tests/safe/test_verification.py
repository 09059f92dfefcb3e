from __future__ import annotations

from pathlib import Path

import pytest

from conversion_assets.errors import PoisonedInputError
from conversion_assets.safe.archive import extract_product
from conversion_assets.safe.manifest import product_fingerprint, read_manifest, verify_product
from conversion_assets_tests.safe.building import tar_bytes, zip_bytes
from conversion_assets_tests.safe.products import CONTENTS, S1_NAME, S2_NAME, document, entry, listed, product


@pytest.mark.parametrize("algorithm", ["MD5", "SHA3-256", "SHA-256", "SHA3-512", "SHA-512"])
def test_a_true_manifest(tmp_path: Path, algorithm: str) -> None:
    folder = product(tmp_path, manifest=document(listed(algorithm)))
    seen: list[tuple[int, int]] = []
    result = verify_product(folder, read_manifest(folder), lambda done, total: seen.append((done, total)))
    assert result.model_dump() == {"files": 3, "total_bytes": 3006, "digests": {algorithm: 3}, "unlisted": ()}
    assert seen == [(3000, 3006), (3006, 3006), (3006, 3006)]


def test_files_that_are_not_listed_are_told(tmp_path: Path) -> None:
    folder = product(tmp_path)
    (folder / "support").mkdir()
    (folder / "support" / "schema.xsd").touch()
    (folder / "beside.txt").touch()
    result = verify_product(folder, read_manifest(folder))
    assert result.unlisted == ("beside.txt", "support/schema.xsd")


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (None, "missing"),
        (b"two" * 1000, "does not have the MD5"),
        (b"one" * 999, "lists 3000 bytes, the file has 2997"),
        (b"", "the file has 0"),
    ],
)
def test_a_fault_is_named_with_its_file(tmp_path: Path, content: bytes | None, rule: str) -> None:
    folder = product(tmp_path)
    (folder / "data" / "one.bin").unlink()
    if content is not None:
        (folder / "data" / "one.bin").write_bytes(content)
    with pytest.raises(PoisonedInputError) as caught:
        verify_product(folder, read_manifest(folder))
    assert rule in caught.value.rule
    assert "files at fault: 1 of 3" in caught.value.rule
    assert "'data/one.bin'" in caught.value.subject


def test_all_faults_are_counted(tmp_path: Path) -> None:
    folder = product(tmp_path)
    for href in CONTENTS:
        (folder / href).unlink()
    with pytest.raises(PoisonedInputError, match="3 of 3"):
        verify_product(folder, read_manifest(folder))


def test_an_unknown_algorithm_is_a_fault_that_names_it(tmp_path: Path) -> None:
    folder = product(tmp_path, manifest=document(entry("two.xml", CONTENTS["two.xml"], "CRC-32", "abcd")))
    with pytest.raises(PoisonedInputError, match="'CRC-32' is not known"):
        verify_product(folder, read_manifest(folder))


@pytest.mark.parametrize("linked", ["two.xml", "data"])
def test_nothing_is_read_through_links(tmp_path: Path, linked: str) -> None:
    folder = product(tmp_path)
    outside = (folder / linked).rename(tmp_path / "outside")
    (folder / linked).symlink_to(outside)
    with pytest.raises(PoisonedInputError, match="symbolic link"):
        verify_product(folder, read_manifest(folder))


def test_a_file_without_size_and_checksum_only_has_to_be_there(tmp_path: Path) -> None:
    bare = '<dataObject><byteStream><fileLocation href="./two.xml"/></byteStream></dataObject>'
    folder = product(tmp_path, manifest=document(bare))
    assert verify_product(folder, read_manifest(folder)).digests == {}
    (folder / "two.xml").unlink()
    with pytest.raises(PoisonedInputError, match="missing"):
        verify_product(folder, read_manifest(folder))


def test_folder_and_archives_of_one_product_have_one_fingerprint(tmp_path: Path) -> None:
    folder = product(tmp_path / "folder")
    tree = {
        f"{S1_NAME}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    fingerprints = {product_fingerprint(read_manifest(folder))}
    for name, data in (("a.zip", zip_bytes(tree)), ("a.tar", tar_bytes(tree))):
        (tmp_path / name).write_bytes(data)
        extracted = extract_product(tmp_path / name, tmp_path / f"from {name}")
        fingerprints.add(product_fingerprint(read_manifest(extracted.root)))
    assert len(fingerprints) == 1
    assert len(fingerprints.pop()) == 64


def test_other_names_contents_and_manifests_have_other_fingerprints(tmp_path: Path) -> None:
    changed = listed().replace(entry("./two.xml", CONTENTS["two.xml"]), entry("./two.xml", b"<2222/>"))
    folders = [
        product(tmp_path / "a"),
        product(tmp_path / "b", S2_NAME),
        product(tmp_path / "c", manifest=document(changed)),
        product(tmp_path / "d", manifest=document(listed(), processing="")),
    ]
    assert len({product_fingerprint(read_manifest(folder)) for folder in folders}) == 4


def test_files_without_a_checksum_are_read_for_the_fingerprint(tmp_path: Path) -> None:
    bare = '<dataObject><byteStream size="6"><fileLocation href="./two.xml"/></byteStream></dataObject>'
    folder = product(tmp_path, manifest=document(bare))
    manifest = read_manifest(folder)
    before = product_fingerprint(manifest)
    assert before == product_fingerprint(manifest)
    (folder / "two.xml").write_bytes(b"<TWO/>")
    assert product_fingerprint(manifest) != before
    (folder / "two.xml").unlink()
    with pytest.raises(PoisonedInputError, match="missing"):
        product_fingerprint(manifest)
