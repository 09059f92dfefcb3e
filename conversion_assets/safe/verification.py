"""Whether the files of a product are those that its manifest lists, byte for byte."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from conversion_assets.safe.faults import InputFaultError, refusal
from conversion_assets.safe.manifest_document import Manifest, ManifestFile
from conversion_assets.safe.members import PIECE_BYTES

_HASHLIB_NAMES: Final = {
    "MD5": "md5",
    "SHA-1": "sha1",
    "SHA-256": "sha256",
    "SHA-512": "sha512",
    "SHA3-256": "sha3_256",
    "SHA3-512": "sha3_512",
}


class Verification(BaseModel):
    """What was found to be as the manifest says.

    Attributes:
        files: files checked.
        total_bytes: their bytes.
        digests: checksums compared, by algorithm.
        unlisted: files of the folder that the manifest does not list, itself left out; for information,
            since real products hold such files (schemas, reports).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: int
    total_bytes: int
    digests: dict[str, int]
    unlisted: tuple[str, ...]


def verify_product(
    folder: Path, manifest: Manifest, on_progress: Callable[[int, int], None] | None = None
) -> Verification:
    """Compare every listed file with the manifest: presence, size, checksum.

    Args:
        folder: the product's folder.
        manifest: its manifest.
        on_progress: called after each file with bytes checked so far and bytes listed.

    Raises:
        PoisonedInputError: naming the first file at fault, the rule, and how many files are at fault.
    """
    listed_bytes = sum(file.size or 0 for file in manifest.files)
    faults: list[InputFaultError] = []
    total_bytes = 0
    for file in manifest.files:
        try:
            total_bytes += _verified_size(folder, file)
        except InputFaultError as fault:
            faults.append(fault)
        if on_progress is not None:
            on_progress(total_bytes, listed_bytes)
    if faults:
        rule = f"{faults[0].rule} (files at fault: {len(faults)} of {len(manifest.files)})"
        raise refusal(folder, rule, faults[0].member)
    names = Counter(file.checksum_name for file in manifest.files if file.checksum_name is not None)
    return Verification(
        files=len(manifest.files),
        total_bytes=total_bytes,
        digests=dict(names),
        unlisted=tuple(_unlisted(folder, manifest)),
    )


def _verified_size(folder: Path, file: ManifestFile) -> int:
    path = _regular_file(folder, file)
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise InputFaultError(f"the manifest lists {file.size} bytes, the file has {size}", file.href)
    if file.checksum_name is not None and digest(path, file) != file.checksum:
        raise InputFaultError(f"the file does not have the {file.checksum_name} of the manifest", file.href)
    return size


def _regular_file(folder: Path, file: ManifestFile) -> Path:
    path = folder / file.href
    if not path.is_file():
        raise InputFaultError("the manifest lists the file, but it is missing", file.href)
    if path.resolve() != folder.resolve() / file.href:
        raise InputFaultError("the file is reached through a symbolic link", file.href)
    return path


def digest(path: Path, file: ManifestFile) -> str:
    """Compute the digest of a file by the algorithm that the manifest names for it.

    Args:
        path: where the file is.
        file: its entry in the manifest.

    Returns:
        Lower-case hexadecimal.

    Raises:
        InputFaultError: where the algorithm is not known.
    """
    name = file.checksum_name or ""
    if name not in _HASHLIB_NAMES:
        known = ", ".join(_HASHLIB_NAMES)
        raise InputFaultError(f"the checksum algorithm {name!a} is not known (known: {known})", file.href)
    return _hashed(path, _HASHLIB_NAMES[name])


def _hashed(path: Path, algorithm: str) -> str:
    state = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        while piece := stream.read(PIECE_BYTES):
            state.update(piece)
    return state.hexdigest()


def _unlisted(folder: Path, manifest: Manifest) -> Iterator[str]:
    listed = {file.href for file in manifest.files} | {manifest.path.name}
    found = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    yield from sorted({path.relative_to(folder).as_posix() for path in found} - listed)


def product_fingerprint(manifest: Manifest) -> str:
    """Identify the content of a product, whether it came as a folder or in an archive.

    Two products with the same fingerprint have the same name, the same manifest, and listed files of
    the same size and checksum. A file whose checksum the manifest does not give is read and hashed.

    Args:
        manifest: the manifest of a product that lies beside it.

    Returns:
        SHA-256, lower-case hexadecimal.

    Raises:
        PoisonedInputError: where a file that has to be read is missing.
    """
    path = manifest.path
    rows: list[list[str | int]] = [[path.name, path.stat().st_size, "SHA-256", _hashed(path, "sha256")]]
    try:
        rows += [_identity(manifest.folder, file) for file in manifest.files]
    except InputFaultError as fault:
        raise refusal(manifest.folder, fault.rule, fault.member) from fault
    text = json.dumps([manifest.folder.name, sorted(rows)], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _identity(folder: Path, file: ManifestFile) -> list[str | int]:
    if file.checksum_name is not None and file.checksum is not None and file.size is not None:
        return [file.href, file.size, file.checksum_name, file.checksum]
    path = _regular_file(folder, file)
    return [file.href, path.stat().st_size, "SHA-256", _hashed(path, "sha256")]
