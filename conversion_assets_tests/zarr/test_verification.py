from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_assets.zarr.product_folder import local_product
from conversion_assets.zarr.quicklook import quicklook
from conversion_assets.zarr.summary import summarize
from conversion_assets.zarr.verification import (
    TIME_TOLERANCE,
    CheckOutcome,
    check_completeness,
    check_opens,
    check_times,
    check_type,
)
from conversion_assets_tests.conftest import Opened
from conversion_assets_tests.safe_products import ProductKind

from .conftest import ConvertedProduct
from .handmade import END, START, Layer, Values, band, edit_json, make_zarr, ramp

B02 = "measurements/reflectance/r10m/b02"
B03 = "measurements/reflectance/r10m/b03"


def layers() -> list[Layer]:
    return [
        band(B02, ramp()),
        band(B03, ramp(), separator="/"),
        band("quality/mask/b02", np.zeros((10, 10), np.uint8), fill_value=None),
        band("conditions/angle", np.array(3.5), chunks=(), dimensions=()),
        band("conditions/nothing", np.empty((0, 3)), chunks=(1, 3)),
    ]


@pytest.fixture
def product(tmp_path: Path) -> Path:
    return make_zarr(tmp_path, layers())


def objects_of(product: Path) -> list[str]:
    return sorted(str(path.relative_to(product)) for path in product.rglob("*") if path.is_file())


def refusal(product: Path, opened: Opened = local_product) -> str:
    outcome = check_completeness(opened(product))
    assert not outcome.passed
    return outcome.detail


def opening(product: Path, opened: Opened = local_product) -> CheckOutcome:
    return check_opens(opened(product))


