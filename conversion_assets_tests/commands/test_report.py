from __future__ import annotations

import csv
import io
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from conversion_assets.cli import main
from conversion_assets.figures import Delays, Figures, Row
from conversion_assets.instance import open_instance
from conversion_assets.partitions import order_event
from conversion_assets.selecting import PUBLISHED
from conversion_assets.settings import Settings
from conversion_assets_tests.past_events import materialized_at
from conversion_assets_tests.test_reporting import S1_KEY, S2_KEY, order_of

TODAY = datetime.now(UTC).date()
YESTERDAY = TODAY - timedelta(days=1)
NOON = datetime(YESTERDAY.year, YESTERDAY.month, YESTERDAY.day, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what a command sets for its process end with the test."""
    for name in ("CONVERSION_ASSETS_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, os.environ.get(name, ""))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Have two orders of yesterday, one of them published."""
    settings = Settings(home=tmp_path_factory.mktemp("reports") / "home")
    numbers = Figures(cpu_seconds=1234.5, peak_memory_bytes=1_360_000_000, objects=697).numbers()
    metadata = {"product type": "S01SIWGRD", **numbers, **Delays(90, 5400).numbers()}
    with open_instance(settings) as instance:
        for key in (S1_KEY, S2_KEY):
            materialized_at(instance, order_event(order_of(key)), NOON)
        event = dg.AssetMaterialization(PUBLISHED, partition=S1_KEY, metadata=metadata)
        materialized_at(instance, event, NOON + timedelta(minutes=2))
    return settings.home


def told(home: Path, *arguments: str) -> Result:
    return CliRunner(mix_stderr=False).invoke(main, ["report", "--home", str(home), *arguments])


def rows(result: Result) -> list[Row]:
    assert result.exit_code == 0, result.output
    return [Row.model_validate_json(line) for line in result.stdout.splitlines()]


def test_a_table_of_days(home: Path) -> None:
    head, line = told(home).stdout.splitlines()
    assert head.split("  ")[0].strip() == ""
    assert line.split() == [
        *(f"{YESTERDAY}", "2", "1", "0", "50.0", "1"),
        *("1.50", "1.50", "1.50", "1.50", "1,234", "1.36", "0.00", "0.00", "0.00", "697"),
    ]
    assert head.endswith(" objects")
    assert len(head) == len(line)


def test_rows_by_type_and_by_product(home: Path) -> None:
    by_type = rows(told(home, "--by", "type", "--json"))
    assert [(row.product_type, row.completeness_percent) for row in by_type] == [
        ("S01SIWGRD", 100),
        ("S02MSIL1C", 0),
    ]
    by_product = rows(told(home, "--by", "product", "--json"))
    assert [(row.order, row.published, row.objects) for row in by_product] == [
        (S1_KEY, 1, 697),
        (S2_KEY, 0, 0),
    ]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ([f"--day={YESTERDAY}"], 1),
        ([f"--day={TODAY}"], 0),
        ([f"--to={YESTERDAY}"], 1),
        ([f"--from={YESTERDAY}"], 1),
        ([f"--from={YESTERDAY - timedelta(days=9)}", f"--to={YESTERDAY - timedelta(days=1)}"], 0),
    ],
)
def test_only_the_days_asked_for(home: Path, options: list[str], found: int) -> None:
    assert len(rows(told(home, "--json", *options))) == found


def test_csv_has_all_columns(home: Path) -> None:
    (row,) = csv.DictReader(io.StringIO(told(home, "--csv").stdout))
    assert list(row) == list(Row.model_fields)
    assert (row["day"], row["orders"], row["cpu_seconds"]) == (str(YESTERDAY), "2", "1234.5")


def test_nothing_is_told_in_words(tmp_path: Path) -> None:
    assert "Nothing was ordered" in told(tmp_path / "home").stdout
    assert json.loads(told(tmp_path / "home", "--json").stdout or "null") is None


@pytest.mark.parametrize(
    ("threshold", "value", "code", "said"),
    [
        ("COMPLETENESS_PERCENT", "100", 1, f"complete: {YESTERDAY} S02MSIL1C: 0 of 1 published"),
        ("TIMELINESS_HOURS", "1", 1, f"timely: {YESTERDAY} S01SIWGRD: 95 of 100 within 1.50 h"),
        ("TIMELINESS_HOURS", "2", 0, ""),
    ],
)
def test_a_missed_threshold_is_an_exit_code(
    home: Path, monkeypatch: pytest.MonkeyPatch, threshold: str, value: str, code: int, said: str
) -> None:
    monkeypatch.setenv(f"CONVERSION_ASSETS_{threshold}", value)
    assert told(home).exit_code == 0
    result = told(home, "--check")
    assert result.exit_code == code
    assert said in result.stderr


def test_a_day_that_is_not_over_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("CONVERSION_ASSETS_COMPLETENESS_PERCENT", "100")
    with open_instance(Settings(home=home)) as instance:
        instance.report_runless_asset_event(order_event(order_of("today")))
    result = told(home, "--check", "--day", f"{TODAY}")
    assert (result.exit_code, result.stdout.split()[-1]) == (0, "0")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--day=2026-03-01", "--from=2026-03-01"], "Say --day, or --from and --to"),
        (["--from=2026-03-02", "--to=2026-03-01"], "is after"),
        (["--json", "--csv"], "Choose one"),
        (["--check"], "nothing to check"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, options: list[str], said: str) -> None:
    result = told(tmp_path / "home", *options)
    assert result.exit_code == 2
    assert said in result.stderr
