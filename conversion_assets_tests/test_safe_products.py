"""The synthetic products are what they claim to be."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
import zipfile
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import rasterio
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.warp import transform

from conversion_assets.errors import OrderError
from conversion_assets_tests.safe_products import (
    SMALLEST_SCALE,
    SUFFIXES,
    Checksum,
    ProductKind,
    make_archive,
    make_product,
)
from conversion_assets_tests.safe_products.scene import Scene, Surface, reflectance
from conversion_assets_tests.safe_products.sentinel1_schema import schema_of
from conversion_assets_tests.safe_products.sentinel2_frame import TileGrid
from conversion_assets_tests.safe_products.xml import Content, build

KINDS = list(ProductKind)
STAMP = r"\d{8}T\d{6}"
NAMES = {
    ProductKind.S1_IW_GRDH: rf"S1A_IW_GRDH_1SDV_{STAMP}_{STAMP}_\d{{6}}_[0-9A-F]{{6}}_[0-9A-F]{{4}}\.SAFE",
    ProductKind.S2_MSI_L1C: rf"S2A_MSIL1C_{STAMP}_N\d{{4}}_R\d{{3}}_T32TLN_{STAMP}\.SAFE",
    ProductKind.S2_MSI_L2A: rf"S2A_MSIL2A_{STAMP}_N\d{{4}}_R\d{{3}}_T32TLN_{STAMP}\.SAFE",
    ProductKind.S3_OL_EFR: (
        rf"S3A_OL_1_EFR____{STAMP}_{STAMP}_{STAMP}_\d{{4}}_\d{{3}}_\d{{3}}_\d{{4}}_PS1_O_NT_004\.SEN3"
    ),
    ProductKind.S3_OL_ERR: (
        rf"S3A_OL_1_ERR____{STAMP}_{STAMP}_{STAMP}_\d{{4}}_\d{{3}}_\d{{3}}_\d{{4}}_PS1_O_NT_004\.SEN3"
    ),
}
GML = "{http://www.opengis.net/gml}"


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> dict[ProductKind, Path]:
    folder = tmp_path_factory.mktemp("products")
    return {kind: make_product(kind, folder, scale=SMALLEST_SCALE[kind]) for kind in KINDS}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return make_product(ProductKind.S1_IW_GRDH, tmp_path, scale=0.001)


def manifest_of(product: Path) -> Path:
    return product / ("xfdumanifest.xml" if product.suffix == ".SEN3" else "manifest.safe")


def files_of(product: Path) -> dict[str, bytes]:
    return {
        path.relative_to(product).as_posix(): path.read_bytes()
        for path in product.rglob("*")
        if path.is_file()
    }


def text_of(root: etree._Element, tag: str) -> str:
    found = next(root.iter(tag)).text
    assert found
    return found


def footprint(product: Path) -> list[tuple[float, float]]:
    """Latitude and longitude of the corners in the manifest."""
    root = etree.parse(manifest_of(product)).getroot()
    tag = f"{GML}posList" if product.suffix == ".SEN3" else f"{GML}coordinates"
    numbers = [float(number) for number in re.split(r"[ ,]+", text_of(root, tag).strip())]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as image:
        return np.asarray(image.read(1))


@pytest.mark.parametrize("kind", KINDS)
def test_name_follows_the_convention(products: dict[ProductKind, Path], kind: ProductKind) -> None:
    assert re.fullmatch(NAMES[kind], products[kind].name)


@pytest.mark.parametrize("kind", KINDS)
def test_manifest_lists_every_other_file(products: dict[ProductKind, Path], kind: ProductKind) -> None:
    product = products[kind]
    root = etree.parse(manifest_of(product)).getroot()
    listed = [location.get("href") for location in root.iter("fileLocation")]
    assert sorted(map(str, listed)) == sorted(
        f"./{name}" for name in files_of(product) if name != manifest_of(product).name
    )


@pytest.mark.parametrize("kind", KINDS)
def test_manifest_tells_sizes_and_checksums(products: dict[ProductKind, Path], kind: ProductKind) -> None:
    files = files_of(products[kind])
    algorithm = "sha3_256" if kind.mission == "S2" else "md5"
    root = etree.parse(manifest_of(products[kind])).getroot()
    for stream in root.iter("byteStream"):
        location, checksum = stream.find("fileLocation"), stream.find("checksum")
        assert location is not None
        assert checksum is not None
        content = files[str(location.get("href")).removeprefix("./")]
        assert stream.get("size") == str(len(content))
        assert checksum.get("checksumName") == ("SHA3-256" if kind.mission == "S2" else "MD5")
        assert checksum.text == hashlib.new(algorithm, content).hexdigest()


@pytest.mark.parametrize("kind", [ProductKind.S2_MSI_L1C])
def test_old_checksums_can_be_asked_for(tmp_path: Path, kind: ProductKind) -> None:
    product = make_product(kind, tmp_path, scale=0.002, checksum=Checksum.MD5)
    checksum = next(etree.parse(manifest_of(product)).getroot().iter("checksum"))
    assert checksum.get("checksumName") == "MD5"
    assert len(checksum.text or "") == 32


@pytest.mark.parametrize("kind", KINDS)
def test_same_arguments_give_the_same_bytes(
    products: dict[ProductKind, Path], tmp_path: Path, kind: ProductKind
) -> None:
    again = make_product(kind, tmp_path, scale=SMALLEST_SCALE[kind])
    assert again.name == products[kind].name
    assert files_of(again) == files_of(products[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_another_seed_shows_another_scene(
    products: dict[ProductKind, Path], tmp_path: Path, kind: ProductKind
) -> None:
    other = make_product(kind, tmp_path, scale=SMALLEST_SCALE[kind], seed=1)
    mine, others = files_of(products[kind]), files_of(other)
    assert mine.keys() == others.keys()
    assert mine != others


@pytest.mark.parametrize("kind", KINDS)
def test_start_and_unit_are_in_the_name(tmp_path: Path, kind: ProductKind) -> None:
    start = datetime(2025, 2, 3, 6, 5, 7, tzinfo=timezone(timedelta(hours=2)))
    product = make_product(kind, tmp_path, scale=SMALLEST_SCALE[kind], start=start, unit="B")
    assert product.name.startswith(f"{kind.mission}B_")
    assert "20250203T040507" in product.name


@pytest.mark.parametrize("kind", KINDS)
def test_manifest_tells_when(products: dict[ProductKind, Path], kind: ProductKind) -> None:
    root = etree.parse(manifest_of(products[kind])).getroot()
    start = next(found for found in root.iter() if str(found.tag).endswith("}startTime")).text or ""
    stamp = datetime.fromisoformat(start).strftime("%Y%m%dT%H%M%S")
    assert stamp in products[kind].name


@pytest.mark.parametrize("kind", KINDS)
def test_footprint_lies_on_the_mediterranean_or_the_alps(
    products: dict[ProductKind, Path], kind: ProductKind
) -> None:
    for latitude, longitude in footprint(products[kind]):
        assert 35 < latitude < 52
        assert 0 < longitude < 20


def test_footprint_of_a_tile_is_that_of_its_rasters(products: dict[ProductKind, Path]) -> None:
    product = products[ProductKind.S2_MSI_L1C]
    with rasterio.open(next(product.glob("GRANULE/*/IMG_DATA/*_B02.jp2"))) as image:
        crs, bounds = image.crs, image.bounds
    corners = [(bounds.left, bounds.top), (bounds.right, bounds.bottom)]
    longitudes, latitudes = transform(crs, CRS.from_epsg(4326), *zip(*corners, strict=True))
    ring = footprint(product)
    assert [ring[0][0], ring[2][0]] == pytest.approx(latitudes)
    assert [ring[0][1], ring[2][1]] == pytest.approx(longitudes)
    assert ring[0] == ring[-1]


def test_radar_sees_sea_and_land(tmp_path: Path) -> None:
    product = make_product(ProductKind.S1_IW_GRDH, tmp_path, scale=0.005)
    shape = (83, 131)
    land = Scene(shape, 0).land
    with pytest.warns(NotGeoreferencedWarning):
        amplitude = pixels(next(product.glob("measurement/*-vv-*.tiff")))
    assert amplitude.shape == shape
    assert amplitude[land == 1].mean() > 2 * amplitude[land == 0].mean()


def test_bands_of_a_tile_show_one_scene(tmp_path: Path) -> None:
    product = make_product(ProductKind.S2_MSI_L2A, tmp_path, scale=0.01)
    folder = next(product.glob("GRANULE/*/IMG_DATA"))
    red, infrared = (pixels(next(folder.glob(f"R20m/*_{band}_20m.jp2"))) for band in ("B04", "B8A"))
    classes = pixels(next(folder.glob("R20m/*_SCL_20m.jp2")))
    water, forest = classes == 6, classes == 4
    assert infrared[forest].mean() > 2 * red[forest].mean()
    assert infrared[water].mean() < red[forest].mean()


def test_olci_radiance_is_physical(products: dict[ProductKind, Path]) -> None:
    path = products[ProductKind.S3_OL_EFR] / "Oa17_radiance.nc"
    with netCDF4.Dataset(path) as file:
        radiance = file["Oa17_radiance"][:]
    assert radiance.min() > 0
    assert radiance.max() < 300


def test_olci_tie_points_reach_the_last_column(products: dict[ProductKind, Path]) -> None:
    product = products[ProductKind.S3_OL_ERR]
    with netCDF4.Dataset(product / "geo_coordinates.nc") as full:
        longitude = full["longitude"][:]
    with netCDF4.Dataset(product / "tie_geo_coordinates.nc") as ties:
        assert np.array_equal(ties["longitude"][:, -1], longitude[:, -1])


def members_of(archive: Path) -> dict[str, bytes | None]:
    """Content by name; folders have none."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as content:
            return {
                info.filename.rstrip("/"): None if info.is_dir() else content.read(info)
                for info in content.infolist()
            }
    packed = archive.read_bytes()
    if archive.suffix == ".zst":
        packed = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    with tarfile.open(fileobj=BytesIO(packed)) as content:
        opened = {info.name: content.extractfile(info) for info in content}
        return {name: stream.read() if stream else None for name, stream in opened.items()}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("with_root", [True, False])
