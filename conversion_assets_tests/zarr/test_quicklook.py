from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from conversion_assets.errors import PermanentError
from conversion_assets.zarr import quicklook as module
from conversion_assets.zarr.chunks import ChunkGrid
from conversion_assets.zarr.product_folder import local_product
from conversion_assets.zarr.quicklook import DEFAULT_SIZE, MAX_BYTES, Quicklook, QuicklookError, quicklook
from conversion_assets_tests.conftest import Opened
from conversion_assets_tests.safe_products import ProductKind

from .conftest import ConvertedProduct
from .handmade import Layer, Values, band, make_zarr, ramp

R10M = "measurements/reflectance/r10m"
NOISE = np.random.default_rng(7)


def painted(product: Path, size: int = DEFAULT_SIZE) -> Quicklook:
    return quicklook(local_product(product), size)


def shown(picture: Quicklook, mode: str = "RGB") -> np.ndarray[Any, np.dtype[np.int64]]:
    """Decode a picture; its media type must tell the truth."""
    image = Image.open(io.BytesIO(picture.image))
    assert Image.MIME[str(image.format)] == picture.media_type
    return np.asarray(image.convert(mode)).astype(np.int64)


def tile(values: dict[str, Values], group: str = R10M) -> list[Layer]:
    return [band(f"{group}/{name}", image) for name, image in values.items()]


