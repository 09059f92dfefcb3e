from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest

from conversion_assets.assets.quarantined_order import OPERATIONS
from conversion_assets.assets.step import GROUP
from conversion_assets.automation.jobs import CONVERT
from conversion_assets.checks.specs import RULES
from conversion_assets.definitions import build_definitions
from conversion_assets.instance import open_instance
from conversion_assets.partitions import DAILY_REPORT, INPUT_ITEM, report_days, safe_items
from conversion_assets.quarantining import QUARANTINED_ORDER
from conversion_assets.resources.bucket_rules import BucketRule, BucketRules, CsvBucketRules
from conversion_assets.settings import Settings
from conversion_assets.standing import ASSETS, standing_of

HEAVY = ("eopf", "dagster_aws", "s3fs", "fsspec", "zarr", "xarray", "rasterio", "dask", "boto3")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def definitions(settings: Settings) -> dg.Definitions:
    return build_definitions(settings)


def test_code_location_loads(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)


def test_graph_is_the_sentence(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    line = [INPUT_ITEM.to_user_string(), *ASSETS]
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {
        *line,
        "quarantined_order",
        "daily_report",
    }
    for upstream, asset in pairwise(line):
        parents = {key.to_user_string() for key in graph.get(dg.AssetKey(asset)).parent_keys}
        assert parents == {upstream}
    assert not graph.get(INPUT_ITEM).is_materializable
    assert not graph.get(QUARANTINED_ORDER).is_materializable


def test_every_asset_is_described_and_partitioned(definitions: dg.Definitions) -> None:
    beside = {QUARANTINED_ORDER, DAILY_REPORT}
    for spec in definitions.resolve_all_asset_specs():
        assert spec.description
        assert spec.partitions_def == (report_days if spec.key == DAILY_REPORT else safe_items)
        assert spec.group_name == (OPERATIONS if spec.key in beside else GROUP)
        assert spec.kinds


def test_every_check_hangs_on_its_asset(definitions: dg.Definitions) -> None:
    keys = definitions.resolve_asset_graph().asset_check_keys
    assert {(key.asset_key.to_user_string(), key.name) for key in keys} == {
        (rule.asset, rule.name) for rule in RULES
    }


def test_job_and_sensor_are_there(definitions: dg.Definitions) -> None:
    job = definitions.resolve_job_def(CONVERT)
    assert job.partitions_def == safe_items
    sensor = definitions.resolve_sensor_def("inbox")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.job_name == CONVERT
    for described in (job, sensor):
        assert described.description


def test_steps_run_in_the_process_of_the_run(definitions: dg.Definitions) -> None:
    assert definitions.executor is dg.in_process_executor


def test_resource_may_be_replaced(settings: Settings) -> None:
    class OneBucket(BucketRules):
        def rule_for(self, owner: str, collection: str, product_type: str) -> BucketRule:
            raise NotImplementedError

    resources = build_definitions(settings, bucket_rules=OneBucket()).resources
    assert isinstance((resources or {})["bucket_rules"], OneBucket)
    assert isinstance((build_definitions(settings).resources or {})["bucket_rules"], CsvBucketRules)


def test_loading_the_code_location_loads_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys, conversion_assets.definitions\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"CONVERSION_ASSETS_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []


def run(definitions: dg.Definitions, instance: dg.DagsterInstance, key: str) -> dg.ExecuteInProcessResult:
    instance.add_dynamic_partitions(str(safe_items.name), [key])
    return definitions.resolve_job_def(CONVERT).execute_in_process(
        instance=instance, partition_key=key, raise_on_error=False
    )


def test_run_without_an_order_fails_at_once_and_says_why(
    definitions: dg.Definitions, settings: Settings
) -> None:
    with open_instance(settings) as instance:
        result = run(definitions, instance, "Z")
        assert not result.success
        failure = result.failure_data_for_node("staged_safe_item")
        assert failure is not None
        assert failure.user_failure_data is not None
        assert str(failure.user_failure_data.description).startswith("partition Z: nothing was ordered")
        assert failure.user_failure_data.metadata["exit_code"].value == 2
    assert [event.event_type_value for event in result.all_events].count("STEP_START") == 1
    assert "STEP_UP_FOR_RETRY" not in {event.event_type_value for event in result.all_events}
    assert not (settings.home / "products").exists()


def test_asset_without_what_comes_before_it_fails_at_once(
    definitions: dg.Definitions, settings: Settings
) -> None:
    with open_instance(settings) as instance:
        instance.add_dynamic_partitions(str(safe_items.name), ["Z"])
        result = definitions.resolve_job_def(CONVERT).execute_in_process(
            instance=instance,
            partition_key="Z",
            asset_selection=[dg.AssetKey("unzipped_safe")],
            raise_on_error=False,
        )
    failure = result.failure_data_for_node("unzipped_safe")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert "staged_safe_item of Z: it has not been materialized" in str(failure.user_failure_data.description)
    assert "STEP_UP_FOR_RETRY" not in {event.event_type_value for event in result.all_events}


@pytest.mark.parametrize("key", ["../../evil", "a/b"])
def test_hostile_key_touches_nothing(key: str, definitions: dg.Definitions, settings: Settings) -> None:
    with open_instance(settings) as instance:
        before = {path for path in settings.home.parent.rglob("*") if "dagster" not in path.parts}
        assert not run(definitions, instance, key).success
        after = {path for path in settings.home.parent.rglob("*") if "dagster" not in path.parts}
        assert after == before
        with pytest.raises(Exception, match="an id has"):
            standing_of(instance, key)
