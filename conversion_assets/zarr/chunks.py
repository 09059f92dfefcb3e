"""The arithmetic of Zarr 2 chunks: which objects an array consists of, and what each one covers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Index = tuple[int, ...]

SEPARATORS = (".", "/")
SCALAR_KEY = "0"


@dataclass(frozen=True)
class ChunkGrid:
    """How an array is cut into chunks, after https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html.

    Attributes:
        shape: elements along each dimension; empty for a single value.
        chunks: elements of a chunk along each dimension.
        separator: what stands between the numbers of a chunk key.
    """

    shape: Index
    chunks: Index
    separator: str = "."

    @classmethod
    def from_layout(cls, layout: Mapping[str, Any]) -> ChunkGrid:
        """Read the grid of an array.

        Args:
            layout: the array's ``.zarray`` document.

        Raises:
            ValueError: the document describes no possible grid.
        """
        shape, chunks = layout.get("shape"), layout.get("chunks")
        separator = layout.get("dimension_separator") or SEPARATORS[0]
        if not (_are_sizes(shape, 0) and _are_sizes(chunks, 1) and len(shape or ()) == len(chunks or ())):
            raise ValueError(f"shape {shape!r} and chunks {chunks!r} make no grid")
        if separator not in SEPARATORS:
            raise ValueError(f"{separator!r} separates no dimensions in Zarr 2")
        return cls(tuple(shape or ()), tuple(chunks or ()), separator)

    @property
    def counts(self) -> Index:
        """Chunks along each dimension."""
        return tuple(-(-size // step) for size, step in zip(self.shape, self.chunks, strict=True))

    @property
    def total(self) -> int:
        """Chunks of the whole array: one for a single value, none without elements."""
        return math.prod(self.counts)

    @property
    def centre(self) -> Index:
        """The chunk in the middle."""
        return tuple(count // 2 for count in self.counts)

    def indices(self) -> Iterator[Index]:
        """Count through all chunks, in row-major order."""
        return _count_through(self.counts)

    def key(self, index: Index) -> str:
        """Name the object of a chunk, relative to its array.

        Args:
            index: number of the chunk along each dimension.
        """
        return self.separator.join(map(str, index)) or SCALAR_KEY

    def index(self, key: str) -> Index | None:
        """Find the chunk that an object holds, None if it holds none of this array.

        Args:
            key: path of the object, relative to its array.
        """
        if not self.shape:
            return () if key == SCALAR_KEY else None
        numbers = key.split(self.separator)
        if len(numbers) != len(self.shape) or not all(map(_is_plain_number, numbers)):
            return None
        index = tuple(map(int, numbers))
        inside = all(number < count for number, count in zip(index, self.counts, strict=True))
        return index if inside else None

    def region(self, index: Index) -> tuple[slice, ...]:
        """Give the elements that a chunk covers, cut off at the edge of the array.

        Args:
            index: number of the chunk along each dimension.
        """
        spans = zip(index, self.chunks, self.shape, strict=True)
        return tuple(slice(number * step, min((number + 1) * step, size)) for number, step, size in spans)


def _count_through(counts: Index) -> Iterator[Index]:
    """Count lazily: `itertools.product` would first store each range, and sizes are not to be trusted."""
    if not counts:
        yield ()
        return
    for first in range(counts[0]):
        yield from ((first, *rest) for rest in _count_through(counts[1:]))


def _are_sizes(values: object, least: int) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= least for value in values)


def _is_plain_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and (text == "0" or not text.startswith("0"))