def squares(value: int, size: int = 32) -> Values:
    """Make an image of a dark half above and a bright half below."""
    image = np.full((size, size), 1000, np.uint16)
    image[size // 2 :] = value
    return image


class TestTrueColour:
    def test_bands_keep_their_colour(self, tmp_path: Path) -> None:
        bands = {"b02": squares(1010), "b03": squares(1400), "b04": squares(3000)}
        picture = painted(make_zarr(tmp_path, tile(bands)), size=32)
        red, green, blue = shown(picture)[28, 16]
        assert red > green + 60 > blue + 60
        assert "Red B04, green B03, blue B02" in picture.caption

    def test_the_first_row_is_on_top(self, tmp_path: Path) -> None:
        image = shown(
            painted(make_zarr(tmp_path, tile({name: squares(3000) for name in ("b02", "b03", "b04")})))
        )
        assert image[:100].mean() < 20
        assert image[-100:].mean() > 235

    def test_pixels_without_data_are_black(self, tmp_path: Path) -> None:
        bands = {name: ramp(64, 64) + 5000 for name in ("b02", "b03", "b04")}
        bands["b03"][:32, :32] = 0
        image = shown(painted(make_zarr(tmp_path, tile(bands)), size=64))
        assert image[2:28, 2:28].max() < 16
        assert image[40:, 40:].min() > 100

    def test_the_coarsest_grid_that_fills_the_picture_is_taken(self, tmp_path: Path) -> None:
        bands = ("b02", "b03", "b04")
        coarse = tile(
            {name: np.full((16, 16), 9, np.uint16) for name in bands}, "measurements/reflectance/r60m"
        )
        middle = tile({name: squares(3000, 32) for name in bands}, "measurements/reflectance/r20m")
        fine = tile({name: np.full((96, 96), 9, np.uint16) for name in bands})
        image = shown(painted(make_zarr(tmp_path, [*coarse, *middle, *fine]), size=32))
        assert image[-8:].mean() > image[:8].mean() + 100

    def test_a_flat_image_is_grey(self, tmp_path: Path) -> None:
        bands = {name: np.full((32, 32), 1234, np.uint16) for name in ("b02", "b03", "b04")}
        assert set(shown(painted(make_zarr(tmp_path, tile(bands)))).flat) == {180}


def olci(values: Values, *, latitude: Values | None = None, longitude: Values | None = None) -> list[Layer]:
    names = ("oa04_radiance", "oa06_radiance", "oa08_radiance")
    bands = [
        band(
            f"measurements/{name}", values, attributes={"coordinates": "latitude longitude"}, fill_value=65535
        )
        for name in names
    ]
    places = {"latitude": latitude, "longitude": longitude}
    degrees = {name: np.asarray(place * 1e6, np.int32) for name, place in places.items() if place is not None}
    attributes = {"scale_factor": 1e-6}
    return bands + [
        band(f"measurements/{name}", place, attributes=attributes, fill_value=-(2**31))
        for name, place in degrees.items()
    ]


def place(first: float, last: float, size: int = 32) -> Values:
    """Make a coordinate that grows or falls along the columns."""
    return np.tile(np.linspace(first, last, size), (size, 1))


class TestNorthUp:
    BRIGHT_LAST_ROW_AND_COLUMN = np.add.outer(np.arange(1, 33), np.arange(1, 33)).astype(np.uint16)

    @pytest.mark.parametrize(
        ("latitudes", "longitudes", "brightest"),
        [
            ((50, 40), (5, 10), (-1, -1)),
            ((40, 50), (5, 10), (0, -1)),
            ((50, 40), (10, 5), (-1, 0)),
            ((40, 50), (10, 5), (0, 0)),
            ((50, 40), (178, -178), (-1, -1)),
            ((50, 40), (-178, 178), (-1, 0)),
        ],
    )
    def test_swaths_are_turned_by_their_places(
        self,
        tmp_path: Path,
        latitudes: tuple[float, float],
        longitudes: tuple[float, float],
        brightest: tuple[int, int],
    ) -> None:
        layers = olci(
            self.BRIGHT_LAST_ROW_AND_COLUMN, latitude=place(*latitudes).T, longitude=place(*longitudes)
        )
        image = shown(painted(make_zarr(tmp_path, layers, product_type="S03OLCEFR"), size=32), "L")
        assert image[brightest] > 230
        assert image[-1 - brightest[0], -1 - brightest[1]] < 25

    def test_places_without_data_turn_nothing(self, tmp_path: Path) -> None:
        unknown = np.full((32, 32), -(2**31) / 1e6)
        layers = olci(self.BRIGHT_LAST_ROW_AND_COLUMN, latitude=unknown, longitude=unknown)
        assert shown(painted(make_zarr(tmp_path, layers), size=32), "L")[-1, -1] > 230

    @pytest.mark.parametrize(
        ("orbit_state", "brightest"), [("ascending", (0, -1)), ("descending", (-1, 0)), ("", (-1, -1))]
    )
    def test_radar_is_turned_by_the_orbit(
        self, tmp_path: Path, orbit_state: str, brightest: tuple[int, int]
    ) -> None:
        layer = band("S01_VV/measurements/grd", self.BRIGHT_LAST_ROW_AND_COLUMN, fill_value=None)
        product = make_zarr(tmp_path, [layer], properties={"sat:orbit_state": orbit_state})
        image = shown(painted(product, size=32), "L")
        assert image[brightest] > 230
        assert image[-1 - brightest[0], -1 - brightest[1]] < 25


class TestRadar:
    def test_both_polarisations_make_a_composite(self, tmp_path: Path) -> None:
        layers = [
            band(f"S01_{name}/measurements/grd", image, fill_value=None)
            for name, image in {"VV": squares(3000), "VH": squares(1000)[::-1] + ramp(32, 32)}.items()
        ]
        picture = painted(make_zarr(tmp_path, layers, properties={"platform": "sentinel-1a"}), size=32)
        assert picture.title == "Sentinel-1A S02MSIL1C, VV and VH amplitude"
        assert picture.caption.startswith("Red VV, green VH, blue VV/VH, in decibels")
        assert shown(picture).shape == (32, 32, 3)

    @pytest.mark.parametrize("polarisation", ["HH", "HV", "VH", "VV"])
    def test_one_polarisation_is_grey(self, tmp_path: Path, polarisation: str) -> None:
        layer = band(f"S01_{polarisation}/measurements/grd", squares(3000), fill_value=None)
        picture = painted(make_zarr(tmp_path, [layer]), size=32)
        assert Image.open(io.BytesIO(picture.image)).mode == "L"
        assert polarisation in picture.title

    def test_power_is_averaged_not_amplitude(self, tmp_path: Path) -> None:
        image = np.full((64, 64), 5, np.uint16)
        image[:32] = np.tile([1, 7], 32)
        product = make_zarr(tmp_path, [band("S01_VV/measurements/grd", image, fill_value=None)])
        assert set(shown(painted(product, size=32), "L").flat) == {127}

    def test_the_border_is_black(self, tmp_path: Path) -> None:
        image = ramp(32, 32) + 1000
        image[:, :8] = 0
        picture = painted(
            make_zarr(tmp_path, [band("S01_VV/measurements/grd", image, fill_value=None)]), size=32
        )
        assert shown(picture, "L")[:, :6].max() < 12


class TestAnyImage:
    @pytest.mark.parametrize("dtype", ["i2", "u1", "f4", "f8", "c8"])
    def test_the_first_image_is_grey(self, tmp_path: Path, dtype: str) -> None:
        values = (ramp(32, 32) // 5).astype(dtype)
        picture = painted(make_zarr(tmp_path, [band("measurements/lst", values, fill_value=None)]), size=32)
        image = shown(picture, "L")
        assert image[0, 0] < 25
        assert image[-1, -1] > 220
        assert picture.caption.startswith("measurements/lst in grey")

    def test_masks_coordinates_and_orphans_are_passed_over(self, tmp_path: Path) -> None:
        layers = [
            band("measurements/a_place", ramp()),
            band("measurements/b_mask", ramp(), attributes={"flag_meanings": "land sea"}),
            band("measurements/orphans/c", ramp()),
            band("measurements/d_image", ramp(), attributes={"coordinates": "a_place"}),
        ]
        assert "measurements/d_image" in painted(make_zarr(tmp_path, layers)).caption

    def test_a_product_without_an_image_has_no_quicklook(self, tmp_path: Path) -> None:
        layer = band("measurements/range", np.arange(1, 99), chunks=(10,), dimensions=("time",))
        with pytest.raises(QuicklookError, match="no measurement of it has two dimensions") as caught:
            painted(make_zarr(tmp_path, [layer]))
        assert isinstance(caught.value, PermanentError)

    def test_a_damaged_product_has_no_quicklook(self, tmp_path: Path) -> None:
        product = make_zarr(tmp_path, [band("measurements/lst", ramp())])
        (product / "measurements/lst/0.0").write_bytes(b"not blosc")
        with pytest.raises(QuicklookError, match="no quicklook can be made"):
            painted(product)

    def test_no_product_has_no_quicklook(self, tmp_path: Path) -> None:
        with pytest.raises(QuicklookError):
            painted(tmp_path / "nothing.zarr")

    def test_an_image_without_data_is_black(self, tmp_path: Path) -> None:
        picture = painted(make_zarr(tmp_path, [band("measurements/lst", np.zeros((32, 32), np.uint16))]))
        assert shown(picture).max() == 0


class TestInABucket:
    """A picture is the same wherever the product lies."""

    @pytest.mark.parametrize(
        "layers",
        [
            tile({"b02": squares(1010, 12), "b03": squares(1400, 12), "b04": squares(3000, 12)}),
            olci(ramp(8, 8), latitude=place(40, 50, 8).T, longitude=place(10, 5, 8)),
            [band("S01_VV/measurements/grd", squares(3000, 12), fill_value=None, separator="/")],
        ],
        ids=["reflectance", "radiance", "radar"],
    )
    def test_it_is_that_of_the_folder(self, tmp_path: Path, in_bucket: Opened, layers: list[Layer]) -> None:
        product = make_zarr(tmp_path, layers)
        assert quicklook(in_bucket(product), size=32) == painted(product, size=32)

    def test_no_product_has_no_quicklook(self, tmp_path: Path, in_bucket: Opened) -> None:
        with pytest.raises(QuicklookError, match=r"^s3://products/.*/nothing\.zarr"):
            quicklook(in_bucket(tmp_path / "nothing.zarr"))


class TestSize:
    @pytest.mark.parametrize("size", [64, 320, 900])
    def test_noise_stays_small(self, tmp_path: Path, size: int) -> None:
        noise = {name: NOISE.integers(1, 9999, (400, 400), np.uint16) for name in ("b02", "b03", "b04")}
        layers = [band(f"{R10M}/{name}", image, chunks=(100, 100)) for name, image in noise.items()]
        picture = painted(make_zarr(tmp_path, layers), size=size)
        assert len(picture.image) <= MAX_BYTES
        assert max(shown(picture).shape) <= size

    @pytest.mark.parametrize(("height", "width"), [(500, 250), (33, 700), (2, 2), (9, 40)])
    def test_the_longest_side_is_the_size(self, tmp_path: Path, height: int, width: int) -> None:
        layer = band("measurements/lst", ramp(height, width), chunks=(100, 100))
        image = shown(painted(make_zarr(tmp_path, [layer]), size=100))
        assert max(image.shape[:2]) == 100
        assert min(image.shape[:2]) == max(1, 100 * min(height, width) // max(height, width))

    @given(
        arrays.arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.just(7.0)),
        st.integers(1, 30),
    )
    def test_averaging_a_constant_changes_nothing(self, values: Values, size: int) -> None:
        means = module._block_means(values, size)
        assert max(means.shape) == min(size, max(values.shape))
        assert (means == 7).all()

    def test_averages_leave_out_what_is_no_data(self) -> None:
        samples = np.array([[1, np.nan, 3, 5], [1, 1, np.nan, np.nan]], np.float32)
        assert module._block_means(samples, 2).tolist() == [[1.0, 4.0]]
        assert np.isnan(module._block_means(samples * np.float32("nan"), 2)).all()

    @given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 9))
    def test_samples_lie_on_a_regular_grid_across_chunks(self, height: int, width: int, size: int) -> None:
        step = max(1, max(height, width) // (size * module.SAMPLES_PER_PIXEL))
        grid = ChunkGrid((height, width), (7, 5))
        image = ramp(height, width)
        samples = module._samples(image, grid, size, lambda values: values.astype(np.float32))
        assert (samples == image[::step, ::step]).all()


@pytest.mark.parametrize("kind", ProductKind)
def test_products_of_eopf_are_painted(converted: ConvertedProduct, kind: ProductKind) -> None:
    picture = painted(converted(kind))
    image = shown(picture)
    assert max(image.shape) == 320
    assert len(picture.image) <= MAX_BYTES
    assert image.std() > 10
    assert picture.title.startswith(f"Sentinel-{kind.mission[1]}")
