from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion_assets.errors import OrderError, PermanentError, PoisonedInputError
from conversion_assets.safe.archive import ExtractionLimits, archive_format, extract_product, is_archive
from conversion_assets_tests.safe.building import (
    BUILDERS,
    NAME,
    ROOT,
    gzip_bytes,
    read_tree,
    tar_bytes,
    zip_bytes,
)
from conversion_assets_tests.safe.trees import trees

TREE = {
    f"{ROOT}/": b"",
    f"{ROOT}/manifest.safe": b"<xml/>",
    f"{ROOT}/empty/": b"",
    f"{ROOT}/GRANULE/": b"",
    f"{ROOT}/GRANULE/image.jp2": bytes(range(256)) * 40,
}
CHECKED_FORMATS = ["deflated.zip", "deflate64.zip", "stored.zip", "stdlib.zip", "x.tar.gz", "x.tar.zst"]


def written(folder: Path, data: bytes, name: str = "archive.zip") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def refused(tmp_path: Path, data: bytes, name: str = "archive.zip", **limits: float) -> str:
    """Extract what must be refused; see that nothing stays behind; give the message."""
    archive = written(tmp_path, data, name)
    destination = tmp_path / "destination"
    with pytest.raises(PoisonedInputError) as caught:
        extract_product(archive, destination, ExtractionLimits.model_validate(limits))
    assert list(destination.iterdir()) == []
    assert str(archive) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", BUILDERS)
def test_every_format_is_told_by_content_and_unpacks_whole(tmp_path: Path, kind: str) -> None:
    archive = written(tmp_path, BUILDERS[kind](TREE), "misleading.name")
    product = extract_product(archive, tmp_path / "destination")
    assert is_archive(archive)
    assert product.root == tmp_path / "destination" / ROOT
    assert read_tree(product.root) == TREE
    assert (product.files, product.total_bytes) == (2, 10_246)
    assert [path.name for path in (tmp_path / "destination").iterdir()] == [ROOT]


