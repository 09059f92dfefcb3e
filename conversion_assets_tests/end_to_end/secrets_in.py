"""Looks for secrets wherever a run may have left them, in whatever spelling."""

from __future__ import annotations

import html
import json
import re
import sqlite3
import threading
import time
import zlib
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, quote_plus

import psutil

from conversion_assets_tests.end_to_end.command import ENGINE_MODULE

SQLITE = b"SQLite format 3\0"
DEFLATED = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")
ENCODED = re.compile(rb"[A-Za-z0-9+/_-]{60,}={0,2}")
ZLIB_OR_GZIP = 47
LARGEST_UNPACKED = 2**26
SECONDS_BETWEEN_LOOKS = 0.02

Found = dict[str, list[str]]


def search(secrets: Mapping[str, str], pieces: Iterable[tuple[str, bytes]]) -> Found:
    """Tell which secrets stand in which pieces, packed or not.

    Args:
        secrets: by name.
        pieces: content by where it was found.

    Returns:
        The places by name of the secret; empty where nothing was found.
    """
    sought = {
        name: re.compile(b"|".join(map(re.escape, _spellings(secret)))) for name, secret in secrets.items()
    }
    found: Found = {}
    for place, piece in pieces:
        for content in _unpacked(piece):
            for name, pattern in sought.items():
                if pattern.search(content):
                    found.setdefault(name, []).append(place)
    return found


def _spellings(secret: str) -> set[bytes]:
    """Spell a secret as programs do: plain, escaped, in URLs, in hexadecimal digits, within base64."""
    plain = secret.encode()
    texts = {
        secret,
        json.dumps(secret)[1:-1],
        html.escape(secret),
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        plain.hex(),
    }
    return {text.encode() for text in texts} | set(_within_base64(plain))


def _within_base64(plain: bytes) -> Iterator[bytes]:
    """Give what of the encoding is the same whatever stands before and after."""
    for before, foreign in ((0, 0), (1, 2), (2, 3)):
        mixed = (0, 3, 2)[(before + len(plain)) % 3]
        for encode in (b64encode, urlsafe_b64encode):
            encoded = encode(bytes(before) + plain)
            yield encoded[foreign : len(encoded) - mixed]


def _unpacked(content: bytes) -> Iterator[bytes]:
    yield content
    yield from _inflated(content)
    for encoded in ENCODED.findall(content):
        with suppress(ValueError):
            decoded = b64decode(
                encoded + b"=" * (-len(encoded) % 4), altchars=b"-_" if b"_" in encoded else None
            )
            yield decoded
            yield from _inflated(decoded)


def _inflated(content: bytes) -> Iterator[bytes]:
    for start in DEFLATED.finditer(content):
        with suppress(zlib.error):
            yield zlib.decompressobj(ZLIB_OR_GZIP).decompress(content[start.start() :], LARGEST_UNPACKED)


def in_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Give every file below a folder by its name, and its name; of databases every cell as well."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        yield f"name {name}", name.encode()
        if path.is_file():
            content = path.read_bytes()
            yield name, content
            if content.startswith(SQLITE):
                yield from ((f"{name}: {place}", cell) for place, cell in _cells(path))


def _cells(database: Path) -> Iterator[tuple[str, bytes]]:
    """Read a database cell by cell: in the file, long ones are cut into pages."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        connection.text_factory = bytes
        tables = [
            name.decode()
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        for table in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 - a name from the database itself
                for cell in row:
                    if isinstance(cell, bytes):
                        yield table, cell


def in_texts(**texts: object) -> Iterator[tuple[str, bytes]]:
    """Give texts, and anything else as JSON, by name."""
    for name, text in texts.items():
        yield name, (text if isinstance(text, str) else json.dumps(text)).encode()


Seen = dict[str, str]


@contextmanager
def watching(root: int) -> Iterator[Seen]:
    """Note what others can see of a process and those that it starts; of the engine its environment, too."""
    seen: Seen = {}
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(psutil.Process(root), seen, over.is_set))
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def _watch(root: psutil.Process, seen: Seen, over: Callable[[], bool]) -> None:
    while not over():
        with suppress(psutil.Error):
            look_at(root, seen)
            for child in root.children(recursive=True):
                look_at(child, seen)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def look_at(process: psutil.Process, seen: Seen) -> None:
    """Note a process, with its environment where it is the converting one."""
    with suppress(psutil.Error):
        command = process.cmdline()
        seen[f"command {process.pid} {' '.join(command)[:80]}"] = "\0".join(command)
        if ENGINE_MODULE in command:
            seen[f"environment {process.pid} {ENGINE_MODULE}"] = json.dumps(process.environ())
