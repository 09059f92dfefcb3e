from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from multiprocessing.synchronize import Barrier
from pathlib import Path

import dagster as dg
import psutil
import pytest
import yaml

from conversion_assets.dagster_yaml import Template
from conversion_assets.errors import ErrorClass, PermanentError, TransientError
from conversion_assets.instance import (
    POSTGRES_VARIABLE,
    SECONDS_TO_MARK,
    close_abandoned_runs,
    configuration_text,
    environment,
    open_instance,
    overlooked_configuration,
    workspace_arguments,
)
from conversion_assets.orders import Order
from conversion_assets.partitions import record_order
from conversion_assets.quarantining import quarantine_of
from conversion_assets.resources.quarantine import Quarantine
from conversion_assets.run_marks import PROCESS_TAG, process_mark
from conversion_assets.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def quarantine(settings: Settings) -> Quarantine:
    return quarantine_of(settings)


def test_home_is_made_and_nothing_in_it_is_overwritten(settings: Settings) -> None:
    with open_instance(settings) as instance:
        assert instance.telemetry_enabled is False
        assert instance.run_retries_enabled
    assert (settings.home / "inbox").is_dir()
    configuration = settings.dagster_home / "dagster.yaml"
    configuration.write_text("telemetry:\n  enabled: false\nrun_retries:\n  enabled: false\n")
    with open_instance(settings) as instance:
        assert not instance.run_retries_enabled
    assert "run_queue" not in configuration.read_text()


def test_configuration_of_an_earlier_version_is_renewed_once_and_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr("conversion_assets.instance.TEMPLATE", Template("telemetry: {enabled: false}", "0"))
        with open_instance(settings) as instance:
            assert not instance.run_retries_enabled
    for _ in range(2):
        with open_instance(settings) as instance:
            assert instance.run_retries_enabled
    assert [record.getMessage() for record in caplog.records if "renewed" in record.getMessage()] == [
        f"{settings.dagster_home}/dagster.yaml was written by an earlier version; it is renewed"
    ]
    assert (settings.dagster_home / "dagster.yaml").read_text() == configuration_text(settings)
    assert overlooked_configuration(settings) is None


def test_what_a_changed_configuration_lacks_is_told_and_it_stays(settings: Settings) -> None:
    configuration = settings.dagster_home / "dagster.yaml"
    configuration.parent.mkdir(parents=True)
    changed = "telemetry:\n  enabled: false\nrun_monitoring:\n  enabled: false\n"
    configuration.write_text(changed)
    with open_instance(settings):
        assert configuration.read_text() == changed
    told = overlooked_configuration(settings)
    assert told is not None
    names = told.partition("otherwise: ")[2].partition(". ")[0].split(", ")
    assert {"run_retries", "run_monitoring.enabled", "run_monitoring.poll_interval_seconds"} <= set(names)
    assert "telemetry.enabled" not in names
    first_line = told.rpartition("be ")[2].strip("'")
    configuration.write_text(f"{first_line}\n{changed}")
    assert overlooked_configuration(settings) is None


def test_same_order_runs_once_at_a_time(settings: Settings) -> None:
    with open_instance(settings) as instance:
        limits = instance.get_concurrency_config().run_queue_config.tag_concurrency_limits  # type: ignore[union-attr]  # ours has a queue
    (limit,) = (limit for limit in limits if limit["key"] == "dagster/partition")
    assert limit["limit"] == 1


def pool_limits(instance: dg.DagsterInstance) -> dict[str, int]:
    return {limit.name: limit.limit for limit in instance.event_log_storage.get_pool_limits()}


def test_pools_have_the_slots_of_the_settings(settings: Settings) -> None:
    limited = settings.model_copy(update={"staging_slots": 3, "conversion_slots": 1})
    with open_instance(limited) as instance:
        assert pool_limits(instance) == {"staging": 3, "conversion": 1}
    changed = settings.model_copy(update={"conversion_slots": 2})
    with open_instance(changed) as instance:
        instance.event_log_storage.set_concurrency_slots("of others", 5)
        assert pool_limits(instance) == {"conversion": 2, "of others": 5}
    with open_instance(settings) as instance:
        assert pool_limits(instance) == {"of others": 5}