@given(trees, st.sampled_from(sorted(BUILDERS)))
@settings(deadline=None, max_examples=80)
def test_round_trip_of_any_tree(tree: dict[str, bytes], kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = written(Path(folder), BUILDERS[kind](tree))
        product = extract_product(archive, Path(folder, "destination"))
        assert read_tree(product.root) == tree


def damaged(data: bytes, position: int, bit: int | None) -> bytes:
    position %= len(data)
    if bit is None:
        return data[:position]
    return data[:position] + bytes([data[position] ^ (1 << bit)]) + data[position + 1 :]


@given(
    st.sampled_from(CHECKED_FORMATS),
    st.integers(0, 1 << 30),
    st.none() | st.integers(0, 7),
    st.binary(max_size=400),
)
@settings(deadline=None, max_examples=300)
def test_damage_is_noticed_or_harmless(kind: str, position: int, bit: int | None, content: bytes) -> None:
    tree = {**TREE, f"{ROOT}/GRANULE/image.jp2": content}
    with tempfile.TemporaryDirectory() as folder:
        archive = written(Path(folder), damaged(BUILDERS[kind](tree), position, bit))
        destination = Path(folder, "destination")
        try:
            product = extract_product(archive, destination)
        except PoisonedInputError:
            assert not destination.exists() or not list(destination.iterdir())
        else:
            assert read_tree(product.root) == tree


@given(st.sampled_from(["pax.tar", "gnu.tar"]), st.integers(0, 1 << 30))
@settings(deadline=None, max_examples=80)
def test_a_cut_tar_is_noticed_or_only_lost_padding(kind: str, position: int) -> None:
    data = BUILDERS[kind](TREE)
    cut = damaged(data, position, None)
    with tempfile.TemporaryDirectory() as folder:
        archive, destination = written(Path(folder), cut), Path(folder, "destination")
        try:
            product = extract_product(archive, destination)
        except PoisonedInputError:
            assert not destination.exists() or not list(destination.iterdir())
        else:
            assert data[len(cut) :].strip(b"\0") == b""
            assert read_tree(product.root) == TREE


@given(st.binary(max_size=600), st.sampled_from([b"", b"PK\x03\x04", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"]))
@settings(deadline=None, max_examples=80)
def test_rubbish_is_refused(rubbish: bytes, magic: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive, destination = written(Path(folder), magic + rubbish), Path(folder, "destination")
        with pytest.raises(PoisonedInputError):
            extract_product(archive, destination)
        assert not destination.exists() or not list(destination.iterdir())


@pytest.mark.parametrize("kind", CHECKED_FORMATS)
def test_bytes_behind_the_archive_are_refused(tmp_path: Path, kind: str) -> None:
    refused(tmp_path, BUILDERS[kind](TREE) + b"more", kind)


@pytest.mark.parametrize(
    ("manifest", "archive_name", "root"),
    [
        ("manifest.safe", f"{NAME}.zip", ROOT),
        ("manifest.safe", f"{NAME}.SAFE.zip", ROOT),
        ("xfdumanifest.xml", "S3A_OL_1_EFR____X.tar.gz", "S3A_OL_1_EFR____X.SEN3"),
        ("xfdumanifest.xml", "S3A_OL_1_EFR____X.SEN3.ZIP", "S3A_OL_1_EFR____X.SEN3"),
    ],
)
def test_a_product_without_a_root_is_called_like_its_archive(
    tmp_path: Path, manifest: str, archive_name: str, root: str
) -> None:
    archive = written(tmp_path, zip_bytes({manifest: b"<xml/>", "data/x": b"x"}), archive_name)
    product = extract_product(archive, tmp_path / "destination")
    assert product.root.name == root
    assert (product.root / "data" / "x").read_bytes() == b"x"
    assert (product.root.stat().st_mode & 0o777) == 0o755


@pytest.mark.parametrize(
    ("tree", "archive_name"),
    [
        ({}, "a.zip"),
        ({"readme.txt": b"x"}, "a.zip"),
        ({f"{NAME}/manifest.safe": b"x"}, "a.zip"),
        ({**TREE, "__MACOSX/x": b"x"}, "a.zip"),
        ({**TREE, ".DS_Store": b"x"}, "a.zip"),
        ({**TREE, "other.SAFE/x": b"x"}, "a.zip"),
        ({"manifest.safe": b"x", "other.SAFE/x": b"x"}, "a.zip"),
        ({"manifest.safe": b"x", "xfdumanifest.xml": b"x"}, "a.zip"),
        ({ROOT: b"a file, not a folder"}, "a.zip"),
        ({"manifest.safe": b"x"}, ".zip"),
        ({"manifest.safe": b"x"}, "a.SEN3.zip"),
        ({"xfdumanifest.xml": b"x"}, "a.SAFE.zip"),
    ],
)
def test_an_archive_with_no_product_or_two_is_refused(
    tmp_path: Path, tree: dict[str, bytes], archive_name: str
) -> None:
    refused(tmp_path, zip_bytes(tree), archive_name)


def test_what_stands_beside_the_product_is_named(tmp_path: Path) -> None:
    assert "__MACOSX" in refused(tmp_path, zip_bytes({**TREE, "__MACOSX/x": b"x"}))


@pytest.mark.parametrize("kind", BUILDERS)
def test_too_many_entries(tmp_path: Path, kind: str) -> None:
    assert "entries" in refused(tmp_path, BUILDERS[kind](TREE), kind, max_entries=4)


def test_implied_folders_count_as_entries(tmp_path: Path) -> None:
    assert "entries" in refused(tmp_path, zip_bytes({f"{ROOT}/a/b/c/d/e": b""}), max_entries=5)


@pytest.mark.parametrize("kind", BUILDERS)
def test_too_many_bytes(tmp_path: Path, kind: str) -> None:
    assert "more than 10000 bytes" in refused(tmp_path, BUILDERS[kind](TREE), kind, max_total_bytes=10_000)


def test_a_bomb_is_refused_and_constant_pixels_are_not(tmp_path: Path) -> None:
    tree = {f"{ROOT}/image.tiff": bytes(4 << 20)}
    for kind in ("deflated.zip", "x.tar.gz", "x.tar.zst"):
        message = refused(tmp_path, BUILDERS[kind](tree), kind, ratio_floor_bytes=1 << 20)
        assert "200 times" in message
    archive = written(tmp_path, zip_bytes(tree))
    assert extract_product(archive, tmp_path / "destination").total_bytes == 4 << 20


def test_modes_of_the_archive_do_not_matter(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        product = extract_product(written(tmp_path, zip_bytes(TREE)), tmp_path / "destination")
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o7777 for path in product.root.rglob("*") if path.is_file()}
    folder_modes = {path.stat().st_mode & 0o7777 for path in (product.root, *product.root.rglob("*/"))}
    assert (modes, folder_modes) == ({0o644}, {0o755})


def test_a_product_that_is_there_is_left_alone(tmp_path: Path) -> None:
    archive = written(tmp_path, zip_bytes(TREE))
    (tmp_path / ROOT).mkdir()
    (tmp_path / ROOT / "kept").touch()
    with pytest.raises(PermanentError, match="there already"):
        extract_product(archive, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [ROOT, "archive.zip"]
    assert (tmp_path / ROOT / "kept").exists()


@pytest.mark.parametrize("kind", BUILDERS)
def test_an_interruption_leaves_nothing(tmp_path: Path, kind: str) -> None:
    archive = written(tmp_path, BUILDERS[kind](TREE))

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_product(archive, tmp_path / "destination", on_progress=interrupt)
    assert list((tmp_path / "destination").iterdir()) == []


@pytest.mark.parametrize("kind", BUILDERS)
def test_progress_grows_to_the_size_of_the_archive(tmp_path: Path, kind: str) -> None:
    archive = written(tmp_path, BUILDERS[kind](TREE))
    seen: list[tuple[int, int]] = []
    extract_product(
        archive, tmp_path / "destination", on_progress=lambda done, total: seen.append((done, total))
    )
    size = archive.stat().st_size
    assert seen == sorted(seen)
    assert seen[-1] == (size, size)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_is_told_with_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PermanentError, match="at least 10246 bytes are needed"):
        extract_product(written(tmp_path, zip_bytes(TREE)), tmp_path / "destination")
    assert list((tmp_path / "destination").iterdir()) == []


def test_space_is_looked_at_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(PermanentError, match="10246 bytes are needed, 10000 are available"):
        extract_product(written(tmp_path, zip_bytes(TREE)), tmp_path / "destination")


def test_other_errors_of_the_system_pass_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="error") as caught:
        extract_product(written(tmp_path, zip_bytes(TREE)), tmp_path / "destination")
    assert caught.value.errno == errno.EIO


def test_a_missing_archive_is_a_wrong_order(tmp_path: Path) -> None:
    with pytest.raises(OrderError, match="no such file"):
        extract_product(tmp_path / "missing.zip", tmp_path / "destination")


def test_a_web_page_called_zip_is_refused(tmp_path: Path) -> None:
    archive = written(tmp_path, b"<html>Please log in</html>")
    assert archive_format(archive) is None
    assert not is_archive(tmp_path)
    with pytest.raises(PoisonedInputError, match="whatever its name says"):
        extract_product(archive, tmp_path / "destination")


def test_several_gzip_members_are_one_archive(tmp_path: Path) -> None:
    data = tar_bytes(TREE)
    archive = written(tmp_path, gzip_bytes(data[:700]) + gzip_bytes(data[700:]))
    assert read_tree(extract_product(archive, tmp_path / "destination").root) == TREE


def test_a_compressed_file_that_holds_no_tar_is_refused(tmp_path: Path) -> None:
    assert "damaged" in refused(tmp_path, gzip_bytes(b"x" * 2000), "x.tar.gz")
