from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from conversion_assets.criteria import (
    CodeVersions,
    Criteria,
    DataVersions,
    Product,
    TimeRange,
    eopf_version_called,
    product_types_called,
)
from conversion_assets.errors import OrderError
from conversion_assets_tests.safe.products import S1_NAME, S2_NAME, S3_NAME

NOW = CodeVersions(eopf="2.8.1", types=frozenset({"abc", "other"}))
CURRENT = DataVersions("files-types-abc", "files-eopf-2.8.1")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "product_type", "start"),
    [
        (S1_NAME, "S01SIWGRD", "2021-08-09T17:39:53"),
        (S2_NAME, "S02MSIL1C", "2021-09-08T04:27:01"),
        (S3_NAME, "S03OLCEFR", "2021-08-10T08:12:45"),
    ],
)
def test_name_tells_type_and_start(name: str, product_type: str, start: str) -> None:
    assert Product.named(name) == Product(product_type, moment(start))


@pytest.mark.parametrize("name", ["X", "", "S2A_MSIL1C_20219999T042701_N0301_R133_T46RER_20210908T070248"])
def test_other_names_tell_nothing(name: str) -> None:
    assert Product.named(name) is None


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2024-06-01/2024-06-30", "2024-06-01", "2024-07-01"),
        ("2024-06-01", "2024-06-01", "2024-06-02"),
        ("2024-06-01T12:00:00Z/2024-06-01T13:00:00+00:00", "2024-06-01T12:00:00", "2024-06-01T13:00:00"),
    ],
)
def test_range_of_times_has_its_days_whole(text: str, start: str, end: str) -> None:
    assert TimeRange.parse(text) == TimeRange(moment(start), moment(end))


@pytest.mark.parametrize("text", ["", "../..", "/", "June", "2024-07-01/2024-06-01", "9999-12-31", "1/2/3"])
def test_what_is_no_range_of_times_is_told(text: str) -> None:
    with pytest.raises(OrderError, match="no range of times"):
        TimeRange.parse(text)


def test_range_of_times_may_be_open() -> None:
    assert moment("1970-01-01") in TimeRange.parse("../2024-06-30")
    assert moment("2024-07-01") not in TimeRange.parse("../2024-06-30")
    assert moment("2100-01-01") in TimeRange.parse("2024-06-30/..")
    assert TimeRange.parse("2024-06-01/..").interval() == "2024-06-01T00:00:00Z/.."
    assert TimeRange.parse("2024-06-01").interval().endswith("/2024-06-01T23:59:59.999999Z")


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2200, 1, 1)))  # noqa: DTZ001 - made aware below
def test_a_day_holds_exactly_its_own_times(naive: datetime) -> None:
    aware = naive.replace(tzinfo=UTC)
    assert aware in TimeRange.parse(aware.date().isoformat())
    assert aware not in TimeRange.parse(f"../{datetime.fromordinal(aware.toordinal() - 1).date()}")


@pytest.mark.parametrize(
    ("product", "than", "is_older"),
    [
        ("files-eopf-2.8.1", "2.8.1", False),
        ("files-eopf-2.8.1", "2.10.0", True),
        ("files-eopf-2.10.0", "2.8.1", False),
        ("files-eopf-2.8.1rc1", "2.8.1", True),
        ("files-eopf-unheard of", "2.8.1", True),
        ("something else", "2.8.1", True),
        (None, "2.8.1", False),
    ],
)
def test_older_is_meant_as_versions_are_ordered(product: str | None, than: str, is_older: bool) -> None:
    assert DataVersions(None, product).is_older_than(Version(than)) is is_older


@pytest.mark.parametrize(
    ("versions", "is_stale"),
    [
        (CURRENT, False),
        (DataVersions("files-types-abc", "files-eopf-2.8.0"), True),
        (DataVersions("files-types-older", "files-eopf-2.8.1"), True),
        (DataVersions("files-types-ab", "files-eopf-2.8.1"), True),
        (DataVersions("files-types-other", "files-eopf-2.8.1"), False),
        (DataVersions("others-types-abc", "files-eopf-2.8.1"), True),
        (DataVersions("files", "files-eopf-2.8.1"), True),
        (DataVersions(None, "files-eopf-2.8.1"), False),
        (DataVersions("files-types-abc", None), False),
        (DataVersions(None, None), False),
    ],
)
def test_stale_is_what_would_become_another_now(versions: DataVersions, is_stale: bool) -> None:
    assert versions.is_stale(NOW) is is_stale


def test_product_fits_where_type_and_time_do() -> None:
    product = Product("S02MSIL1C", moment("2024-06-15"))
    june, may = TimeRange.parse("2024-06-01/2024-06-30"), TimeRange.parse("2024-05-01/2024-05-31")
    assert Criteria(frozenset({"S02MSIL1C"}), june).fit(product)
    assert not Criteria(frozenset({"S02MSIL2A"}), june).fit(product)
    assert not Criteria(frozenset({"S02MSIL1C"}), may).fit(product)
    assert Criteria().fit(None)
    assert not Criteria(time=june).fit(None)


def test_types_are_known_by_all_their_names() -> None:
    names = ["S02MSIL1C", "OL_1_EFR___", "theirs"]
    assert product_types_called(names, {"theirs": "S01SIWGRD"}) == {"S02MSIL1C", "S03OLCEFR", "S01SIWGRD"}
    with pytest.raises(OrderError, match="no product type is called so") as refused:
        product_types_called(["nonsense"], {})
    assert "'nonsense'" in str(refused.value)
    assert "order" not in refused.value.way_out


def test_version_is_read_or_refused() -> None:
    assert eopf_version_called("current", "2.8.1") == eopf_version_called("2.8.1", "9") == Version("2.8.1")
    with pytest.raises(OrderError, match="no version of eopf"):
        eopf_version_called("newest", "2.8.1")