def test_archive_holds_the_product(small: Path, suffix: str, with_root: bool) -> None:
    archive = make_archive(small, suffix=suffix, with_root=with_root)
    prefix = f"{small.name}/" if with_root else ""
    members = members_of(archive)
    held = {name: content for name, content in members.items() if content is not None}
    assert archive.name == f"{small.name}{suffix}"
    assert held == {f"{prefix}{name}": content for name, content in files_of(small).items()}
    assert members[f"{prefix}annotation/calibration"] is None
    assert (small.name in members) == with_root


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_archive_is_the_same_at_any_time(small: Path, tmp_path: Path, suffix: str) -> None:
    first = make_archive(small, suffix=suffix).read_bytes()
    again = make_product(ProductKind.S1_IW_GRDH, tmp_path / "again", scale=0.001)
    assert make_archive(again, suffix=suffix).read_bytes() == first


def test_unknown_archive_is_refused(small: Path) -> None:
    with pytest.raises(OrderError, match="Choose one of"):
        make_archive(small, suffix=".rar")


def test_unknown_satellite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OrderError, match="no satellite of S3"):
        make_product(ProductKind.S3_OL_EFR, tmp_path, unit="C")


@pytest.mark.parametrize("scale", [0, -0.1, 1.5])
def test_impossible_scale_is_refused(tmp_path: Path, scale: float) -> None:
    with pytest.raises(OrderError, match="out of range"):
        make_product(ProductKind.S1_IW_GRDH, tmp_path, scale=scale)


