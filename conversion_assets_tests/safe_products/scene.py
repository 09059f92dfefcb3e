"""An imaginary coast: land, sea, snow and clouds as seen at any wavelength and any resolution.

All rasters of a product show the same scene. It is smooth noise of several octaves, cut at levels that
leave about the same share of sea, snow and cloud whatever the seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Raster: TypeAlias = NDArray[np.float32]

OCTAVES: Final = 6
COARSEST_CELLS: Final = 3
REFERENCE_SHAPE: Final = (96, 96)
SEA_SHARE: Final = 0.4
SNOW_SHARE: Final = 0.12
CLOUD_SHARE: Final = 0.15


class Surface(IntEnum):
    """What a pixel shows."""

    WATER = 0
    FOREST = 1
    SOIL = 2
    SNOW = 3
    CLOUD = 4


REFLECTANCE: Final[Mapping[Surface, Mapping[float, float]]] = {
    Surface.WATER: {400: 0.12, 443: 0.10, 490: 0.085, 560: 0.06, 665: 0.03, 865: 0.015, 2200: 0.004},
    Surface.FOREST: {
        400: 0.10,
        490: 0.075,
        560: 0.085,
        665: 0.055,
        705: 0.12,
        750: 0.26,
        1000: 0.30,
        2200: 0.07,
    },
    Surface.SOIL: {400: 0.11, 490: 0.13, 560: 0.16, 665: 0.19, 865: 0.27, 1600: 0.34, 2200: 0.26},
    Surface.SNOW: {400: 0.75, 560: 0.76, 865: 0.68, 1000: 0.55, 1600: 0.12, 2200: 0.08},
    Surface.CLOUD: {400: 0.62, 560: 0.60, 865: 0.62, 1600: 0.42, 2200: 0.30},
}
"""Apparent reflectance at some wavelengths in nm, of a size that is usual at the top of the atmosphere."""

TRANSMISSION: Final[Mapping[float, float]] = {
    755: 1.0, 761: 0.35, 764: 0.5, 768: 0.7, 775: 1.0, 885: 1.0, 900: 0.75, 940: 0.45, 960: 0.7, 1000: 1.0,
    1250: 1.0, 1373: 0.02, 1450: 0.5, 1550: 1.0,
}  # fmt: skip
"""What the absorption by oxygen and water vapour leaves, by wavelength in nm."""


def reflectance(surface: Surface, wavelength: float) -> float:
    """Return the reflectance of a surface, 0 to 1, at a wavelength in nm."""
    curve = REFLECTANCE[surface]
    clear = np.interp(wavelength, list(curve), list(curve.values()))
    return float(clear * np.interp(wavelength, list(TRANSMISSION), list(TRANSMISSION.values())))


@dataclass(frozen=True)
class Scene:
    """The scene in a raster of a given shape.

    Args:
        shape: rows and columns.
        seed: scenes of the same seed show the same coast.
    """

    shape: tuple[int, int]
    seed: int = 0

    @cached_property
    def height(self) -> Raster:
        """Height over the sea; 1 is about the highest summit, negative is sea."""
        return self._levelled(0, SEA_SHARE)

    @cached_property
    def land(self) -> Raster:
        """Share of land in each pixel, below the clouds."""
        return _clipped(self.height / 0.02 + 0.5)

    @cached_property
    def slope(self) -> Raster:
        """Rise towards the south-east, over the length of the scene."""
        down, right = np.gradient(self.height)
        slope: Raster = (down + right) * max(self.shape)
        return slope

    @cached_property
    def shares(self) -> Raster:
        """Share of each surface in each pixel: (surface, row, column), summing to 1."""
        land = self.land
        snow = land * _clipped(self._levelled(0, 1 - SNOW_SHARE) / 0.12)
        soil = (land - snow) * _clipped(self._levelled(1, 0.5) * 2.5 + 0.4)
        ground = np.stack([1 - land, land - snow - soil, soil, snow])
        shares: Raster = np.concatenate([ground * (1 - self.cloud), self.cloud[None]])
        return shares

    @cached_property
    def cloud(self) -> Raster:
        """Opacity of the clouds, 0 to 1."""
        return _clipped(self._levelled(2, 1 - CLOUD_SHARE) * 3, 0.95)

    @cached_property
    def surface(self) -> NDArray[np.uint8]:
        """The surface that prevails in each pixel, as a number of `Surface`."""
        surface: NDArray[np.uint8] = np.argmax(self.shares, axis=0).astype(np.uint8)
        return surface

    @cached_property
    def relief(self) -> Raster:
        """Brightness of the slopes under a sun in the north-west, around 1; 1 on water and in clouds."""
        land = 1 - self.shares[Surface.WATER] - self.shares[Surface.CLOUD]
        relief: Raster = 1 + 0.35 * land * np.tanh(self.slope / 6)
        return relief

    def seen_at(self, wavelength: float) -> Raster:
        """Return the reflectance of every pixel, 0 to 1, at a wavelength in nm."""
        spectrum = np.array([reflectance(surface, wavelength) for surface in Surface], np.float32)
        mixed: Raster = np.tensordot(spectrum, self.shares, axes=1)
        return mixed * self.relief * self._grain(round(wavelength))

    def backscatter(self, *, cross_polarised: bool) -> Raster:
        """Return the mean radar amplitude in counts: dark sea, bright slopes; clouds do not show."""
        slopes = 1 + 0.5 * np.tanh(self.slope / 5)
        texture = np.exp(0.5 * self._levelled(1, 0.5))
        bright, dark = (110.0, 18.0) if cross_polarised else (240.0, 55.0)
        amplitude: Raster = dark + (bright - dark) * self.land * slopes * texture
        return amplitude

    def percentage(self, surface: Surface) -> float:
        """Return how much of the scene shows a surface, in percent."""
        return round(100 * float(np.mean(self.surface == surface)), 6)

    def _grain(self, stream: int) -> Raster:
        noise = np.random.default_rng([self.seed, stream]).standard_normal(self.shape, dtype=np.float32)
        return 1 + np.float32(0.008) * noise

    def _levelled(self, field: int, quantile: float) -> Raster:
        """A noise field whose zero lies at a quantile, so that this share of the scene is negative."""
        level = np.quantile(_noise(REFERENCE_SHAPE, self.seed, field), quantile)
        return _noise(self.shape, self.seed, field) - np.float32(level)


def _clipped(values: Raster, highest: float = 1) -> Raster:
    clipped: Raster = np.clip(values, 0, highest)
    return clipped


def _noise(shape: tuple[int, int], seed: int, field: int) -> Raster:
    generator = np.random.default_rng([seed, field])
    total = np.zeros(shape, np.float32)
    for octave in range(OCTAVES):
        cells = COARSEST_CELLS * 2**octave
        nodes = generator.standard_normal((cells + 3, cells + 3), dtype=np.float32) / 2**octave
        total += _spline(cells, shape[0]) @ nodes @ _spline(cells, shape[1]).T
    return total


def _spline(cells: int, pixels: int) -> NDArray[np.float32]:
    """Weights of the nodes in each pixel: the uniform cubic B-spline, (pixels, cells + 3)."""
    position = (np.arange(pixels) + 0.5) * cells / pixels
    cell = np.minimum(position.astype(int), cells - 1)
    t = position - cell
    pieces = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    weights = np.zeros((pixels, cells + 3), np.float32)
    for offset, piece in enumerate(pieces):
        weights[np.arange(pixels), cell + offset] = piece / 6
    return weights
