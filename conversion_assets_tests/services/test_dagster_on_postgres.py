"""PostgreSQL as Dagster's storage, by the configuration that we write."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from conversion_assets.errors import TransientError
from conversion_assets.instance import POSTGRES_VARIABLE, environment, open_instance
from conversion_assets.resources.folder_object_store import FolderObjectStore
from conversion_assets.resources.object_store import ObjectStore
from conversion_assets.settings import Settings
from conversion_assets_tests.services import waiting_job
from conversion_assets_tests.services.postgres import Database
from conversion_assets_tests.services.processes import run, serving

PROGRAMS = Path(sys.executable).parent
CODE = ["-m", waiting_job.__name__]
DAEMON_SECONDS = 240


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", conversion_slots=2)


@pytest.fixture(autouse=True)
def url(database: Database, monkeypatch: pytest.MonkeyPatch) -> str:
    value = database.url.replace("postgresql://", "postgresql+psycopg2://")
    monkeypatch.setenv(POSTGRES_VARIABLE, value)
    return value


@dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="safe_items"), pool="conversion")
def product() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"size": 7})


def test_run_is_recorded_where_another_process_finds_it(settings: Settings, database: Database) -> None:
    with open_instance(settings) as instance:
        instance.add_dynamic_partitions("safe_items", ["one"])
        result = dg.materialize([product], instance=instance, partition_key="one")
    assert result.success
    with open_instance(settings) as instance:
        assert type(instance.event_log_storage).__module__.startswith("dagster_postgres.")
        assert instance.get_dynamic_partitions("safe_items") == ["one"]
        event = instance.get_latest_materialization_event(product.key)
        assert event is not None
        assert event.run_id == result.run_id
        (pool,) = instance.event_log_storage.get_pool_limits()
        assert (pool.name, pool.limit) == ("conversion", 2)
        assert instance.event_log_storage.get_concurrency_info("conversion").active_slot_count == 0
    kept = [path.read_bytes() for path in settings.home.rglob("*") if path.is_file()]
    assert kept
    assert not any(database.password.encode() in content for content in kept)


MANY = 100
"""Events of a run; Dagster alone connects anew for each."""


def test_run_keeps_its_connections_whoever_opened_the_instance(settings: Settings) -> None:
    @dg.asset(partitions_def=product.partitions_def)
    def stored(object_store: dg.ResourceParam[ObjectStore]) -> None:
        for _ in range(MANY):
            dg.AssetExecutionContext.get().log.info(object_store)

    with open_instance(settings) as opened:
        opened.add_dynamic_partitions("safe_items", ["one"])
    made: list[object] = []
    resources = {"object_store": FolderObjectStore(root=str(settings.home))}
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        sa.event.listen(sa.Engine, "connect", count := lambda connection, _: made.append(connection))
        try:
            dg.materialize([stored], instance=instance, partition_key="one", resources=resources)
        finally:
            sa.event.remove(sa.Engine, "connect", count)
    assert 0 < len(made) < MANY


def test_refused_password_is_told_and_not_shown(
    settings: Settings, url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(POSTGRES_VARIABLE, url.replace(database.password, "canary"))
    with pytest.raises(TransientError, match="password authentication failed") as caught:
        open_instance(settings)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


def launch(key: str, env: dict[str, str]) -> None:
    """Queue a run of the job."""
    dagster = [str(PROGRAMS / "dagster"), "job", "launch", *CODE, "-j", "waiting_job"]
    run([*dagster, "--tags", json.dumps({"dagster/partition": key})], env=env)


def statuses(instance: dg.DagsterInstance) -> list[tuple[str, str]]:
    return sorted((queued.tags["dagster/partition"], queued.status.value) for queued in instance.get_runs())


@pytest.mark.timeout(600)  # it waits for three launches and for the daemon
def test_daemon_runs_a_partition_once_at_a_time(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three runs in order, two of one partition, the third starts before the second."""
    monkeypatch.setenv(waiting_job.MAY_END, str(tmp_path / "may_end"))
    with open_instance(settings) as instance:
        for key in ("one", "one", "two"):
            launch(key, environment(settings))
        with serving(
            [PROGRAMS / "dagster-daemon", "run", *CODE],
            log=tmp_path / "daemon.log",
            ready=lambda: ("two", "STARTED") in statuses(instance),
            env=environment(settings),
            stop=signal.SIGINT,
            seconds=DAEMON_SECONDS,
        ):
            seen = [status for key, status in statuses(instance) if key == "one"]
            (tmp_path / "may_end").touch()
    assert "QUEUED" in seen
    assert {"STARTING", "STARTED"} & set(seen)
