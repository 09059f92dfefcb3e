"""What must hold of an EOPF Zarr product before anybody may see it.

Every check is a function from a product to a `CheckOutcome`: a finding is a value, never an
exception, so that a caller can show all findings of a product at once. Only that a product cannot be
reached just now is no finding, but a `TransientError`. Nothing here converts, repairs or publishes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from conversion_assets.errors import PermanentError, TransientError
from conversion_assets.zarr.chunks import ChunkGrid, Index
from conversion_assets.zarr.product_folder import CONSOLIDATED_METADATA, METADATA_NAMES, ProductFolder
from conversion_assets.zarr.summary import (
    Document,
    ProductSummary,
    array_paths,
    consolidated_documents,
    is_measurement_group,
    owner_of,
    summarize,
)

if TYPE_CHECKING:
    import numpy as np
    import xarray

# The names of SAFE products carry whole seconds, their manifests fractions: both may be compared.
TIME_TOLERANCE = timedelta(seconds=1)

# Each band of these always holds data. In other types a whole array may rightly be empty: visible
# channels by night, a land index over the sea, a wind that could not be retrieved.
TYPES_WITH_DATA_IN_EVERY_ARRAY = frozenset(
    {
        *("S01SIWGRD", "S01SEWGRD", "S01SSMGRD", "S01SIWSLC", "S01SEWSLC", "S01SSMSLC", "S01SWVSLC"),
        *("S02MSIL1C", "S02MSIL2A", "S03OLCEFR", "S03OLCERR"),
    }
)
FLAG_ATTRIBUTES = frozenset({"flag_masks", "flag_meanings", "flag_values"})


@dataclass(frozen=True)
class CheckOutcome:
    """What one check found.

    Attributes:
        name: name of the check, an identifier.
        passed: whether what was checked holds.
        detail: the finding as one sentence.
        numbers: figures behind it, by name.
    """

    name: str
    passed: bool
    detail: str
    numbers: Mapping[str, int | float | str] = field(default_factory=dict)


def check_completeness(product: ProductFolder) -> CheckOutcome:
    """Check that a product holds exactly the objects that its metadata announce.

    eopf writes every chunk, those full of fill values too. A missing chunk is therefore a writing
    that was cut short, and one that readers cannot see: they are given fill values in its place.

    Args:
        product: the product.

    Raises:
        TransientError: it cannot be reached just now.
    """
    name = "zarr_complete"
    try:
        documents = consolidated_documents(product)
        census = _Census.take(product, _grids(documents))
    except (PermanentError, OSError, ValueError) as error:
        return CheckOutcome(name, passed=False, detail=str(error))
    faults = [*census.faults(), *_metadata_faults(product, documents, census.metadata)]
    numbers = {**census.numbers(), "faults": len(faults)}
    whole = f"All {numbers['chunks_expected']} chunks of {numbers['arrays']} arrays are there."
    return CheckOutcome(name, not faults, _sentence(faults) if faults else whole, numbers)


def check_opens(product: ProductFolder) -> CheckOutcome:
    """Check that xarray opens a product, and that its measurements decode and hold data.

    Of every array in a ``measurements`` group one chunk is read: the one in the middle. Where it
    holds nothing but fill values the others follow, those with the most stored bytes first, until
    one holds data; at no time is more than one chunk in memory. Masks, coordinates and the pixels
    that OLCI keeps apart as orphans have to decode, but may be empty. An array that declares no
    fill value is empty if it is zero throughout, as Sentinel-1 marks what lies outside the swath.

    Args:
        product: the product.

    Raises:
        TransientError: it cannot be reached just now.
    """
    name = "zarr_opens"
    try:
        product_type = summarize(product).product_type
        readings = _read_measurements(product)
    except TransientError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a reader stumbles over is the finding
        return CheckOutcome(name, passed=False, detail=_sentence([f"it does not open: {_words(error)}"]))
    faults = [*(reading.fault for reading in readings if reading.fault), *_emptiness(product_type, readings)]
    numbers = {
        "arrays": len(readings),
        "chunks_read": sum(reading.chunks_read for reading in readings),
        "empty": sum(reading.is_empty for reading in readings),
        "faults": len(faults),
    }
    fine = f"{len(readings)} arrays of the measurements decode and hold data."
    return CheckOutcome(name, not faults, _sentence(faults) if faults else fine, numbers)


def check_type(summary: ProductSummary, expected_type: str) -> CheckOutcome:
    """Check that eopf wrote the product type that the name of the SAFE product promises.

    Args:
        summary: the product.
        expected_type: EOPF product type expected, such as ``S02MSIL1C``.
    """
    passed = summary.product_type == expected_type
    detail = f"The product is of type {summary.product_type}"
    detail += " as expected." if passed else f", but its SAFE name announces {expected_type}."
    numbers = {"product_type": summary.product_type, "expected_type": expected_type}
    return CheckOutcome("zarr_type", passed, detail, numbers)


def check_times(summary: ProductSummary, start: datetime, stop: datetime | None = None) -> CheckOutcome:
    """Check that a product begins and ends when its SAFE product does.

    eopf copies both times from the SAFE metadata, to the last digit in all samples of Sentinel-1, 2
    and 3. The tolerance of one second is there for a caller that knows only the whole seconds of
    the product's name. The manifests of Sentinel-2 give no stop time: it is then not compared.

    Args:
        summary: the product.
        start: start of sensing by the SAFE product; UTC if it says nothing else.
        stop: end of sensing, None if the SAFE product does not say.
    """
    name = "zarr_times"
    try:
        written = [_instant(summary.stac_discovery, key) for key in ("start_datetime", "end_datetime")]
    except (KeyError, TypeError, ValueError) as error:
        return CheckOutcome(name, passed=False, detail=f"The product has no valid start and end: {error!r}.")
    expected = [_in_utc(moment) for moment in (start, stop) if moment is not None]
    apart = [abs(ours - theirs).total_seconds() for ours, theirs in zip(written, expected, strict=False)]
    differences = dict(zip(("start_difference_s", "end_difference_s"), apart, strict=False))
    in_order = written[0] <= written[1]
    passed = in_order and max(apart) <= TIME_TOLERANCE.total_seconds()
    return CheckOutcome(name, passed, _times_sentence(written, expected, in_order=in_order), differences)


@dataclass(frozen=True)
class _Census:
    """The objects of a product, sorted into what they are.

    Attributes:
        grids: the arrays announced, by path.
        chunks: the chunks found of each array, with their bytes.
        metadata: paths of the metadata documents found.
        strays: what is none of both, each with the reason.
    """

    grids: dict[str, ChunkGrid]
    chunks: dict[str, dict[Index, int]]
    metadata: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)

    @classmethod
    def take(cls, product: ProductFolder, grids: dict[str, ChunkGrid]) -> _Census:
        """Sort all objects of the product."""
        census = cls(grids, {path: {} for path in grids})
        for path, size in sorted(product.objects().items()):
            if size is None:
                census.strays.append(f"{path} is not a regular file")
            elif PurePosixPath(path).name in METADATA_NAMES | {CONSOLIDATED_METADATA}:
                census.metadata.append(path)
            else:
                census.admit(path, size)
        return census

    def admit(self, path: str, size: int) -> None:
        """Put an object that is no metadata where it belongs."""
        owner = owner_of(path, self.grids)
        index = None if owner is None else self.grids[owner].index(path.removeprefix(f"{owner}/"))
        if owner is None or index is None:
            self.strays.append(f"{path} belongs to no array")
        else:
            self.chunks[owner][index] = size

    def faults(self) -> Iterator[str]:
        """Say what is missing, empty or too much."""
        yield from self.strays
        for path, grid in self.grids.items():
            found = self.chunks[path]
            yield from (f"{path}/{grid.key(index)} is empty" for index, size in found.items() if not size)
            if len(found) < grid.total:
                first = next(index for index in grid.indices() if index not in found)
                missing = grid.total - len(found)
                yield f"{path}/{grid.key(first)} is missing, one of {missing} of {grid.total} chunks"

    def numbers(self) -> dict[str, int | float | str]:
        """Count."""
        return {
            "arrays": len(self.grids),
            "chunks_expected": sum(grid.total for grid in self.grids.values()),
            "chunks_found": sum(map(len, self.chunks.values())),
            "chunk_bytes": sum(sum(found.values()) for found in self.chunks.values()),
        }


def _grids(documents: Mapping[str, Document]) -> dict[str, ChunkGrid]:
    grids = {}
    for path in array_paths(documents):
        try:
            grids[path] = ChunkGrid.from_layout(documents[f"{path}/.zarray"])
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path}/.zarray describes no array: {error}") from error
    return grids


def _metadata_faults(
    product: ProductFolder, documents: Mapping[str, Document], found: list[str]
) -> Iterator[str]:
    """Compare each document of its own with its copy in the consolidated metadata."""
    own = [path for path in found if PurePosixPath(path).name != CONSOLIDATED_METADATA]
    contents = product.read_many(path for path in found if path != CONSOLIDATED_METADATA)
    yield from (f"{path} is announced, but not there" for path in sorted(documents.keys() - set(own)))
    for path in own:
        if path not in documents:
            yield f"{path} is not in {CONSOLIDATED_METADATA}"
        elif _canonical(_loaded(contents[path])) != _canonical(documents[path]):
            yield f"{path} differs from its copy in {CONSOLIDATED_METADATA}"
    for path in set(found) - set(own) - {CONSOLIDATED_METADATA}:
        prefix = path.removesuffix(CONSOLIDATED_METADATA)
        yield from _nested_faults(_loaded(contents[path]), prefix, documents)


def _nested_faults(nested: object, prefix: str, documents: Mapping[str, Document]) -> Iterator[str]:
    """Compare the consolidated metadata of a sub-product with those of the whole."""
    expected = {key.removeprefix(prefix): value for key, value in documents.items() if key.startswith(prefix)}
    if not isinstance(nested, dict) or _canonical(nested.get("metadata")) != _canonical(expected):
        yield f"{prefix}{CONSOLIDATED_METADATA} differs from that of the whole product"


def _loaded(content: bytes | None) -> object:
    """Parse JSON; what is not JSON, or is not there, equals no document."""
    try:
        return None if content is None else json.loads(content)
    except (ValueError, RecursionError):
        return None


def _canonical(document: object) -> str:
    """Write JSON in one way only: NaN does not equal itself, its text does."""
    return json.dumps(document, sort_keys=True)


@dataclass(frozen=True)
class _Reading:
    """What reading one array showed.

    Attributes:
        path: path of the array.
        is_judged: whether it is expected to hold data.
        holds_data: whether a chunk with data was found.
        chunks_read: chunks decoded.
        fault: why it cannot be decoded.
    """

    path: str
    is_judged: bool
    holds_data: bool = False
    chunks_read: int = 0
    fault: str | None = None

    @property
    def is_empty(self) -> bool:
        return self.is_judged and not self.holds_data and self.fault is None


def _read_measurements(product: ProductFolder) -> list[_Reading]:
    import xarray  # noqa: PLC0415 - heavy, and needed here only
    from xarray.backends import ZarrBackendEntrypoint as Zarr  # noqa: PLC0415 - same

    grids = _grids(consolidated_documents(product))
    options: dict[str, Any] = {"cache": False, "concat_characters": False, "decode_timedelta": False}
    # Asked for by its name, xarray would first load every backend there is: 1500 modules, over a second.
    with xarray.open_datatree(product.store(), engine=Zarr, consolidated=True, **options) as tree:
        return [
            _read(product, path, variable, grids[path], is_judged=is_judged)
            for path, variable, is_judged in _measurement_variables(tree)
        ]


def _measurement_variables(tree: xarray.DataTree) -> Iterator[tuple[str, xarray.Variable, bool]]:
    """Yield the path and content of each array, and whether it is expected to hold data."""
    for node in tree.subtree:
        group = node.path.strip("/")
        if is_measurement_group(group):
            dataset = node.to_dataset(inherit=False)
            for name, variable in dataset.variables.items():
                is_data = name in dataset.data_vars and "orphans" not in PurePosixPath(group).parts
                yield f"{group}/{name}", variable, is_data and _is_quantity(variable)


def _is_quantity(variable: xarray.Variable) -> bool:
    return variable.dtype.kind in "iufc" and variable.size > 0 and not FLAG_ATTRIBUTES & variable.attrs.keys()


def _read(
    product: ProductFolder, path: str, variable: xarray.Variable, grid: ChunkGrid, *, is_judged: bool
) -> _Reading:
    chunks_read = 0
    try:
        for index in _promising_chunks(product.objects(), path, grid):
            values = variable[grid.region(index)].to_numpy()
            chunks_read += 1
            if not is_judged or _holds_data(values, declares_fill=_declares_fill(variable)):
                return _Reading(path, is_judged, holds_data=is_judged, chunks_read=chunks_read)
    except TransientError:
        raise
    except Exception as error:  # noqa: BLE001 - a codec may raise anything, and its words are the finding
        fault = f"{path} does not decode: {_words(error)}"
        return _Reading(path, is_judged, chunks_read=chunks_read, fault=fault)
    return _Reading(path, is_judged, chunks_read=chunks_read)


def _declares_fill(variable: xarray.Variable) -> bool:
    return variable.encoding.get("_FillValue") is not None


def _promising_chunks(objects: Mapping[str, int | None], path: str, grid: ChunkGrid) -> Iterator[Index]:
    """Begin in the middle, go on with what compressed worst: fill values compress best."""
    if not grid.total:
        return
    yield grid.centre
    others = (index for index in grid.indices() if index != grid.centre)
    yield from sorted(others, key=lambda index: -(objects[f"{path}/{grid.key(index)}"] or 0))


def _holds_data(values: np.ndarray[Any, np.dtype[Any]], *, declares_fill: bool) -> bool:
    """Look for a value; xarray has put NaN in the place of a declared fill value."""
    import numpy as np  # noqa: PLC0415 - loaded by xarray anyway, but not by the other checks

    valid = np.isfinite(values)
    return bool((valid if declares_fill else valid & (values != 0)).any())


def _emptiness(product_type: str, readings: list[_Reading]) -> Iterator[str]:
    judged = [reading for reading in readings if reading.is_judged]
    empty = [reading.path for reading in judged if reading.is_empty]
    if not judged:
        yield "it holds no measurements"
    elif len(empty) == len(judged):
        yield "no array of the measurements holds data"
    elif product_type in TYPES_WITH_DATA_IN_EVERY_ARRAY:
        yield from (f"{path} holds nothing but fill values" for path in empty)


def _instant(stac_discovery: Document, key: str) -> datetime:
    return _in_utc(datetime.fromisoformat(stac_discovery["properties"][key]))


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _times_sentence(written: list[datetime], expected: list[datetime], *, in_order: bool) -> str:
    ours, theirs = (" to ".join(map(datetime.isoformat, moments)) for moments in (written, expected))
    order = "" if in_order else ", which ends before it starts"
    return f"The product says {ours}{order}; its SAFE product says {theirs}."


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _sentence(faults: list[str]) -> str:
    """Name the first faults, count the rest."""
    shown, rest = faults[:3], len(faults) - 3
    return "; ".join(shown) + (f"; and {rest} more." if rest > 0 else ".")
