"""A small picture of an EOPF Zarr product, for the eye of whoever looks after the platform.

The picture is no data: it is stretched to please. Which arrays make it is decided by what a product
holds, so that a product of a type never seen before gets a grey picture of its first image.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from conversion_assets.errors import PermanentError
from conversion_assets.zarr.chunks import ChunkGrid
from conversion_assets.zarr.product_folder import ProductFolder
from conversion_assets.zarr.summary import (
    ArraySummary,
    Document,
    ProductSummary,
    consolidated_documents,
    summarize,
)

if TYPE_CHECKING:
    import numpy as np

    Plane = np.ndarray[Any, np.dtype[np.float32]]
    Values = np.ndarray[Any, np.dtype[Any]]
    Picture = np.ndarray[Any, np.dtype[np.uint8]]

MAX_BYTES = 50_000
DEFAULT_SIZE = 320
SAMPLES_PER_PIXEL = 4
STRETCH_PERCENTILES = (2.0, 98.0)
MIDDLE = 0.5
SUNLIT_GAMMA = 2.0
RATIO_BLUE = 0.5
JPEG_QUALITIES = (88, 75, 60, 45, 30)

TRUE_COLOUR_BANDS = (("b04", "b03", "b02"), ("oa08_radiance", "oa06_radiance", "oa04_radiance"))
POLARISATION = re.compile(r"_(HH|HV|VH|VV)/measurements/grd$")
CROSS_OF = {"VV": "VH", "HH": "HV"}
HALF_TURN, FULL_TURN = 180.0, 360.0  # degrees


class QuicklookError(PermanentError):
    """No picture can be made of a product, which is no fault of the product."""


@dataclass(frozen=True)
class Quicklook:
    """A picture ready to be shown.

    Attributes:
        image: the encoded picture, at most 50 kB.
        media_type: how it is encoded: ``image/png`` or ``image/jpeg``, whichever is smaller.
        title: what is seen, in a few words.
        caption: how it was made, in one sentence.
    """

    image: bytes
    media_type: str
    title: str
    caption: str


def quicklook(product: ProductFolder, size: int = DEFAULT_SIZE) -> Quicklook:
    """Make a small picture of a product.

    All chunks of the arrays shown are read, one at a time, and only some pixels of them are kept.
    Pixels without data are black. North is up as far as turning the grid over can bring it there.

    Args:
        product: the product.
        size: longest side of the picture, in pixels.

    Raises:
        QuicklookError: the product holds nothing that could be shown, or it cannot be read.
    """
    try:
        return _paint(_Subject(product, summarize(product), consolidated_documents(product)), size)
    except QuicklookError:
        raise
    except Exception as error:
        rule = f"no quicklook can be made of it ({type(error).__name__}: {error})"
        raise QuicklookError(product, rule, "Read what the checks of the product say") from error


@dataclass(frozen=True)
class _Subject:
    """The product to be painted, and what is known of it."""

    product: ProductFolder
    summary: ProductSummary
    documents: dict[str, Document]

    def attributes(self, array: ArraySummary) -> Document:
        return self.documents.get(f"{array.path}/.zattrs", {})

    def stored(self, array: ArraySummary) -> Values:
        """Open an array; what is indexed of it is read then, and only that."""
        import zarr  # noqa: PLC0415 - heavy, and needed for a picture only

        return cast("Values", zarr.open_array(self.product.store(), path=array.path, mode="r"))

    def property(self, name: str) -> str:
        return str(self.summary.stac_discovery.get("properties", {}).get(name, ""))

    def images(self) -> Iterator[ArraySummary]:
        """Yield the two-dimensional measurements, without coordinates, masks and orphaned pixels."""
        coordinates = {name for array in self.summary.arrays for name in self._coordinates(array)}
        for array in self.summary.arrays:
            is_auxiliary = _name(array) in coordinates or "flag_meanings" in self.attributes(array)
            if _is_image(array, self.summary) and not is_auxiliary:
                yield array

    def _coordinates(self, array: ArraySummary) -> list[str]:
        return str(self.attributes(array).get("coordinates", "")).split()


@dataclass(frozen=True)
class _Look:
    """How to paint a product.

    Attributes:
        what: what will be seen.
        caption: how it is made.
        planes: one plane for grey, three for red, green and blue; NaN where there is no data.
        keeps_ratios: whether all planes are stretched by the same factor, because they measure the
            same: reflectance keeps its hue so, while radiance has to lose the colour of sunlight.
        gamma: root that brightens what is dark: clouds leave little of the range to land and sea.
        blue: how much of its blue plane a picture shows, from 0 to 1.
    """

    what: str
    caption: str
    planes: Sequence[Plane]
    keeps_ratios: bool = False
    gamma: float = 1.0
    blue: float = 1.0


def _paint(subject: _Subject, size: int) -> Quicklook:
    look = _radar(subject, size) or _true_colour(subject, size) or _first_image(subject, size)
    image, media_type = _encoded(_enlarged(_picture(look), size))
    platform = subject.property("platform").title()
    title = f"{platform} {subject.summary.product_type}, {look.what}".strip()
    low, high = STRETCH_PERCENTILES
    caption = f"{look.caption}; stretched from the {low:.0f}nd to the {high:.0f}th percentile."
    return Quicklook(image, media_type, title, caption)


def _radar(subject: _Subject, size: int) -> _Look | None:
    """Show backscatter in decibels: co-polar red, cross-polar green, their ratio blue."""
    bands = {match[1]: array for array in subject.images() if (match := POLARISATION.search(array.path))}
    like = next((name for name in (*CROSS_OF, *CROSS_OF.values()) if name in bands), None)
    if like is None:
        return None
    plane = _north_up_by_orbit(_reduced(subject, bands[like], size), subject)
    cross = CROSS_OF.get(like, "")
    if cross not in bands:
        return _Look(f"{like} amplitude", f"{like} in decibels", [plane])
    other = _north_up_by_orbit(_reduced(subject, bands[cross], size), subject)
    caption = f"Red {like}, green {cross}, blue {like}/{cross}, in decibels"
    return _Look(f"{like} and {cross} amplitude", caption, [plane, other, plane - other], blue=RATIO_BLUE)


def _true_colour(subject: _Subject, size: int) -> _Look | None:
    images = {array.path: array for array in subject.images()}
    trios = [
        [images[f"{group}/{name}"] for name in names]
        for names in TRUE_COLOUR_BANDS
        for group in subject.summary.measurement_groups
        if all(f"{group}/{name}" in images for name in names)
    ]
    if not trios:
        return None
    bands = _coarsest(trios, size)
    planes = [_north_up_by_position(_reduced(subject, band, size), subject, band) for band in bands]
    red, green, blue = (_name(band).partition("_")[0].capitalize() for band in bands)
    is_reflectance = "reflectance" in bands[0].path.split("/")
    return _Look(
        "true colour", f"Red {red}, green {green}, blue {blue}", planes, is_reflectance, SUNLIT_GAMMA
    )


def _coarsest(trios: list[list[ArraySummary]], size: int) -> list[ArraySummary]:
    """Choose the coarsest grid that still fills the picture, else the finest there is."""
    by_size = sorted(trios, key=lambda trio: max(trio[0].shape))
    return next((trio for trio in by_size if max(trio[0].shape) >= size), by_size[-1])


def _first_image(subject: _Subject, size: int) -> _Look:
    image = next(subject.images(), None)
    if image is None:
        way_out = "Nothing is to be done: not every product is an image"
        raise QuicklookError(subject.product, "no measurement of it has two dimensions", way_out)
    plane = _north_up_by_position(_reduced(subject, image, size), subject, image)
    return _Look(_name(image), f"{image.path} in grey", [plane])


def _is_image(array: ArraySummary, summary: ProductSummary) -> bool:
    group = array.path.rpartition("/")[0]
    return (
        group in summary.measurement_groups
        and "orphans" not in group.split("/")
        and len(array.shape) == 2  # noqa: PLR2004 - an image has two dimensions
        and min(array.shape) > 1
        and array.dtype.startswith(("uint", "int", "float", "complex"))
    )


def _name(array: ArraySummary) -> str:
    return array.path.rpartition("/")[2]


def _reduced(subject: _Subject, array: ArraySummary, size: int) -> Plane:
    """Read an array down to the size of the picture, radar as mean power in decibels."""
    layout = subject.documents[f"{array.path}/.zarray"]
    measure = _values_or_nan(_fill_value(layout))
    is_radar = array.dtype.startswith("complex") or POLARISATION.search(array.path) is not None
    samples = _samples(subject.stored(array), ChunkGrid.from_layout(layout), size, measure)
    return _decibels(_block_means(samples**2, size)) if is_radar else _block_means(samples, size)


def _samples(array: Values, grid: ChunkGrid, size: int, measure: Callable[[Values], Plane]) -> Plane:
    """Pick pixels on a regular grid, some for each pixel of the picture, chunk by chunk."""
    import numpy as np  # noqa: PLC0415 - heavy, and needed for a picture only

    step = max(1, max(grid.shape) // (size * SAMPLES_PER_PIXEL))
    samples = np.empty([-(-extent // step) for extent in grid.shape], np.float32)
    for index in grid.indices():
        region = grid.region(index)
        firsts = [-(-part.start // step) for part in region]
        inside = tuple(
            slice(first * step - part.start, None, step) for first, part in zip(firsts, region, strict=True)
        )
        picked = measure(array[region][inside])
        height, width = picked.shape
        samples[firsts[0] : firsts[0] + height, firsts[1] : firsts[1] + width] = picked
    return samples


def _fill_value(layout: Document) -> float | None:
    """Give the number that stands for no data; Sentinel-1 declares none and writes zero."""
    declared = layout.get("fill_value")
    if isinstance(declared, int | float):
        return declared
    return 0 if declared is None and layout["dtype"].lstrip("<>|")[0] in "uc" else None


def _values_or_nan(fill_value: float | None) -> Callable[[Values], Plane]:
    import numpy as np  # noqa: PLC0415 - heavy, and needed for a picture only

    def measure(values: Values) -> Plane:
        magnitudes = np.abs(values) if values.dtype.kind == "c" else values
        plane = magnitudes.astype(np.float32)
        plane[(values == fill_value) | ~np.isfinite(plane)] = np.nan
        return plane

    return measure


def _block_means(samples: Plane, size: int) -> Plane:
    """Average blocks of pixels, leaving out what is NaN, so that the longest side fits the size."""
    import numpy as np  # noqa: PLC0415 - heavy, and needed for a picture only

    longest = max(samples.shape)
    outer = [max(1, extent * min(size, longest) // longest) for extent in samples.shape]
    starts = [np.arange(count) * extent // count for count, extent in zip(outer, samples.shape, strict=True)]
    valid = np.isfinite(samples)
    total, count = (_block_sums(part, *starts) for part in (np.where(valid, samples, 0), valid))
    return np.asarray(total / np.where(count, count, np.nan), np.float32)


def _block_sums(values: Values, rows: Values, columns: Values) -> Values:
    import numpy as np  # noqa: PLC0415 - heavy, and needed for a picture only

    return np.add.reduceat(np.add.reduceat(values, rows, axis=0, dtype=np.float64), columns, axis=1)


def _decibels(power: Plane) -> Plane:
    import numpy as np  # noqa: PLC0415 - heavy, and needed for a picture only

    return np.asarray(10 * np.log10(power, where=power > 0, out=np.full_like(power, np.nan)), np.float32)


def _north_up_by_orbit(plane: Plane, subject: _Subject) -> Plane:
    """Turn a Sentinel-1 image over: its first line was seen first, and its radar looks to the right.

    Flying north, the first line is the southernmost, and range grows to the east; flying south, the
    lines are in order, and range grows to the west.
    """
    turned = {"ascending": plane[::-1], "descending": plane[:, ::-1]}
    return turned.get(subject.property("sat:orbit_state"), plane)


def _north_up_by_position(plane: Plane, subject: _Subject, array: ArraySummary) -> Plane:
    """Turn an image over by the latitudes and longitudes at its edges, if its group holds them."""
    group = array.path.rpartition("/")[0]
    by_path = {other.path: other for other in subject.summary.arrays}
    latitude, longitude = (by_path.get(f"{group}/{name}") for name in ("latitude", "longitude"))
    if latitude is None or longitude is None or not latitude.shape == longitude.shape == array.shape:
        return plane
    southward = _rise(subject, latitude, axis=0) > 0
    westward = (_rise(subject, longitude, axis=1) + HALF_TURN) % FULL_TURN < HALF_TURN
    rows, columns = slice(None, None, -1 if southward else 1), slice(None, None, -1 if westward else 1)
    return plane[rows, columns]


def _rise(subject: _Subject, array: ArraySummary, *, axis: int) -> float:
    """Give how much an array grows, along its middle, from its first to its last row or column.

    Zero stands for unknown: there is no data at one of the ends.
    """
    import numpy as np  # noqa: PLC0415 - heavy, and needed for a picture only

    layout, attributes = subject.documents[f"{array.path}/.zarray"], subject.attributes(array)
    stored = subject.stored(array)
    middle = [extent // 2 for extent in array.shape]
    first, last = ((*middle[:axis], edge, *middle[axis + 1 :]) for edge in (0, array.shape[axis] - 1))
    ends = [stored[first], stored[last]]
    if layout.get("fill_value") in ends or not np.isfinite(ends).all():
        return 0.0
    return float(ends[1] - ends[0]) * float(attributes.get("scale_factor", 1.0))


def _picture(look: _Look) -> Picture:
    """Put stretched planes together; a pixel that lacks data in one of them is black."""
    import numpy as np  # noqa: PLC0415 - heavy, and needed for a picture only

    ranges = [_range(plane) for plane in look.planes]
    if look.keeps_ratios:
        width = max(high - low for low, high in ranges)
        ranges = [(low, low + width) for low, _ in ranges]
    stretched = [_stretched(plane, *limits) for plane, limits in zip(look.planes, ranges, strict=True)]
    stretched[-1] *= look.blue
    picture = np.asarray(np.stack(stretched, axis=-1) ** (1 / look.gamma) * 255, np.uint8)
    picture[~np.isfinite(np.stack(look.planes)).all(axis=0)] = 0
    return picture


def _range(plane: Plane) -> tuple[float, float]:
    import numpy as np  # noqa: PLC0415 - heavy, and needed for a picture only

    finite = plane[np.isfinite(plane)]
    if not finite.size:
        return 0.0, 0.0
    low, high = np.percentile(finite, STRETCH_PERCENTILES)
    return float(low), float(high)


def _stretched(plane: Plane, low: float, high: float) -> Plane:
    """Map a range to 0 to 1; a plane without contrast comes to lie in the middle."""
    import numpy as np  # noqa: PLC0415 - heavy, and needed for a picture only

    if high <= low:
        return np.full(plane.shape, MIDDLE, np.float32)
    return np.nan_to_num(np.clip((plane - low) / (high - low), 0, 1))


def _enlarged(picture: Picture, size: int) -> Picture:
    """Smooth an image that has fewer pixels than the picture up to its size."""
    import numpy as np  # noqa: PLC0415 - heavy, and needed for a picture only
    from PIL import Image  # noqa: PLC0415 - same

    height, width = picture.shape[:2]
    longest = max(height, width)
    if longest >= size:
        return picture
    target = (max(1, width * size // longest), max(1, height * size // longest))
    shown = Image.fromarray(_without_single_band(picture)).resize(target, Image.Resampling.BICUBIC)
    return np.asarray(shown).reshape(target[1], target[0], -1)


def _without_single_band(picture: Picture) -> Picture:
    """Drop the third dimension of a grey picture, as Pillow wants it."""
    return picture[..., 0] if picture.shape[-1] == 1 else picture


def _encoded(picture: Picture) -> tuple[bytes, str]:
    """Encode as PNG or JPEG, whichever is smaller, in as good a quality as the bound allows."""
    png, best = _file(picture, "PNG", optimize=True), _file(picture, "JPEG", quality=JPEG_QUALITIES[0])
    if len(png) <= min(len(best), MAX_BYTES):
        return png, "image/png"
    for quality in JPEG_QUALITIES:
        jpeg = _file(picture, "JPEG", quality=quality)
        if len(jpeg) <= MAX_BYTES:
            return jpeg, "image/jpeg"
    return _encoded(picture[::2, ::2])


def _file(picture: Picture, encoding: str, **options: int) -> bytes:
    from PIL import Image  # noqa: PLC0415 - needed for a picture only

    buffer = io.BytesIO()
    Image.fromarray(_without_single_band(picture)).save(buffer, encoding, **options)
    return buffer.getvalue()
