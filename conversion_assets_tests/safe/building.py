"""Archives made for tests: honest ones by the standard library, dishonest ones byte by byte."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import inflate64
import zstandard

NAME = "S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248"
ROOT = f"{NAME}.SAFE"

Tree = Mapping[str, bytes]  # paths to contents; a path that ends in a slash is a folder


@dataclass(frozen=True)
class RawEntry:
    """One member of a zip, every header field of which may be a lie."""

    name: bytes
    content: bytes = b""
    method: int = 0
    flags: int = 0x800
    mode: int = 0o100644
    crc: int | None = None
    size: int | None = None
    descriptor: bytes = b""
    local_name: bytes | None = None
    local_method: int | None = None
    local_size: int | None = None
    extra: bytes = b""

    @property
    def stored(self) -> bytes:
        return deflated(self.content, self.method)

    def numbers(self) -> tuple[int, int, int]:
        crc = zlib.crc32(self.content) if self.crc is None else self.crc
        return crc, len(self.stored), len(self.content) if self.size is None else self.size

    def local(self) -> bytes:
        name = self.name if self.local_name is None else self.local_name
        method = self.method if self.local_method is None else self.local_method
        crc, compressed_size, size = self.numbers()
        if self.descriptor:
            crc = compressed_size = size = 0
        size = size if self.local_size is None else self.local_size
        header = (20, self.flags, method, 0, 0x21, crc, compressed_size, size, len(name), 0)
        return struct.pack("<4s5H3L2H", b"PK\x03\x04", *header) + name + self.stored + self.descriptor

    def central(self, offset: int) -> bytes:
        numbers = (*self.numbers(), len(self.name), len(self.extra), 0, 0, 0, self.mode << 16, offset)
        header = (0x314, 20, self.flags, self.method, 0, 0x21, *numbers)
        return struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *header) + self.name + self.extra


def deflated(content: bytes, method: int) -> bytes:
    if method == 8:
        encoder = zlib.compressobj(wbits=-15)
        return encoder.compress(content) + encoder.flush()
    if method == 9:
        encoder64 = inflate64.Deflater()
        return bytes(encoder64.deflate(content) + encoder64.flush())
    return content


def raw_zip(
    entries: Iterable[RawEntry],
    *,
    gap: bytes = b"",
    before: bytes = b"",
    comment: bytes = b"",
    count: int = 0,
) -> bytes:
    """Join entries into a zip; `gap` stands between members, `count` is added to the true one."""
    body, directory, number = before, b"", 0
    for entry in entries:
        directory += entry.central(len(body))
        body += entry.local() + gap
        number += 1
    told = number + count
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, told, told, len(directory), len(body), len(comment))
    return body + directory + end + comment


def zip_bytes(tree: Tree, method: int = 8) -> bytes:
    entries = (
        RawEntry(
            name.encode(),
            content,
            method=0 if name.endswith("/") else method,
            mode=0o40755 if name.endswith("/") else 0o100600,
        )
        for name, content in tree.items()
    )
    return raw_zip(entries)


def stdlib_zip(tree: Tree, output: io.RawIOBase | io.BytesIO | None = None) -> bytes:
    target: Any = io.BytesIO() if output is None else output
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in tree.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return target.getvalue() if isinstance(target, io.BytesIO) else b""


def tar_bytes(tree: Tree, tar_format: int = tarfile.PAX_FORMAT, prefix: str = "") -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tar_format) as archive:
        for name, content in tree.items():
            member = tarfile.TarInfo(prefix + name.removesuffix("/"))
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def gzip_bytes(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def zstd_bytes(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


BUILDERS: dict[str, Callable[[Tree], bytes]] = {
    "stored.zip": lambda tree: zip_bytes(tree, 0),
    "deflated.zip": lambda tree: zip_bytes(tree, 8),
    "deflate64.zip": lambda tree: zip_bytes(tree, 9),
    "stdlib.zip": stdlib_zip,
    "pax.tar": tar_bytes,
    "gnu.tar": lambda tree: tar_bytes(tree, tarfile.GNU_FORMAT),
    "dotted.tar": lambda tree: tar_bytes({"./": b""} | {f"./{name}": data for name, data in tree.items()}),
    "x.tar.gz": lambda tree: gzip_bytes(tar_bytes(tree)),
    "x.tar.zst": lambda tree: zstd_bytes(tar_bytes(tree)),
}


def read_tree(root: Path) -> dict[str, bytes]:
    """Read a folder back, folders included."""
    return {
        f"{path.relative_to(root.parent).as_posix()}{'/' if path.is_dir() else ''}": b""
        if path.is_dir()
        else path.read_bytes()
        for path in (root, *root.rglob("*"))
    }
