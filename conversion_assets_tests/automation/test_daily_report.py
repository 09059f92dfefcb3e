from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from conversion_assets.assets.daily_report import daily_report
from conversion_assets.automation.daily_report import DAYS_AGAIN, daily_reports
from conversion_assets.backfilling import OF_ORDERS, PRIORITY_TAG
from conversion_assets.definitions import build_definitions
from conversion_assets.figures import Delays, Figures
from conversion_assets.instance import open_instance
from conversion_assets.partitions import DAILY_REPORT, REPORT_JOB, order_event, report_days
from conversion_assets.resources.thresholds import Thresholds
from conversion_assets.selecting import PUBLISHED
from conversion_assets.settings import Settings
from conversion_assets.standing import latest_orders
from conversion_assets_tests.past_events import materialized_at
from conversion_assets_tests.test_reporting import order_of

DAY = "2026-03-01"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", timeliness_hours=1, completeness_percent=90)


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    with open_instance(settings) as opened:
        yield opened


def a_day_passed(instance: dg.DagsterInstance, *, orders: int, published: int) -> None:
    figures = Figures(cpu_seconds=3600, peak_memory_bytes=10**9, bytes_read=10**9, product_bytes=10**9)
    numbers = figures.numbers() | Delays(60, 7200).numbers()
    for number in range(orders):
        materialized_at(instance, order_event(order_of(f"X{number}")), NOON)
    for number in range(published):
        event = dg.AssetMaterialization(
            PUBLISHED, partition=f"X{number}", metadata={"product type": "S02MSIL1C", **numbers}
        )
        materialized_at(instance, event, NOON + timedelta(hours=1))


def report_on(settings: Settings, instance: dg.DagsterInstance, day: str = DAY) -> dg.ExecuteInProcessResult:
    job = build_definitions(settings).resolve_job_def(REPORT_JOB)
    return job.execute_in_process(instance=instance, partition_key=day)


def test_a_day_has_numbers_to_plot_and_is_judged(settings: Settings, instance: dg.DagsterInstance) -> None:
    a_day_passed(instance, orders=4, published=3)
    result = report_on(settings, instance)
    (event,) = result.asset_materializations_for_node("daily_report")
    assert event.partition == DAY
    numbers = {
        name: value.value
        for name, value in event.metadata.items()
        if isinstance(value, dg.IntMetadataValue | dg.FloatMetadataValue)
    }
    assert numbers == {
        "orders": 4,
        "published": 3,
        "failed": 0,
        "completeness %": 75.0,
        "publications": 3,
        "minutes to publication p50": 1.0,
        "minutes to publication p95": 1.0,
        "hours since source p50": 2.0,
        "hours since source p95": 2.0,
        "cpu hours": 3.0,
        "peak memory MB": 1000.0,
        "GB read": 3.0,
        "GB written": 0.0,
        "GB of products": 3.0,
        "objects": 0,
    }
    table = event.metadata["by product type"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [record.data["product_type"] for record in table.records] == ["S02MSIL1C", "unknown"]
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert {name: check.passed for name, check in checks.items()} == {"timely": False, "complete": False}
    assert {check.severity for check in checks.values()} == {dg.AssetCheckSeverity.WARN}
    assert checks["complete"].metadata["day"].value == DAY


def test_a_day_without_orders_has_a_report_too(settings: Settings, instance: dg.DagsterInstance) -> None:
    a_day_passed(instance, orders=1, published=1)
    result = report_on(settings, instance, "2026-03-02")
    (event,) = result.asset_materializations_for_node("daily_report")
    assert (event.metadata["orders"].value, event.metadata["publications"].value) == (0, 0)
    assert "hours since source p95" not in event.metadata
    assert "by product type" not in event.metadata
    assert all(check.passed for check in result.get_asset_check_evaluations())


def test_a_report_is_no_order(settings: Settings, instance: dg.DagsterInstance) -> None:
    report_on(settings, instance)
    definitions = dg.Definitions([daily_report], resources={"thresholds": Thresholds()})
    instance.create_run_for_job(  # as the web interface does when somebody materializes a day
        definitions.resolve_implicit_global_asset_job_def(),
        asset_selection=frozenset({DAILY_REPORT}),
        tags={"dagster/partition": DAY},
    )
    assert len(instance.get_runs()) == 2
    assert latest_orders(instance) == []


def test_each_morning_the_last_days_are_reported_on(settings: Settings, instance: dg.DagsterInstance) -> None:
    morning = datetime(2026, 3, 4, 6, tzinfo=UTC)
    context = dg.build_schedule_context(
        instance,
        scheduled_execution_time=morning,
        repository_def=build_definitions(settings).get_repository_def(),
    )
    requests = daily_reports.evaluate_tick(context).run_requests or []
    assert [request.partition_key for request in requests] == ["2026-03-01", "2026-03-02", "2026-03-03"]
    assert len({request.run_key for request in requests}) == DAYS_AGAIN
    assert {request.tags[PRIORITY_TAG] for request in requests} == {OF_ORDERS}
    assert all(str(one.partition_key) in report_days.get_partition_keys(morning) for one in requests)


def test_the_schedule_runs_unless_it_is_stopped(settings: Settings) -> None:
    schedule = build_definitions(settings).resolve_schedule_def("daily_reports")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert schedule.job_name == REPORT_JOB
