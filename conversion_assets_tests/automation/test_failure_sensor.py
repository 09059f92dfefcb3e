from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from conversion_assets.automation.failure_sensor import (
    ALERT_AGE_SECONDS,
    abandoned_runs,
    alert_sensor,
    failures,
)
from conversion_assets.errors import ErrorClass
from conversion_assets.instance import open_instance
from conversion_assets.orders import Order
from conversion_assets.partitions import record_order
from conversion_assets.quarantining import KEPT_TAG, PUBLISHED_ITEM, QUARANTINED_ORDER, keep_failure
from conversion_assets.resources.alerts import Alerts
from conversion_assets.resources.quarantine import Evidence, QuarantineFolder
from conversion_assets.run_failures import failure_of
from conversion_assets.run_marks import PROCESS_TAG
from conversion_assets.settings import Settings
from conversion_assets_tests.web.server import Reply, Site, serving_replies

ORDER = Order(key="X", item_id="X", href="s3://b/X.zip", derived_from="s3://b/X.zip", owner="someone")
OF_THE_ORDER = {"dagster/partition": "X"}


@dg.op
def an_op() -> None:
    """Fail."""
    raise ValueError("as expected")


@dg.job
def a_job() -> None:
    """Fail."""
    an_op()


class World:
    """A home with its instance, quarantine and webhook, and a sensor's cursor."""

    def __init__(self, home: Path, instance: dg.DagsterInstance, site: Site) -> None:
        self.instance = instance
        self.site = site
        self.quarantine = QuarantineFolder(root=str(home / "quarantine"))
        self.alerts = Alerts(root=str(home / "alerts"), webhook=f"{site.root}/hook", ui_url="https://ui.test")
        self.cursor: str | None = None

    def killed_run(self, **tags: str) -> str:
        """Have a run of the order whose process was killed, as the monitors of runs leave it."""
        record_order(self.instance, ORDER)
        run = self.instance.create_run_for_job(
            a_job, status=dg.DagsterRunStatus.STARTED, tags=OF_THE_ORDER | tags
        )
        self.instance.report_run_failed(run, "Run worker process was killed.")
        return run.run_id

    def tick(self) -> str:
        """Look at the failures; what the tick said."""
        return self._ticked(failures, {"quarantine": self.quarantine, "alerts": self.alerts})

    def tell(self) -> str:
        """Deliver the alerts; what the tick said."""
        return self._ticked(alert_sensor, {"alerts": self.alerts})

    def close(self) -> str:
        """Look for runs that nobody works on; what the tick said."""
        return self._ticked(abandoned_runs, {"quarantine": self.quarantine})

    def _ticked(self, sensor: dg.SensorDefinition, resources: dict[str, object]) -> str:
        with dg.build_sensor_context(self.instance, cursor=self.cursor, resources=resources) as context:
            ticked = sensor.evaluate_tick(context)
        if sensor is failures:
            self.cursor = ticked.cursor
        return str(ticked.skip_message)

    def told(self) -> list[str]:
        return [asked.body for asked in self.site.asked_for("/hook")]


@pytest.fixture
def site() -> Iterator[Site]:
    with serving_replies() as served:
        served.on("/hook", Reply(200, b"ok"))
        yield served


@pytest.fixture
def world(tmp_path: Path, site: Site) -> Iterator[World]:
    with open_instance(Settings(home=tmp_path / "home")) as instance:
        yield World(tmp_path / "home", instance, site)


def test_order_of_a_killed_run_is_kept_once_and_the_webhook_told_once(world: World) -> None:
    run_id = world.killed_run()
    assert world.tick() == "1 failed runs looked at, 1 orders put into quarantine."
    (kept,) = world.quarantine.records()
    assert (kept.key, kept.order, kept.run_id) == ("X", ORDER, run_id)
    assert (kept.error_class, kept.step) == (ErrorClass.TRANSIENT, "")
    assert "Run worker process was killed" in kept.reason

    world.cursor = None  # as if the tick had not come to its end
    assert world.tick() == "1 failed runs looked at, 0 orders put into quarantine."
    assert world.quarantine.records() == [kept]
    assert world.tick().startswith("0 failed runs")

    assert world.tell() == "1 alerts told."
    assert world.tell() == "0 alerts told."
    (told,) = world.told()
    assert f"https://ui.test/runs/{run_id}" in told
    assert "Order X failed (transient)" in told