def test_start_without_zone_is_refused(tmp_path: Path) -> None:
    naive = datetime(2024, 6, 15, tzinfo=UTC).replace(tzinfo=None)
    with pytest.raises(OrderError, match="without time zone"):
        make_product(ProductKind.S1_IW_GRDH, tmp_path, start=naive)


def test_existing_product_is_kept(small: Path) -> None:
    before = files_of(small)
    with pytest.raises(FileExistsError):
        make_product(ProductKind.S1_IW_GRDH, small.parent, scale=0.001, seed=1)
    assert files_of(small) == before


def test_other_tile_lies_elsewhere(tmp_path: Path) -> None:
    product = make_product(ProductKind.S2_MSI_L1C, tmp_path, scale=0.002, tile="19HCC")
    assert "_T19HCC_" in product.name
    latitude, longitude = footprint(product)[0]
    assert -40 < latitude < -32
    assert -72 < longitude < -66


@pytest.mark.parametrize(
    ("tile", "epsg", "left", "top"),
    [("46RER", 32646, 499980, 3100020), ("31TCJ", 32631, 300000, 4900020), ("33UUP", 32633, 300000, 5400000)],
)
def test_tiles_lie_where_real_ones_do(tile: str, epsg: int, left: int, top: int) -> None:
    assert TileGrid.of(tile) == TileGrid(epsg, left, top)