def test_slot_of_an_abandoned_run_is_free_again(settings: Settings) -> None:
    limited = settings.model_copy(update={"conversion_slots": 1})
    with open_instance(limited) as instance:
        storage = instance.event_log_storage
        abandoned = started(instance, f"{socket.gethostname()}:{psutil.Process().pid}:1.00")
        assert storage.claim_concurrency_slot("conversion", abandoned, "step").is_claimed
        assert not storage.claim_concurrency_slot("conversion", "another", "step").is_claimed
        assert close_abandoned_runs(instance, quarantine_of(limited)) == [abandoned]
        assert storage.claim_concurrency_slot("conversion", "another", "step").is_claimed


SECRET_URL = "postgresql+psycopg2://someone:canary@127.0.0.1:1/dagster"  # noqa: S105 - nobody's


def test_history_goes_to_postgres_by_the_name_of_a_variable(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "storage" not in yaml.safe_load(configuration_text(settings))
    monkeypatch.setenv(POSTGRES_VARIABLE, SECRET_URL)
    text = configuration_text(settings)
    assert yaml.safe_load(text)["storage"] == {"postgres": {"postgres_url": {"env": POSTGRES_VARIABLE}}}
    assert "canary" not in text


def test_unreachable_database_is_a_fault_of_the_weather(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(POSTGRES_VARIABLE, SECRET_URL)
    with pytest.raises(TransientError, match="Connection refused") as caught:
        open_instance(settings)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["postgresql://someone:canary@db/dagster", "mysql://db", "postgresql+psycopg2://u:canary@db:port/d"],
)
def test_url_of_another_driver_is_refused(
    url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(POSTGRES_VARIABLE, url)
    with pytest.raises(PermanentError, match=r"postgresql\+psycopg2://USER") as caught:
        open_instance(settings)
    assert "canary" not in str(caught.value)


def test_history_is_not_changed_by_a_variable_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_instance(settings):
        pass
    monkeypatch.setenv(POSTGRES_VARIABLE, SECRET_URL)
    with pytest.raises(PermanentError, match=r"does not use, though it is set\. Unset it, or remove"):
        open_instance(settings)
    configuration = settings.dagster_home / "dagster.yaml"
    configuration.write_text(configuration_text(settings))
    monkeypatch.delenv(POSTGRES_VARIABLE)
    with pytest.raises(PermanentError, match=r"which is not set\. Set it, or remove"):
        open_instance(settings)
    configuration.unlink()
    with open_instance(settings):
        pass


def test_logs_of_steps_go_to_a_bucket(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path, dagster_logs_bucket="logs", s3_endpoint="http://127.0.0.1:1", s3_region="here"
    )
    with open_instance(settings) as instance:
        assert type(instance.compute_log_manager).__name__ == "S3ComputeLogManager"
    told = yaml.safe_load(configuration_text(settings))["compute_logs"]["config"]
    endpoint = {"endpoint_url": "http://127.0.0.1:1", "region": "here"}
    assert told == {"bucket": "logs", "prefix": "dagster", **endpoint}


def test_programs_of_dagster_find_the_home(settings: Settings) -> None:
    assert environment(settings)["DAGSTER_HOME"] == str(settings.dagster_home)
    assert environment(settings)["CONVERSION_ASSETS_HOME"] == str(settings.home)
    assert environment(settings)["PATH"] == os.environ["PATH"]


def test_code_is_found() -> None:
    flag, where = workspace_arguments()
    assert (flag, Path(where).is_file()) == ("-w", True) or (flag, where) == (
        "-m",
        "conversion_assets.definitions",
    )


def started(instance: dg.DagsterInstance, process: str | None, *, marked_for: str | None = None) -> str:
    run = instance.create_run_for_job(a_job, status=dg.DagsterRunStatus.STARTED)
    if process is not None:
        instance.add_run_tags(run.run_id, {PROCESS_TAG: f"{marked_for or run.run_id}:{process}"})
    return run.run_id


def this_process() -> str:
    return process_mark("").removeprefix(":")


@dg.job
def a_job() -> None:
    """Do nothing."""


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_run_of_a_killed_process_is_closed_and_no_other(quarantine: Quarantine) -> None:
    program = [
        sys.executable,
        "-c",
        "from conversion_assets.run_marks import process_mark\nprint(process_mark(''), flush=True)\ninput()",
    ]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        mark = process.stdout.readline().strip().removeprefix(":")
        with dg.DagsterInstance.ephemeral() as instance:
            killed, mine = started(instance, mark), started(instance, this_process())
            elsewhere = started(instance, "another-host:1:1.00")
            reused = started(instance, f"{socket.gethostname()}:{psutil.Process().pid}:1.00")
            unmarked = started(instance, None)
            repeated = started(instance, mark, marked_for="the-run-it-repeats")
            close_abandoned_runs(instance, quarantine)
            assert status(instance, killed) is dg.DagsterRunStatus.STARTED
            process.send_signal(signal.SIGKILL)
            process.wait()
            close_abandoned_runs(instance, quarantine)
            assert status(instance, killed) is dg.DagsterRunStatus.FAILURE
            assert status(instance, reused) is dg.DagsterRunStatus.FAILURE
            for run_id in (mine, elsewhere, unmarked, repeated):
                assert status(instance, run_id) is dg.DagsterRunStatus.STARTED
            (told,) = instance.get_records_for_run(killed, of_type=dg.DagsterEventType.RUN_FAILURE).records
            assert "ended from outside" in told.event_log_entry.message


ORDER = Order(key="X", item_id="X", href="s3://b/X.zip", derived_from="s3://b/X.zip", owner="someone")
OF_THE_ORDER = {"dagster/partition": "X"}
GONE = f"{socket.gethostname()}:1:1.00"


def test_order_of_a_killed_process_is_kept_once_and_may_be_tried_again(quarantine: Quarantine) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        record_order(instance, ORDER)
        run = instance.create_run_for_job(a_job, status=dg.DagsterRunStatus.STARTED, tags=OF_THE_ORDER)
        instance.add_run_tags(run.run_id, {PROCESS_TAG: f"{run.run_id}:{GONE}"})
        assert close_abandoned_runs(instance, quarantine) == [run.run_id]
        assert close_abandoned_runs(instance, quarantine) == []
    (kept,) = quarantine.records()
    assert (kept.key, kept.order, kept.run_id, kept.attempts) == ("X", ORDER, run.run_id, 1)
    assert kept.error_class is ErrorClass.TRANSIENT
    assert kept.reason == "the run: The process of this run was ended from outside. Order it again."


def test_run_of_an_order_that_never_marked_its_process_is_closed_after_a_while(
    quarantine: Quarantine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(a_job, tags=OF_THE_ORDER)
        instance.report_dagster_event(
            dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, a_job.name), run_id=run.run_id
        )
        assert close_abandoned_runs(instance, quarantine) == []
        monkeypatch.setattr("conversion_assets.instance.SECONDS_TO_MARK", -SECONDS_TO_MARK)
        assert close_abandoned_runs(instance, quarantine) == [run.run_id]
        assert status(instance, run.run_id) is dg.DagsterRunStatus.FAILURE


def opened(home: Path, together: Barrier) -> None:
    together.wait()
    with open_instance(Settings(home=home)) as instance:
        assert instance.get_runs(limit=1) == []


def test_processes_that_open_a_new_home_at_once_do_not_trip_over_each_other(tmp_path: Path) -> None:
    spawning = multiprocessing.get_context("spawn")
    together = spawning.Barrier(3)
    processes = [spawning.Process(target=opened, args=(tmp_path, together)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