class TestCompleteness:
    def test_a_whole_product_passes(self, product: Path, opened: Opened) -> None:
        outcome = check_completeness(opened(product))
        assert outcome.passed
        assert outcome.numbers == {
            "arrays": 5,
            "chunks_expected": 28,
            "chunks_found": 28,
            "chunk_bytes": sum(array.stored_bytes for array in summarize(local_product(product)).arrays),
            "faults": 0,
        }

    @given(data=st.data())
    def test_no_object_may_be_missing(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        product = make_zarr(tmp_path_factory.mktemp("product"), layers()[:3])
        victim = data.draw(st.sampled_from(objects_of(product)))
        (product / victim).unlink()
        assert victim in refusal(product)

    def test_the_first_missing_chunk_is_named_and_all_are_counted(
        self, product: Path, opened: Opened
    ) -> None:
        for key in ("0.2", "1.0", "2.1"):
            (product / B02 / key).unlink()
        assert f"{B02}/0.2 is missing, one of 3 of 9 chunks" in refusal(product, opened)

    @pytest.mark.parametrize(
        "stray", [".keep", f"{B02}/3.0", f"{B02}/0.0.partial", f"{B03}/0.0", "0.0", "notes/a"]
    )
    def test_foreign_objects_are_refused(self, product: Path, stray: str) -> None:
        (product / stray).parent.mkdir(exist_ok=True)
        (product / stray).write_bytes(b"x")
        assert f"{stray} belongs to no array" in refusal(product)

    def test_links_are_refused(self, product: Path, tmp_path: Path) -> None:
        chunk = product / B02 / "0.0"
        chunk.rename(tmp_path / "elsewhere")
        chunk.symlink_to(tmp_path / "elsewhere")
        assert f"{B02}/0.0 is not a regular file" in refusal(product)

    def test_pipes_are_refused(self, product: Path) -> None:
        os.mkfifo(product / "pipe")
        assert "pipe is not a regular file" in refusal(product)

    def test_empty_chunks_are_refused(self, product: Path, opened: Opened) -> None:
        (product / B02 / "1.1").write_bytes(b"")
        assert f"{B02}/1.1 is empty" in refusal(product, opened)

    def test_truncated_metadata_are_refused(self, product: Path, opened: Opened) -> None:
        file = product / ".zmetadata"
        file.write_bytes(file.read_bytes()[:-20])
        assert "it is not JSON" in refusal(product, opened)

    def test_a_product_that_is_not_there_is_refused(self, tmp_path: Path, opened: Opened) -> None:
        assert "cannot be read" in refusal(tmp_path / "nothing.zarr", opened)

    def test_a_changed_document_is_refused(self, product: Path, opened: Opened) -> None:
        edit_json(product / B02 / ".zattrs", lambda attributes: attributes.update(units="m"))
        assert f"{B02}/.zattrs differs from its copy" in refusal(product, opened)

    def test_an_unreadable_document_is_refused(self, product: Path) -> None:
        (product / B02 / ".zattrs").write_text("{")
        assert f"{B02}/.zattrs differs from its copy" in refusal(product)

    def test_documents_that_are_not_consolidated_are_refused(self, product: Path, opened: Opened) -> None:
        (product / "quality" / ".zattrs").write_text("{}")
        assert "quality/.zattrs is not in .zmetadata" in refusal(product, opened)

    def test_documents_with_nan_agree_with_themselves(self, tmp_path: Path) -> None:
        product = make_zarr(tmp_path, [band(B02, ramp(), attributes={"missing": float("nan")})])
        assert check_completeness(local_product(product)).passed

    def test_the_metadata_of_a_sub_product_must_agree(self, tmp_path: Path, opened: Opened) -> None:
        layer = band("S01_VV/measurements/grd", ramp())
        product = make_zarr(tmp_path, [layer], containers=["S01_VV"])
        assert check_completeness(opened(product)).passed
        edit_json(product / "S01_VV/.zmetadata", lambda document: document["metadata"].popitem())
        assert "S01_VV/.zmetadata differs" in refusal(product, opened)

    def test_an_impossible_array_is_refused(self, product: Path) -> None:
        def lie(document: dict[str, dict[str, dict[str, object]]]) -> None:
            document["metadata"][f"{B02}/.zarray"]["chunks"] = [0, 0]

        edit_json(product / ".zmetadata", lie)
        assert f"{B02}/.zarray describes no array" in refusal(product)

    def test_an_immense_array_is_refused_without_counting_through_it(self, product: Path) -> None:
        def lie(document: dict[str, dict[str, dict[str, object]]]) -> None:
            document["metadata"][f"{B02}/.zarray"].update(shape=[10**15, 10**15], chunks=[4, 4])

        edit_json(product / ".zmetadata", lie)
        assert f"{B02}/0.3 is missing" in refusal(product)

    def test_many_faults_are_counted(self, product: Path) -> None:
        for number in range(9):
            (product / f"stray{number}").touch()
        assert refusal(product).endswith("; and 6 more.")


def sparse() -> Values:
    """Make an image that holds data in the last of its nine chunks only."""
    image = np.zeros((192, 192), np.uint16)
    image[130:, 130:] = ramp(62, 62)
    return image


class TestOpening:
    def test_a_whole_product_passes(self, product: Path, opened: Opened) -> None:
        outcome = opening(product, opened)
        assert outcome.passed, outcome.detail
        assert outcome.numbers == {"arrays": 2, "chunks_read": 2, "empty": 0, "faults": 0}

    @pytest.mark.parametrize(
        "empty",
        [
            band(B02, np.zeros((10, 10), np.uint16)),
            band(B02, np.full((10, 10), 65535, np.uint16), fill_value=65535),
            band(B02, np.full((10, 10), np.nan), fill_value=float("nan")),
            band(B02, np.full((10, 10), np.inf), fill_value=float("nan")),
            band(B02, np.zeros((10, 10), np.uint16), fill_value=None),
            band(B02, np.zeros((10, 10), np.complex64), fill_value=None),
        ],
    )
    def test_a_band_without_data_fails(self, tmp_path: Path, empty: Layer) -> None:
        outcome = opening(make_zarr(tmp_path, [empty, band(B03, ramp())]))
        assert not outcome.passed
        assert f"{B02} holds nothing but fill values" in outcome.detail
        assert outcome.numbers["empty"] == 1
        assert outcome.numbers["chunks_read"] == 9 + 1

    @pytest.mark.parametrize(
        "constant",
        [
            band(B02, np.full((10, 10), 1000, np.uint16)),
            band(B02, np.zeros((10, 10)), fill_value=float("nan")),
            band(B02, np.zeros((10, 10), np.uint16), fill_value=65535),
        ],
    )
    def test_a_flat_band_passes(self, tmp_path: Path, constant: Layer) -> None:
        assert opening(make_zarr(tmp_path, [constant])).passed

    def test_data_off_the_centre_are_found(self, tmp_path: Path, opened: Opened) -> None:
        outcome = opening(make_zarr(tmp_path, [band(B02, sparse(), chunks=(64, 64))]), opened)
        assert outcome.passed
        assert outcome.numbers["chunks_read"] == 2

    @pytest.mark.parametrize(
        "auxiliary",
        [
            band("measurements/mask", np.zeros((10, 10), np.uint8), attributes={"flag_meanings": "cloud"}),
            band("measurements/valid", np.zeros((10, 10), np.bool_), fill_value=None),
            band("measurements/orphans/oa01_radiance", np.zeros((10, 10), np.uint16)),
            band("measurements/none", np.zeros((0, 4)), chunks=(1, 4), dimensions=("z", "u")),
            band(
                "measurements/name", np.array(["IW1", "IW2"]), chunks=(2,), dimensions=("s",), fill_value=None
            ),
        ],
    )
    def test_masks_and_the_like_may_be_empty(self, tmp_path: Path, auxiliary: Layer) -> None:
        outcome = opening(make_zarr(tmp_path, [band("measurements/b02", ramp()), auxiliary]))
        assert outcome.passed, outcome.detail

    def test_coordinates_may_be_empty(self, tmp_path: Path) -> None:
        image = band("measurements/b02", ramp(), attributes={"coordinates": "height"})
        height = band("measurements/height", np.zeros((10, 10), np.int16))
        assert opening(make_zarr(tmp_path, [image, height])).passed

    def test_one_empty_channel_is_no_fault_by_night(self, tmp_path: Path) -> None:
        bands = [
            band("measurements/s1_radiance", np.zeros((10, 10), np.int16)),
            band("measurements/s8_bt", ramp()),
        ]
        outcome = opening(make_zarr(tmp_path, bands, product_type="S03SLSRBT"))
        assert outcome.passed
        assert outcome.numbers["empty"] == 1

    def test_no_channel_with_data_is_a_fault_at_any_time(self, tmp_path: Path) -> None:
        bands = [band("measurements/s1_radiance", np.zeros((10, 10), np.int16))]
        outcome = opening(make_zarr(tmp_path, bands, product_type="S03SLSRBT"))
        assert outcome.detail == "no array of the measurements holds data."

    def test_a_product_without_measurements_fails(self, tmp_path: Path) -> None:
        assert (
            opening(make_zarr(tmp_path, [band("conditions/b02", ramp())])).detail
            == "it holds no measurements."
        )

    def test_a_chunk_that_does_not_decode_is_named(self, product: Path, opened: Opened) -> None:
        (product / B02 / "1.1").write_bytes(b"not blosc")
        outcome = opening(product, opened)
        assert not outcome.passed
        assert f"{B02} does not decode: " in outcome.detail

    def test_damaged_chunks_of_masks_are_found_too(self, tmp_path: Path) -> None:
        mask = band("measurements/mask", np.zeros((10, 10), np.uint8), attributes={"flag_masks": [1]})
        product = make_zarr(tmp_path, [band("measurements/b02", ramp()), mask])
        (product / "measurements/mask/1.1").write_bytes(b"not blosc")
        assert "measurements/mask does not decode" in opening(product).detail

    def test_a_product_that_does_not_open_fails(self, product: Path, opened: Opened) -> None:
        (product / ".zmetadata").write_text("{")
        assert "it does not open: PermanentError" in opening(product, opened).detail

    def test_groups_that_contradict_one_another_fail(self, tmp_path: Path) -> None:
        bands = [band("measurements/b02", ramp()), band("measurements/b03", ramp(8, 8))]
        assert "it does not open: ValueError" in opening(make_zarr(tmp_path, bands)).detail


class TestType:
    def test_the_expected_type_passes(self, product: Path) -> None:
        assert check_type(summarize(local_product(product)), "S02MSIL1C").passed

    def test_another_type_fails_and_both_are_named(self, product: Path) -> None:
        outcome = check_type(summarize(local_product(product)), "S02MSIL2A")
        assert not outcome.passed
        assert outcome.numbers == {"product_type": "S02MSIL1C", "expected_type": "S02MSIL2A"}
        assert "S02MSIL1C" in outcome.detail
        assert "S02MSIL2A" in outcome.detail


SHIFTS = st.timedeltas(timedelta(seconds=-3), timedelta(seconds=3))
START_TIME, END_TIME = datetime.fromisoformat(START), datetime.fromisoformat(END)


@pytest.fixture(scope="module")
def timed_product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_zarr(tmp_path_factory.mktemp("timed"), [band(B02, ramp())])


class TestTimes:
    @given(SHIFTS, SHIFTS)
    def test_times_agree_within_a_second(
        self, timed_product: Path, early: timedelta, late: timedelta
    ) -> None:
        outcome = check_times(summarize(local_product(timed_product)), START_TIME + early, END_TIME + late)
        assert outcome.passed == (max(abs(early), abs(late)) <= TIME_TOLERANCE)

    def test_a_start_alone_is_enough(self, timed_product: Path) -> None:
        outcome = check_times(summarize(local_product(timed_product)), START_TIME)
        assert outcome.passed
        assert outcome.numbers == {"start_difference_s": 0.0}

    def test_times_without_a_zone_are_utc(self, timed_product: Path) -> None:
        assert check_times(summarize(local_product(timed_product)), START_TIME.replace(tzinfo=None)).passed

    def test_zones_are_understood(self, timed_product: Path) -> None:
        there = START_TIME.astimezone(datetime.fromisoformat("2024-01-01T00:00:00+09:00").tzinfo)
        assert there.tzinfo != UTC
        assert check_times(summarize(local_product(timed_product)), there).passed

    @pytest.mark.parametrize("value", ["null", None, 3, ""])
    def test_times_that_are_none_fail(self, tmp_path: Path, value: object) -> None:
        product = make_zarr(tmp_path, [band(B02, ramp())], properties={"start_datetime": value})
        outcome = check_times(summarize(local_product(product)), START_TIME)
        assert not outcome.passed
        assert "no valid start and end" in outcome.detail

    def test_an_end_before_the_start_fails(self, tmp_path: Path) -> None:
        properties = {"end_datetime": "2024-06-15T10:25:58.9Z"}
        product = make_zarr(tmp_path, [band(B02, ramp())], properties=properties)
        outcome = check_times(summarize(local_product(product)), START_TIME)
        assert not outcome.passed
        assert "ends before it starts" in outcome.detail


@pytest.mark.parametrize("kind", ProductKind)
class TestProductsOfEopf:
    def test_they_are_complete(self, converted: ConvertedProduct, kind: ProductKind) -> None:
        outcome = check_completeness(local_product(converted(kind)))
        assert outcome.passed, outcome.detail

    def test_they_open(self, converted: ConvertedProduct, kind: ProductKind) -> None:
        outcome = opening(converted(kind))
        assert outcome.passed, outcome.detail

    def test_they_keep_their_times(self, converted: ConvertedProduct, kind: ProductKind) -> None:
        summary = summarize(local_product(converted(kind)))
        start = datetime.strptime(summary.name.split("_")[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        assert check_times(summary, start).passed


def test_a_product_of_eopf_is_the_same_in_a_bucket(converted: ConvertedProduct, in_bucket: Opened) -> None:
    folder = local_product(converted(ProductKind.S2_MSI_L1C))
    stored = in_bucket(converted(ProductKind.S2_MSI_L1C))
    assert check_completeness(stored) == check_completeness(folder)
    assert check_opens(stored) == check_opens(folder)
    assert summarize(stored) == summarize(folder)
    assert quicklook(stored) == quicklook(folder)


def test_outcomes_are_json(product: Path) -> None:
    outcomes = [
        check_completeness(local_product(product)),
        opening(product),
        check_type(summarize(local_product(product)), "S02MSIL1C"),
    ]
    assert json.loads(json.dumps([dict(outcome.numbers) for outcome in outcomes]))