def test_record_shows_in_the_history_of_its_partition(world: World) -> None:
    run_id = world.killed_run()
    world.tick()
    selection = dg.AssetRecordsFilter(asset_key=QUARANTINED_ORDER, asset_partitions=["X"])
    (event,) = world.instance.fetch_materializations(selection, limit=5).records
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["class"].value == "transient"
    assert metadata["run"].value == run_id
    assert metadata["failed runs"].value == 1
    run = world.instance.get_run_by_id(run_id)
    assert run is not None
    assert run.tags[KEPT_TAG] == run_id


def test_dropped_order_does_not_come_back(world: World) -> None:
    world.killed_run()
    world.tick()
    world.quarantine.forget("X")
    world.cursor = None
    world.tick()
    assert world.quarantine.records() == []


def test_second_killed_run_is_counted(world: World) -> None:
    world.killed_run()
    run_id = world.killed_run()
    assert world.tick() == "2 failed runs looked at, 2 orders put into quarantine."
    (kept,) = world.quarantine.records()
    assert (kept.run_id, kept.attempts) == (run_id, 2)


def test_order_that_was_published_since_is_not_kept(world: World) -> None:
    world.killed_run()
    world.instance.report_runless_asset_event(dg.AssetMaterialization(PUBLISHED_ITEM, partition="X"))
    assert world.tick() == "1 failed runs looked at, 0 orders put into quarantine."
    assert world.quarantine.records() == []


def test_canceled_run_is_no_failure(world: World) -> None:
    record_order(world.instance, ORDER)
    run = world.instance.create_run_for_job(a_job, status=dg.DagsterRunStatus.STARTED, tags=OF_THE_ORDER)
    world.instance.report_run_canceled(run, "by somebody")
    assert world.tick().startswith("0 failed runs")
    assert world.quarantine.records() == []


def test_failed_run_of_no_order_is_told_and_not_kept(world: World) -> None:
    assert not a_job.execute_in_process(instance=world.instance, raise_on_error=False).success
    assert world.tick() == "1 failed runs looked at, 0 orders put into quarantine."
    world.tell()
    (told,) = world.told()
    assert "Job a_job failed (permanent): ValueError: as expected" in told


def test_full_disk_stops_the_tick_before_the_failure(world: World) -> None:
    world.killed_run()
    blocked = Path(world.quarantine.root)
    blocked.write_text("no folder can be made here")
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        world.tick()
    assert world.cursor is None
    blocked.unlink()
    world.tick()
    assert len(world.quarantine.records()) == 1


def test_webhook_that_is_down_loses_nothing(world: World) -> None:
    world.killed_run()
    world.site.on("/hook", *[Reply(503, b"closed today")] * 3, Reply(200, b"ok"))
    world.tick()
    assert len(world.quarantine.records()) == 1
    said = world.tell()
    assert said.startswith("0 alerts told; the next has to wait: alert webhook: it answered 503")
    assert "/hook" not in said
    assert world.tell() == "1 alerts told."


def test_nobody_is_told_where_there_is_no_webhook(world: World, tmp_path: Path) -> None:
    world.alerts = Alerts(root=str(tmp_path / "alerts"))
    world.killed_run()
    world.tick()
    assert world.tell() == "No webhook is configured."
    assert not (tmp_path / "alerts").exists()


def test_failures_of_long_ago_are_kept_and_not_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conversion_assets.automation.failure_sensor.ALERT_AGE_SECONDS", -ALERT_AGE_SECONDS)
    world.killed_run()
    world.tick()
    assert len(world.quarantine.records()) == 1
    assert list(world.alerts.pending(datetime.now(UTC))) == []


def test_run_that_nobody_works_on_is_closed(world: World) -> None:
    record_order(world.instance, ORDER)
    run = world.instance.create_run_for_job(a_job, status=dg.DagsterRunStatus.STARTED, tags=OF_THE_ORDER)
    world.instance.add_run_tags(run.run_id, {PROCESS_TAG: f"{run.run_id}:{socket.gethostname()}:1:1.00"})
    assert world.close() == "1 abandoned runs closed."
    assert [kept.run_id for kept in world.quarantine.records()] == [run.run_id]


def test_alert_says_where_the_evidence_of_its_run_is_now(world: World) -> None:
    run = world.instance.get_run_by_id(world.killed_run())
    assert run is not None
    failure = failure_of(world.instance, run.run_id)
    evidence: Evidence = {"copy": "/quarantine/X", "moved from": "/staging/X"}
    keep_failure(world.instance, world.quarantine, run, failure, evidence)
    world.tick()
    world.tell()
    (told,) = world.told()
    assert "Its evidence is now in /quarantine/X, moved there from /staging/X. https://ui.test" in told
