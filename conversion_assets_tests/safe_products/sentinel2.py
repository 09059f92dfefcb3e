"""Sentinel-2 MSI Level-1C and Level-2A tiles: SAFE compact, baseline 05.10, JPEG 2000 rasters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.crs import CRS

from .clock import in_utc, iso_milliseconds_z
from .kind import NSSDC_IDENTIFIERS, ProductKind, checked_unit
from .manifest import EPSG_4326, Checksum, write_manifest
from .raster import write_raster
from .scene import Scene, Surface
from .sentinel2_auxiliary import write_auxiliary
from .sentinel2_bands import BAND_BY_NAME, BANDS, L2A_BANDS, Band
from .sentinel2_frame import BASELINE, CENTRE, RELATIVE_ORBIT, RESOLUTIONS, TileFrame
from .sentinel2_metadata import (
    DETECTORS,
    QUANTIFICATION,
    RADIOMETRIC_OFFSET,
    datastrip_metadata,
    product_metadata,
    tile_metadata,
)
from .xml import Tree, save

DEFAULT_START: Final = datetime(2024, 6, 15, 10, 25, 59, 24000, tzinfo=UTC)
DEFAULT_TILE: Final = "32TLN"
"""Its upper left corner lies on the coast of Provence."""

SAFE_NAMESPACE: Final = {"safe": "http://www.esa.int/safe/sentinel/1.1"}
JP2_BLOCKS: Final = {10: 1024, 20: 640, 60: 192}
"""Side of a block in pixels, by resolution in metres, as in real products."""

SCENE_CLASSES: Final = {
    Surface.WATER: 6,
    Surface.FOREST: 4,
    Surface.SOIL: 5,
    Surface.SNOW: 11,
    Surface.CLOUD: 9,
}
"""Values of the Level-2A scene classification (https://sentiwiki.copernicus.eu/web/s2-processing)."""

HAZE: Final = 0.07
"""Reflectance of the air at `HAZE_WAVELENGTH` nm, which Level-2A removes."""

HAZE_WAVELENGTH: Final = 443.0
WRITERS: Final = 2


@dataclass(frozen=True)
class Image:
    """An image to be written.

    Args:
        path: in the product, without suffix.
        resolution: metres.
        pixels: makes the rows and columns.
    """

    path: str
    resolution: int
    pixels: Callable[[], NDArray[Any]]


class TileImages:
    """Every image of a tile, drawn from one scene."""

    def __init__(self, frame: TileFrame, seed: int) -> None:
        self.frame = frame
        self.scenes = {step: Scene((frame.rows(step), frame.rows(step)), seed) for step in RESOLUTIONS}

    def measurements(self) -> list[Image]:
        """The images that the product metadata list."""
        if self.frame.level == "L1C":
            folder = f"{self.frame.granule}/IMG_DATA/{self.frame.stem}"
            return [self._band(f"{folder}_{band.name}", band, band.resolution) for band in BANDS]
        return [image for step in RESOLUTIONS for image in self._level2(step)]

    def masks(self) -> Iterator[Image]:
        """The images of the folder ``QI_DATA``."""
        folder = f"{self.frame.granule}/QI_DATA"
        yield Image(f"{folder}/MSK_CLASSI_B00", 60, self._cloud_mask)
        for band in BANDS:
            step = band.resolution
            yield self._constant(f"{folder}/MSK_QUALIT_{band.name}", step, np.uint8(0))
            yield Image(f"{folder}/MSK_DETFOO_{band.name}", step, partial(self._detectors, step))
        if self.frame.level == "L2A":
            for step in (20, 60):
                yield Image(
                    f"{folder}/MSK_CLDPRB_{step}m", step, partial(self._probability, Surface.CLOUD, step)
                )
                yield Image(
                    f"{folder}/MSK_SNWPRB_{step}m", step, partial(self._probability, Surface.SNOW, step)
                )

    def _level2(self, step: int) -> Iterator[Image]:
        folder = f"{self.frame.granule}/IMG_DATA/R{step}m/{self.frame.stem}"
        for name in L2A_BANDS[step]:
            yield self._band(f"{folder}_{name}_{step}m", BAND_BY_NAME[name], step)
        yield self._constant(f"{folder}_AOT_{step}m", step, np.uint16(120))
        yield self._constant(f"{folder}_WVP_{step}m", step, np.uint16(1800))
        if step in (20, 60):
            yield Image(f"{folder}_SCL_{step}m", step, partial(self._classes, step))

    def _band(self, path: str, band: Band, step: int) -> Image:
        return Image(path, step, partial(self._counts, band, step))

    def _counts(self, band: Band, step: int) -> NDArray[np.uint16]:
        reflectance = self.scenes[step].seen_at(band.wavelength)
        if self.frame.level == "L2A":
            reflectance = reflectance - HAZE * (HAZE_WAVELENGTH / band.wavelength) ** 4
        counts = np.round(reflectance * QUANTIFICATION) - RADIOMETRIC_OFFSET
        return np.clip(counts, 1, 65534).astype(np.uint16)

    def _constant(self, path: str, step: int, value: np.uint8 | np.uint16) -> Image:
        return Image(path, step, partial(np.full, self.scenes[step].shape, value))

    def _classes(self, step: int) -> NDArray[np.uint8]:
        table = np.array([SCENE_CLASSES[surface] for surface in Surface], np.uint8)
        return table[self.scenes[step].surface]

    def _cloud_mask(self) -> NDArray[np.uint8]:
        mask: NDArray[np.uint8] = (self.scenes[60].surface == Surface.CLOUD).astype(np.uint8)
        return mask

    def _probability(self, surface: Surface, step: int) -> NDArray[np.uint8]:
        percent: NDArray[np.uint8] = (100 * self.scenes[step].shares[surface]).astype(np.uint8)
        return percent

    def _detectors(self, step: int) -> NDArray[np.uint8]:
        """The number of the detector that saw each column."""
        rows, columns = self.scenes[step].shape
        column = np.arange(columns) * len(DETECTORS) // columns
        return np.tile(np.array(DETECTORS, np.uint8)[column], (rows, 1))


def make_tile(
    level: str,
    folder: Path,
    *,
    scale: float,
    seed: int,
    start: datetime | None,
    unit: str | None,
    tile: str | None,
    checksum: Checksum,
) -> Path:
    """Write a product and return its folder; see `make_product` for the arguments."""
    frame = TileFrame(
        level=level,
        start=in_utc(start, DEFAULT_START),
        unit=checked_unit(ProductKind(f"S2_MSI_{level}"), unit),
        tile=tile or DEFAULT_TILE,
        scale=scale,
    )
    ring = frame.ring()
    root = folder / frame.name
    root.mkdir(parents=True)
    images = TileImages(frame, seed)
    measurements = images.measurements()
    _write_images(root, frame, [*measurements, *images.masks()])
    write_auxiliary(root / frame.granule / "AUX_DATA", ring, frame.start)
    overview = images.scenes[60]
    listed = [image.path for image in measurements]
    save(product_metadata(frame, overview, listed), root / f"MTD_MSI{level}.xml")
    save(tile_metadata(frame, overview), root / frame.granule / "MTD_TL.xml")
    save(datastrip_metadata(frame), root / frame.datastrip / "MTD_DS.xml")
    _write_manifest(root, frame, checksum)
    return root


def _write_images(root: Path, frame: TileFrame, images: list[Image]) -> None:
    with ThreadPoolExecutor(WRITERS) as pool:
        for done in [pool.submit(_write_image, root, frame, image) for image in images]:
            done.result()


def _write_image(root: Path, frame: TileFrame, image: Image) -> None:
    pixels = image.pixels()
    block, step, grid = JP2_BLOCKS[image.resolution], image.resolution, frame.grid
    write_raster(
        root / f"{image.path}.jp2",
        pixels,
        driver="JP2OpenJPEG",
        crs=CRS.from_epsg(grid.epsg),
        transform=Affine(step, 0, grid.left, 0, -step, grid.top),
        REVERSIBLE="YES",
        QUALITY="100",
        BLOCKXSIZE=block,
        BLOCKYSIZE=block,
        RESOLUTIONS=5,
    )


def _write_manifest(root: Path, frame: TileFrame, checksum: Checksum) -> None:
    write_manifest(
        root / "manifest.safe",
        {
            "acquisitionPeriod": _period(frame),
            "measurementOrbitReference": _orbit(frame),
            "platform": _platform(frame),
            "processing": _processing(frame),
            "measurementFrameSet": _footprint(frame),
        },
        namespaces=SAFE_NAMESPACE,
        version=f"esa/safe/sentinel/1.1/sentinel-2/msi/archive_{frame.level.lower()}_user_product",
        unit={
            "@unitType": f"Product_Level-{frame.level[1:]}",
            "@textInfo": f"SENTINEL-2 MSI Level-{frame.level[1:]} User Product",
        },
        checksum=checksum,
    )


def _period(frame: TileFrame) -> Tree:
    return {"safe:acquisitionPeriod": {"safe:startTime": iso_milliseconds_z(frame.start)}}


def _orbit(frame: TileFrame) -> Tree:
    orbit: Tree = {"@type": "start", "@groundTrackDirection": "descending", "#": f"{frame.orbit:06d}"}
    relative: Tree = {"@type": "start", "#": RELATIVE_ORBIT}
    return {"safe:orbitReference": {"safe:orbitNumber": orbit, "safe:relativeOrbitNumber": relative}}


def _platform(frame: TileFrame) -> Tree:
    return {
        "safe:platform": {
            "safe:nssdcIdentifier": NSSDC_IDENTIFIERS["S2"][frame.unit],
            "safe:familyName": "SENTINEL",
            "safe:number": f"2{frame.unit}",
            "safe:instrument": {
                "safe:familyName": {"@abbreviation": "MSI", "#": "Multi-Spectral Instrument"},
            },
        },
    }


def _processing(frame: TileFrame) -> Tree:
    made = iso_milliseconds_z(frame.made)
    return {
        "safe:processing": {
            "@name": f"Generation of Level-{frame.level[1:]} User Product",
            "@start": made,
            "@stop": made,
            "safe:facility": {
                "@name": CENTRE,
                "@organisation": "Synthetic",
                "@country": "none",
                "@site": "local",
                "safe:software": {"@name": "IPF", "@version": BASELINE},
            },
        },
    }


def _footprint(frame: TileFrame) -> Tree:
    outline: Tree = {"@srsName": EPSG_4326, "gml:coordinates": f"{frame.ring_text()} "}
    return {"safe:frameSet": {"safe:footPrint": outline}}
