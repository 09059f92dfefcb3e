from __future__ import annotations

import json
from pathlib import Path

import pytest

from conversion_assets.console import Console
from conversion_assets.errors import ErrorClass
from conversion_assets.running import FAILED, PUBLISHED, OrderResult
from conversion_assets.standing import Standing

KEY = "S2A_MSIL1C_20240615T102559_N0510_R108_T32TLN_20240615T132559"


def published_result(folder: Path) -> OrderResult:
    product = folder / "a [bold] name" / "X.zarr"
    product.mkdir(parents=True)
    (product / ".zmetadata").write_bytes(bytes(1_500_000))
    return OrderResult(
        order=KEY,
        source="file:///in.zip",
        status=PUBLISHED,
        product_type="S02MSIL1C",
        product=product.as_uri(),
        item="file:///catalogue/X.json",
        derived_from="https://example.org/X",
        seconds={"staged_safe_item": 0.25, "zarr_product": 4.0},
        checks=8,
    )


FAILURE = OrderResult(
    order=None,
    source="/in/[red]letters.zip",
    status=FAILED,
    error="/in/[red]letters.zip: it is no product. Order another.",
    error_class=ErrorClass.POISONED,
    exit_code=2,
)


def plain(text: str) -> str:
    """Take the frame and the line breaks out of what was shown."""
    return " ".join(text.replace("│", " ").split())


def test_success_is_shown_to_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = published_result(tmp_path)
    assert Console(as_json=False).show(result) is result
    shown = capsys.readouterr()
    assert shown.err == ""
    product = tmp_path / "a [bold] name" / "X.zarr"
    for words in (
        KEY,
        f'xarray.open_datatree("{product}", engine="zarr")',
        "1.50 MB in 1 objects",
        "8 passed",
    ):
        assert words in shown.out
    assert "4.2 (staged 0.2, converted 4.0)" in shown.out


def test_product_elsewhere_is_shown_by_its_address(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Console(as_json=False).show(
        published_result(tmp_path).model_copy(update={"product": "s3://bucket/X.zarr"})
    )
    shown = capsys.readouterr().out
    assert "s3://bucket/X.zarr" in shown
    assert "open_datatree" not in shown


def test_remark_is_shown_as_it_is_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    Console(as_json=True).remark("asset '[red]': left out")
    assert tuple(capsys.readouterr()) == ("", "note asset '[red]': left out\n")


def test_failure_is_shown_to_people_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    Console(as_json=False).show(FAILURE)
    shown = capsys.readouterr()
    assert shown.out == ""
    for words in (
        FAILURE.source,
        "it is no product. Order another.",
        "poisoned error; nothing was published",
    ):
        assert words in plain(shown.err)


def test_failure_names_its_subject_once(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(as_json=False)
    console.show(FAILURE)
    assert plain(capsys.readouterr().err).count(FAILURE.source) == 1
    console.show(FAILURE.model_copy(update={"order": KEY, "error": "the run: it ended early."}))
    assert plain(capsys.readouterr().err).count(KEY) == 1


def test_long_failure_is_shown_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    words = " ".join(f"word{number}" for number in range(200))
    Console(as_json=False).show(FAILURE.model_copy(update={"error": words}))
    assert words in plain(capsys.readouterr().err)


def test_programs_get_one_object_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(as_json=True)
    console.show(published_result(tmp_path))
    console.show(FAILURE)
    shown = capsys.readouterr()
    first, second = map(json.loads, shown.out.splitlines())
    assert first["order"] == KEY
    assert first["seconds"] == {"staged_safe_item": 0.25, "zarr_product": 4.0}
    assert "error" not in first
    assert "error_class" not in first
    assert second["order"] is None
    assert second["error"] == FAILURE.error
    assert second["error_class"] == "poisoned"
    assert "exit_code" not in first | second
    assert shown.err == ""


@pytest.mark.parametrize("as_json", [True, False])
def test_progress_never_reaches_standard_output(*, as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with Console(as_json=as_json).working_on(KEY) as told:
        told("zarr_product", "")
        told("zarr_product", "reading [bold]X[/bold].SAFE")
        told("something else", "goes on")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [line.split() for line in shown.err.splitlines()] == [
        [KEY],
        ["converting", "reading", "[bold]X[/bold].SAFE"],
        ["something", "else", "goes", "on"],
    ]


def test_standing_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Console(as_json=False).show_standing([], detailed=False)
    assert capsys.readouterr().out == "Nothing has been ordered yet.\n"


STANDINGS = [
    Standing(
        order=KEY,
        status="published",
        product_type="S02MSIL1C",
        when="2024-06-15 10:00:00",
        item="file:///a%20b/X.json",
        source="https://example.org/X",
        assets={"zarr_product": "2024-06-15 10:01:00"},
    ),
    Standing(order="short", status="failed", when="2024-06-15 09:00:00", error="[why] not"),
    Standing(order="new", status="ordered"),
    Standing(order="again", status="failed", item="file:///former.json", error="the disk is full"),
]


def test_standing_is_a_table_with_one_line_an_order(capsys: pytest.CaptureFixture[str]) -> None:
    Console(as_json=False).show_standing(iter(STANDINGS), detailed=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["2024-06-15", "10:00:00", "published"],
        ["2024-06-15", "09:00:00", "failed"],
        ["ordered", "new"],
        ["failed", "again", "the"],
    ]
    assert lines[0].endswith("/a b/X.json")
    assert lines[1].endswith("[why] not")
    assert lines[3].endswith("the disk is full")
    assert lines[0].index(KEY) == lines[1].index("short") == lines[2].index("new")


def test_standing_in_detail_leaves_out_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    Console(as_json=False).show_standing(STANDINGS[:1], detailed=True)
    shown = capsys.readouterr().out
    assert "2024-06-15 10:01:00  converted" in shown
    assert "https://example.org/X" in shown
    assert "error" not in shown
