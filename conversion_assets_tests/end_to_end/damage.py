"""Products that are broken in one way each, made from a sound one."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from lxml import etree

from conversion_assets_tests.safe_products import make_archive

MANIFEST = "xfdumanifest.xml"
MEMBER = "Oa01_radiance.nc"
NEEDED_BY_EOPF = "geo_coordinates.nc"

Damage = Callable[[Path, Path], Path]
"""Makes a broken source in a folder from a sound Sentinel-3 product folder."""


def copied(sound: Path, folder: Path, name: str | None = None) -> Path:
    """Copy a product, under another name where one is given."""
    return Path(shutil.copytree(sound, folder / (name or sound.name)))


def change_entry(product: Path, member: str, change: Callable[[etree._Element], None]) -> None:
    """Change what the manifest says of one file: its ``dataObject``."""
    path = product / MANIFEST
    document = etree.parse(path)
    (entry,) = (
        found for found in document.iter("dataObject") if found.find(f".//*[@href='./{member}']") is not None
    )
    change(entry)
    document.write(path, xml_declaration=True, encoding="UTF-8")


def unknown_type(sound: Path, folder: Path) -> Path:
    """Name it like a product that eopf cannot convert."""
    return copied(sound, folder, sound.name.replace("OL_1_EFR", "SL_2_WST"))


def unknown_name(sound: Path, folder: Path) -> Path:
    """Name it like no product at all."""
    return copied(sound, folder, "holiday.SEN3")


def no_product(sound: Path, folder: Path) -> Path:
    """Make an archive of something else."""
    del sound
    path = folder / "letters.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letters/first.txt", "Dear reader")
    return path


def two_products(sound: Path, folder: Path) -> Path:
    """Make an archive of two products."""
    path = folder / "pair.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in (sound.name, sound.name.replace("_004.", "_005.")):
            archive.write(sound / MANIFEST, f"{name}/{MANIFEST}")
    return path


def missing_member(sound: Path, folder: Path) -> Path:
    """Leave out a file that the manifest lists."""
    product = copied(sound, folder)
    (product / MEMBER).unlink()
    return product


def missing_in_archive(sound: Path, folder: Path) -> Path:
    """Leave it out of an archive."""
    return make_archive(missing_member(sound, folder))


def altered_member(sound: Path, folder: Path) -> Path:
    """Change one byte of a file, so that only its checksum tells."""
    product = copied(sound, folder)
    path = product / MEMBER
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return make_archive(product, suffix=".tar")


def corrupted_archive(sound: Path, folder: Path) -> Path:
    """Change a byte of an archive, so that its own checksum does not fit."""
    path = make_archive(copied(sound, folder))
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda member: member.compress_size)
    content = bytearray(path.read_bytes())
    content[largest.header_offset + 30 + len(largest.filename) + largest.compress_size // 2] ^= 0xFF
    path.write_bytes(content)
    return path


def manifest_disagrees(sound: Path, folder: Path) -> Path:
    """Let the manifest announce another size."""
    product = copied(sound, folder)
    change_entry(product, MEMBER, _announce_more)
    return product


def _announce_more(entry: etree._Element) -> None:
    for stream in entry.iter("byteStream"):
        stream.set("size", str(int(stream.get("size", "0")) + 1))


def broken_manifest(sound: Path, folder: Path) -> Path:
    """End the manifest in the middle."""
    product = copied(sound, folder)
    _truncated(product / MANIFEST)
    return product


def truncated_zip(sound: Path, folder: Path) -> Path:
    """End a zip in the middle."""
    return _truncated(make_archive(copied(sound, folder)))


def truncated_tgz(sound: Path, folder: Path) -> Path:
    """End a tgz in the middle."""
    return _truncated(make_archive(copied(sound, folder), suffix=".tgz"))


def _truncated(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def climbing_archive(sound: Path, folder: Path) -> Path:
    """Let a member of an archive climb out of it."""
    path = folder / f"{sound.name}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(sound / MANIFEST, f"{sound.name}/{MANIFEST}")
        archive.writestr(f"{sound.name}/../../escaped.txt", "out")
    return path


def no_manifest(sound: Path, folder: Path) -> Path:
    """Leave out the manifest."""
    product = copied(sound, folder)
    (product / MANIFEST).unlink()
    return product


def absent(sound: Path, folder: Path) -> Path:
    """Give a path at which there is nothing."""
    return folder / sound.name


def catalogue_document(sound: Path, folder: Path) -> Path:
    """Give a STAC document that is no item."""
    del sound
    return _document(folder, {"type": "Catalog", "id": "c", "description": "d", "links": []})


def login_page(sound: Path, folder: Path) -> Path:
    """Give what servers answer instead of a document."""
    del sound
    path = folder / "item.json"
    path.write_text("<!DOCTYPE html><html><body>Please log in</body></html>")
    return path


def forbidden_scheme(sound: Path, folder: Path) -> Path:
    """Give an item whose asset has a scheme that is not allowed."""
    asset = {"href": f"ftp://example.org/{sound.name}.zip", "roles": ["data"]}
    return _document(folder, _item({"product": asset}))


def credentials_in_href(sound: Path, folder: Path) -> Path:
    """Give an item whose asset carries a password."""
    asset = {"href": f"https://user:hunter2@example.org/{sound.name}.zip"}
    return _document(folder, _item({"product": asset}))


def wrong_checksum(sound: Path, folder: Path) -> Path:
    """Give an item that announces another checksum than its asset has."""
    archive = make_archive(copied(sound, folder))
    digest = "1220" + hashlib.sha256(b"something else").hexdigest()
    return _document(folder, _item({"product": {"href": archive.as_uri(), "file:checksum": digest}}))


def no_asset(sound: Path, folder: Path) -> Path:
    """Give an item without a product."""
    del sound
    return _document(folder, _item({"thumbnail": {"href": "./picture.png", "type": "image/png"}}))


def refused_by_eopf(sound: Path, folder: Path) -> Path:
    """Leave out a file that eopf needs, and its entry in the manifest."""
    product = copied(sound, folder)
    (product / NEEDED_BY_EOPF).unlink()
    change_entry(product, NEEDED_BY_EOPF, _remove)
    return product


def _remove(entry: etree._Element) -> None:
    parent = entry.getparent()
    assert parent is not None
    parent.remove(entry)


def _item(assets: Mapping[str, object]) -> dict[str, object]:
    return {"type": "Feature", "id": "an-item", "assets": assets}


def _document(folder: Path, content: dict[str, object]) -> Path:
    path = folder / "item.json"
    path.write_text(json.dumps(content))
    return path


def unreadable_data(sound: Path, folder: Path) -> Path:
    """Replace the data of a file by noise, and let the manifest agree."""
    product = copied(sound, folder)
    noise = b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 8
    (product / MEMBER).write_bytes(noise)

    def agree(entry: etree._Element) -> None:
        for stream in entry.iter("byteStream"):
            stream.set("size", str(len(noise)))
        for checksum in entry.iter("checksum"):
            checksum.text = hashlib.md5(noise, usedforsecurity=False).hexdigest()

    change_entry(product, MEMBER, agree)
    return product
