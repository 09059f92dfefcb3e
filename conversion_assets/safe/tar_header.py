"""The 512-byte headers of a tar file and the records that extend them, read strictly.

The formats are those of POSIX.1-2001 (pax interchange format) and of GNU tar's manual, "Basic Tar Format".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from conversion_assets.safe.faults import InputFaultError

BLOCK_BYTES: Final = 512

FILE_KINDS: Final = (b"0", b"\0")
DIRECTORY_KIND: Final = b"5"
PAX_KIND: Final = b"x"
PAX_GLOBAL_KIND: Final = b"g"
LONG_NAME_KIND: Final = b"L"
_REFUSED_KINDS: Final = {
    b"1": "hard links",
    b"2": "symbolic links",
    b"3": "character devices",
    b"4": "block devices",
    b"6": "pipes",
    b"K": "links with long targets",
    b"S": "sparse files",
}

# Keys that do not change what a member is or holds; anything else in a pax record is refused.
_HARMLESS_KEYS: Final = frozenset(
    (
        *("atime", "comment", "ctime", "gid", "gname", "mtime", "uid", "uname"),
        *("LIBARCHIVE.creationtime", "RHT.security.selinux", "SCHILY.dev", "SCHILY.ino", "SCHILY.nlink"),
    )
)
_HARMLESS_PREFIXES: Final = ("LIBARCHIVE.xattr.", "SCHILY.acl.", "SCHILY.xattr.")


@dataclass(frozen=True)
class TarHeader:
    """What one header says, before extension records.

    Attributes:
        raw_name: the member's name, the ustar prefix included; GNU tar cuts it anywhere, even inside a
            character, where a long name was given before.
        kind: the type flag, one byte.
        size: bytes that follow, without padding.
    """

    raw_name: bytes
    kind: bytes
    size: int

    @property
    def shown_name(self) -> str:
        """The name for messages, which always decodes."""
        return self.raw_name.decode("utf-8", "backslashreplace")


def is_tar_header(block: bytes) -> bool:
    """Tell by its checksum whether a block of 512 bytes is a header."""
    if len(block) != BLOCK_BYTES or not any(block):
        return False
    stored = block[148:156].strip(b" \0")
    if not stored or stored.strip(b"01234567"):
        return False
    rest = block[:148] + b" " * 8 + block[156:]
    signed = sum(byte - 256 if byte > 127 else byte for byte in rest)  # noqa: PLR2004 - as signed chars
    return int(stored, 8) in (sum(rest), signed)


def read_header(block: bytes) -> TarHeader:
    """Read one header.

    Args:
        block: 512 bytes.

    Raises:
        InputFaultError: where its checksum is wrong or it announces what is not accepted.
    """
    if not is_tar_header(block):
        raise InputFaultError("a header of the archive is damaged: its checksum is wrong")
    kind = block[156:157]
    header = TarHeader(_raw_name(block), kind, _number(block[124:136]))
    if kind in _REFUSED_KINDS:
        raise InputFaultError(f"{_REFUSED_KINDS[kind]} are not accepted", header.shown_name)
    if kind not in (*FILE_KINDS, DIRECTORY_KIND, PAX_KIND, PAX_GLOBAL_KIND, LONG_NAME_KIND):
        raise InputFaultError(
            f"members of type {kind.decode('latin-1')!a} are not accepted", header.shown_name
        )
    return header


def _raw_name(block: bytes) -> bytes:
    raw_name = block[:100].rstrip(b"\0")
    is_posix = block[257:263] == b"ustar\0"
    prefix = block[345:500].rstrip(b"\0") if is_posix else b""
    return prefix + b"/" + raw_name if prefix else raw_name


def decode_name(raw_name: bytes) -> str:
    """Decode a name.

    Raises:
        InputFaultError: where it is not UTF-8.
    """
    try:
        return raw_name.decode()
    except UnicodeDecodeError as error:
        shown = raw_name.decode("utf-8", "backslashreplace")
        raise InputFaultError("a name must be UTF-8", shown) from error


def _number(field: bytes) -> int:
    if field[0] == 0x80:  # noqa: PLR2004 - GNU's mark of a big-endian binary number
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if digits.strip(b"01234567"):
        raise InputFaultError("the size in a header of the archive is not a number")
    return int(digits or b"0", 8)


def read_pax_records(data: bytes, *, is_global: bool) -> dict[str, str]:
    """Read the records of a pax extended header.

    Args:
        data: the content of the extended header.
        is_global: whether it speaks for all members that follow; then it may not name or size any.

    Returns:
        ``path`` and ``size``, as far as given.

    Raises:
        InputFaultError: where a record is malformed or changes more than name and size.
    """
    allowed = () if is_global else ("path", "size")
    records: dict[str, str] = {}
    while data:
        key, value, data = _next_record(data)
        if key in allowed:
            if key in records:
                raise InputFaultError(f"an extended header gives {key} twice")
            records[key] = value
        elif key not in _HARMLESS_KEYS and not key.startswith(_HARMLESS_PREFIXES):
            raise InputFaultError(f"an extended header uses {key!a}, which is not accepted")
    return records


def _next_record(data: bytes) -> tuple[str, str, bytes]:
    digits, _, _ = data[:20].partition(b" ")
    length = int(digits) if digits.isdigit() else 0
    key, has_value, value = data[len(digits) + 1 : max(length - 1, 0)].partition(b"=")
    if length > len(data) or not has_value or data[length - 1 : length] != b"\n":
        raise InputFaultError("an extended header is malformed")
    return decode_name(key), value.decode("utf-8", "surrogateescape"), data[length:]
