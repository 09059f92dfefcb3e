"""The jobs of upkeep on a home in which a product was really converted."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.snap.snap_to_yaml import default_values_yaml_from_type_snap
from pydantic import ValidationError

from conversion_assets.automation.upkeep import PRUNE, RECONCILE, RETIRE, SCHEDULE_TAG, STEPS, UPKEEP_TAG
from conversion_assets.backfilling import OF_ORDERS, PRIORITY_TAG
from conversion_assets.cli import main
from conversion_assets.definitions import build_definitions
from conversion_assets.errors import OrderError
from conversion_assets.instance import open_instance
from conversion_assets.ordering import Wishes, orders_from
from conversion_assets.partitions import safe_items
from conversion_assets.resources.folder_object_store import FolderObjectStore
from conversion_assets.running import OrderResult, run_order
from conversion_assets.settings import Settings
from conversion_assets.standing import standing_of
from conversion_assets_tests.commands.test_quarantine import ORIGIN
from conversion_assets_tests.end_to_end.shared import make_small
from conversion_assets_tests.safe_products import ProductKind


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("CONVERSION_ASSETS_HOME", "DAGSTER_HOME"):  # what a command sets ends with the test
        monkeypatch.setenv(name, os.environ.get(name, ""))
    return Settings(home=tmp_path / "home", upkeep_settle_hours=0, upkeep_mends=False)


MOMENT = timedelta(microseconds=100) / timedelta(days=1)
"""In days."""
UPKEEP = (RECONCILE, RETIRE, PRUNE)


def ordered(settings: Settings, instance: dg.DagsterInstance, source: Path) -> OrderResult:
    (order,) = orders_from(str(source), Wishes(owner="local", default_owner="local"))
    definitions = build_definitions(settings)
    return run_order(definitions, instance, order, reconvert=False, listener=lambda *_: None)


def done(settings: Settings, instance: dg.DagsterInstance, job: str, **config: object) -> dict[str, Any]:
    """Run a job of upkeep, and give what its run tells."""
    result = (
        build_definitions(settings)
        .resolve_job_def(job)
        .execute_in_process(instance=instance, run_config={"ops": {STEPS[job]: {"config": config}}})
    )
    (told,) = (event.step_output_data.metadata for event in result.all_events if event.is_successful_output)
    return {name: entry.value for name, entry in told.items()}


def command(settings: Settings, *arguments: str) -> tuple[int, str]:
    environment = {"CONVERSION_ASSETS_UPKEEP_SETTLE_HOURS": "0"}
    runner = CliRunner(mix_stderr=False, env=environment)
    ended = runner.invoke(main, ["reconcile", *arguments, "--home", str(settings.home)])
    return ended.exit_code, ended.stdout or ended.stderr


def test_order_retires_and_is_pruned_and_comes_again_without_a_conversion(
    settings: Settings, tmp_path: Path
) -> None:
    source = make_small(ProductKind.S3_OL_ERR, tmp_path)
    with open_instance(settings) as instance:
        first = ordered(settings, instance, source)
        assert (first.status, first.order) == ("published", source.name.partition(".")[0])
        store = FolderObjectStore(root=str(settings.home))
        converted = store.provenance_of(str(first.product))
        assert converted is not None
        assert done(settings, instance, RETIRE, days=1)["retired"] == 0
        assert done(settings, instance, RETIRE, days=MOMENT)["retired"] == 1
        assert not instance.get_dynamic_partitions(str(safe_items.name))
        pruned = done(settings, instance, PRUNE, days=MOMENT)
        assert (pruned["runs"], pruned["carried over"]) == (3, 3)  # the order's, and two of upkeep
        standing = standing_of(instance, str(first.order))
        assert (standing.status, standing.item) == ("retired", first.item)
        again = ordered(settings, instance, source)
        assert (again.status, again.item, again.product) == ("published", first.item, first.product)
        assert instance.get_dynamic_partitions(str(safe_items.name)) == [first.order]
        assert store.provenance_of(str(again.product)) == converted
        finds_and_mends(settings, instance, Path(str(first.product).removeprefix("file://")))


def finds_and_mends(settings: Settings, instance: dg.DagsterInstance, product: Path) -> None:
    """Leave something behind in a home that is in order, and lose a product."""
    assert command(settings) == (0, "Everything is in order.\n")
    behind = settings.home / "staging" / "X"
    behind.mkdir(parents=True)
    code, told = command(settings, "--json")
    assert (code, [one["kind"] for one in json.loads(told)["findings"]]) == (1, ["left behind"])
    assert done(settings, instance, RECONCILE, settle_hours=0)["left behind"] == 1
    assert behind.exists()
    with FolderObjectStore(root=str(settings.home)).sole_upkeep():
        code, told = command(settings, "--mend")
        assert (code, "other upkeep is going on" in told) == (1, True)
    mended = done(settings, instance, RECONCILE, settle_hours=0, dry_run=False)
    assert (mended["found"], mended["mended"], mended["left"]) == (1, 1, 0)
    assert not behind.exists()
    product.rename(product.with_name(".away"))
    code, told = command(settings, "--mend")
    assert (code, told.startswith("mended: item without data: file:")) == (0, True)
    assert command(settings) == (0, "Everything is in order.\n")  # it is being converted again


def tick_of(settings: Settings, instance: dg.DagsterInstance, schedule: str) -> dg.RunRequest | str:
    """Evaluate a schedule as the daemon would; gives its request, or its words where it skips."""
    definition = build_definitions(settings).resolve_schedule_def(schedule)
    data = definition.evaluate_tick(dg.build_schedule_context(instance))
    if data.skip_message:
        return data.skip_message
    (request,) = data.run_requests or ()
    return request


def test_schedules_run_once_a_day_one_after_the_other_and_as_the_settings_say(settings: Settings) -> None:
    definitions = build_definitions(settings)
    schedules = {name: definitions.resolve_schedule_def(name) for name in UPKEEP}
    assert len({one.cron_schedule for one in schedules.values()}) == len(schedules)
    configured = {}
    with open_instance(settings) as instance:
        for name, schedule in schedules.items():
            assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
            assert schedule.execution_timezone in (None, "UTC")
            request = tick_of(settings, instance, name)
            assert isinstance(request, dg.RunRequest)
            assert dg.validate_run_config(definitions.resolve_job_def(name), request.run_config)
            configured[name] = request.run_config["ops"][STEPS[name]]["config"]
    assert configured == {
        RECONCILE: {"dry_run": True, "settle_hours": 0.0},
        RETIRE: {"days": settings.retire_days},
        PRUNE: {"days": settings.history_days},
    }


def test_upkeep_is_before_orders_in_the_queue(settings: Settings) -> None:
    definitions = build_definitions(settings)
    for name in UPKEEP:
        tags = definitions.resolve_job_def(name).tags
        assert UPKEEP_TAG in tags
        assert int(tags[PRIORITY_TAG]) > int(OF_ORDERS)


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED])
def test_a_schedule_waits_for_its_own_run_and_for_no_other(
    settings: Settings, status: dg.DagsterRunStatus
) -> None:
    job = build_definitions(settings).resolve_job_def(RECONCILE)
    with open_instance(settings) as instance:
        by_hand = instance.create_run_for_job(job, status=status, remote_job_origin=ORIGIN)
        assert isinstance(tick_of(settings, instance, RECONCILE), dg.RunRequest)
        run = instance.create_run_for_job(
            job, status=status, remote_job_origin=ORIGIN, tags={SCHEDULE_TAG: RECONCILE}
        )
        assert "has not finished" in str(tick_of(settings, instance, RECONCILE))
        assert isinstance(tick_of(settings, instance, RETIRE), dg.RunRequest)
        instance.report_run_canceled(run)
        assert isinstance(tick_of(settings, instance, RECONCILE), dg.RunRequest)
        assert instance.has_run(by_hand.run_id)


@pytest.mark.parametrize(("mends", "told"), [(True, "mends what it finds"), (False, "only tells what it")])
def test_schedule_says_whether_it_mends(settings: Settings, mends: bool, told: str) -> None:
    definitions = build_definitions(settings.model_copy(update={"upkeep_mends": mends}))
    assert told in str(definitions.resolve_schedule_def(RECONCILE).description)
    assert "dry unless told" in str(definitions.resolve_job_def(RECONCILE).description)


def launchpad_of(settings: Settings, job: str) -> dict[str, Any]:
    """Give what the web interface writes into the launchpad of a job."""
    snapshot = build_definitions(settings).resolve_job_def(job).get_job_snapshot()
    root = snapshot.config_schema_snapshot.get_config_snap(str(snapshot.mode_def_snaps[0].root_config_key))
    text = default_values_yaml_from_type_snap(snapshot.config_schema_snapshot, root)
    return dict(yaml.safe_load(text))


def test_launchpad_is_filled_in_as_the_settings_say(settings: Settings) -> None:
    filled = {job: launchpad_of(settings, job)["ops"][STEPS[job]]["config"] for job in UPKEEP}
    assert filled == {
        RECONCILE: {"settle_hours": 0.0},
        RETIRE: {"days": settings.retire_days},
        PRUNE: {"days": settings.history_days},
    }


def test_job_without_configuration_does_as_the_settings_say(settings: Settings) -> None:
    definitions = build_definitions(settings)
    with open_instance(settings) as instance:
        for job in UPKEEP:
            assert definitions.resolve_job_def(job).execute_in_process(instance=instance).success
        assert instance.get_runs_count() == len(UPKEEP)


@pytest.mark.parametrize("job", [RETIRE, PRUNE])
def test_example_of_dagster_for_missing_days_is_refused(settings: Settings, job: str) -> None:
    with pytest.raises(ValidationError, match="days"):
        done(settings, dg.DagsterInstance.ephemeral(), job, days=0.0)


@pytest.mark.parametrize("days", ["retire_days", "history_days"])
def test_zero_days_are_no_setting(days: str) -> None:
    with pytest.raises(ValidationError, match=f"{days}\n"):
        Settings.model_validate({days: 0})


def test_schedules_run_when_the_settings_say(settings: Settings) -> None:
    changed = settings.model_copy(update={"reconcile_cron": "0 2 * * 7", "prune_cron": "@weekly"})
    definitions = build_definitions(changed)
    crons = [definitions.resolve_schedule_def(name).cron_schedule for name in (RECONCILE, RETIRE, PRUNE)]
    assert crons == ["0 2 * * 7", settings.retire_cron, "@weekly"]


@pytest.mark.parametrize("cron", ["", "daily", "61 * * * *", "* * * * * *"])
def test_time_that_no_schedule_can_have_is_told_with_its_variable(settings: Settings, cron: str) -> None:
    with pytest.raises(OrderError, match=r"CONVERSION_ASSETS_RETIRE_CRON: .* is no time"):
        build_definitions(settings.model_copy(update={"retire_cron": cron}))


def test_ticks_are_purged_and_upkeep_is_one_at_a_time(settings: Settings) -> None:
    with open_instance(settings) as instance:
        kept = instance.get_tick_retention_settings(InstigatorType.SENSOR)
        assert kept[TickStatus.SUCCESS] == timedelta(days=30).days
        assert kept[TickStatus.SKIPPED] == timedelta(days=2).days
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert {"key": UPKEEP_TAG, "limit": 1} in queue.tag_concurrency_limits
        assert instance.run_monitoring_start_timeout_seconds == timedelta(seconds=90).seconds
