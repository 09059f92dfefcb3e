"""The manifest of a SAFE product: what it is, and the size and checksum of each of its files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from .xml import Content, Namespaces, Tree, build, save

XFDU = "urn:ccsds:schema:xfdu:1"
GML = "http://www.opengis.net/gml"
EPSG_4326 = "http://www.opengis.net/gml/srs/epsg.xml#4326"
MEDIA_TYPES = {".xml": "text/xml", ".nc": "application/x-netcdf"}


class Checksum(StrEnum):
    """Algorithms by the name they have in a manifest."""

    MD5 = "MD5"
    SHA3_256 = "SHA3-256"

    def of(self, path: Path) -> str:
        """Return the digest of a file, in hexadecimal."""
        with path.open("rb") as file:
            return hashlib.file_digest(file, self.value.lower().replace("-", "_")).hexdigest()


def wrapped(identifier: str, content: Tree, *, vocabulary: str = "SAFE") -> Tree:
    """A metadata object with its content."""
    provenance = identifier == "processing"
    return {
        "@ID": identifier,
        "@classification": "PROVENANCE" if provenance else "DESCRIPTION",
        "@category": "PDI" if provenance else "DMD",
        "metadataWrap": {
            "@mimeType": "text/xml",
            "@vocabularyName": vocabulary,
            "xmlData": content,
        },
    }


def write_manifest(
    path: Path,
    metadata: Mapping[str, Tree],
    *,
    namespaces: Namespaces,
    version: str,
    unit: Tree,
    checksum: Checksum,
) -> None:
    """Write the manifest of the product in whose folder it stands.

    Args:
        path: file to write; every other file of its folder is listed with size and checksum.
        metadata: content of each metadata object, by its identifier.
        namespaces: those of the mission, beside XFDU and GML.
        version: version of the format, an attribute of the root.
        unit: attributes of the content unit, which say what the package is.
        checksum: algorithm of the checksums.
    """
    content: Content = {
        "@version": version,
        "informationPackageMap": {"xfdu:contentUnit": unit},
        "metadataSection": {"metadataObject": [wrapped(name, tree) for name, tree in metadata.items()]},
        "dataObjectSection": {"dataObject": _data_objects(path, checksum)},
    }
    save(build("xfdu:XFDU", content, {"xfdu": XFDU, "gml": GML, **namespaces}), path)


def _data_objects(manifest: Path, checksum: Checksum) -> list[Tree]:
    root = manifest.parent
    files = sorted(path for path in root.rglob("*") if path.is_file() and path != manifest)
    return [_data_object(path, path.relative_to(root).as_posix(), checksum) for path in files]


def _data_object(path: Path, name: str, checksum: Checksum) -> Tree:
    return {
        "@ID": "".join(filter(str.isalnum, name)) + "Data",
        "byteStream": {
            "@mimeType": MEDIA_TYPES.get(path.suffix, "application/octet-stream"),
            "@size": path.stat().st_size,
            "fileLocation": {"@locatorType": "URL", "@href": f"./{name}"},
            "checksum": {"@checksumName": checksum.value, "#": checksum.of(path)},
        },
    }