@pytest.mark.parametrize("tile", ["", "32TL", "61TLN", "00TLN", "32TAN", "32TLW", "32ILN", "../TLN"])
def test_impossible_tile_is_refused(tile: str) -> None:
    with pytest.raises(OrderError, match="no tile"):
        TileGrid.of(tile)


@settings(deadline=None)
@given(
    zone=st.integers(1, 60),
    band=st.sampled_from("CDEFGHJKLMNPQRSTUVW"),
    column=st.integers(0, 7),
    row=st.sampled_from("ABCDEFGHJKLMNPQRSTUV"),
)
def test_every_tile_lies_on_the_grid_near_its_band(zone: int, band: str, column: int, row: str) -> None:
    columns = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")[zone % 3]
    grid = TileGrid.of(f"{zone:02d}{band}{columns[column]}{row}")
    false_northing = 10_000_000 if band < "N" else 0
    south = 8 * ("CDEFGHJKLMNPQRSTUVW".index(band) - 10)
    assert grid.left % 60 == grid.top % 60 == 0
    assert 0 <= (grid.top - false_northing) - south * 110_600 <= 2_000_060
    assert grid.epsg % 100 == zone


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_scene_always_has_sea_land_and_clouds(seed: int) -> None:
    scene = Scene((40, 60), seed)
    assert scene.shares.sum(axis=0) == pytest.approx(1, abs=1e-4)
    assert scene.shares.min() >= 0
    for surface in (Surface.WATER, Surface.CLOUD):
        assert 0 < scene.percentage(surface) < 80
    assert 0.2 < scene.land.mean() < 0.95


@settings(deadline=None)
@given(surface=st.sampled_from(Surface), wavelength=st.floats(300, 2500))
def test_reflectance_is_a_share(surface: Surface, wavelength: float) -> None:
    assert 0 <= reflectance(surface, wavelength) < 1


def test_scene_is_the_same_at_any_resolution() -> None:
    fine, coarse = Scene((120, 120), 3), Scene((60, 60), 3)
    averaged = fine.height.reshape(60, 2, 60, 2).mean(axis=(1, 3))
    assert np.abs(averaged - coarse.height).max() < 0.01 * np.ptp(fine.height)


def test_tree_becomes_a_document() -> None:
    content: Content = {"@a": 1, "n:b": [{"#": 2.5}, "x"], "c": {"d": []}}
    document = etree.tostring(build("n:root", content, {"n": "urn:n"})).decode()
    assert document == '<n:root xmlns:n="urn:n" a="1"><n:b>2.5</n:b><n:b>x</n:b><c/></n:root>'


def test_schema_accepts_the_document_it_was_read_off(small: Path) -> None:
    path = next(small.glob("annotation/*.xml"))
    schema = etree.XMLSchema(etree.parse(small / "support" / "s1-level-1-product.xsd"))
    assert schema.validate(etree.parse(path))


def test_schema_knows_types() -> None:
    document = build("product", {"whole": 3, "part": "1.5e-3", "yes": "true", "word": "IW"})
    types = {str(found.get("name")): found.get("type") for found in schema_of(document).iter()}
    assert types["whole"] == "xs:integer"
    assert types["part"] == "xs:double"
    assert types["yes"] == "xs:boolean"
    assert types["word"] == "xs:string"


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "conversion_assets_tests.safe_products", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command_prints_the_archive(tmp_path: Path) -> None:
    done = run_command("S1_IW_GRDH", str(tmp_path), "--scale", "0.001", "--archive", ".tar.zst")
    archive = Path(done.stdout.strip())
    assert done.returncode == 0
    assert archive.parent == tmp_path
    assert archive.name.endswith(".SAFE.tar.zst")
    assert archive.is_file()


def test_command_tells_what_is_in_the_way(small: Path) -> None:
    done = run_command("S1_IW_GRDH", str(small.parent), "--scale", "0.001")
    assert done.returncode == 1
    assert small.name in done.stderr
    assert "Traceback" not in done.stderr
