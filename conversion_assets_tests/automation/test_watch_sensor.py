from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.sensor import execute_sensor_iteration

from conversion_assets.automation.watch_sensor import _take, source_of, watch_sensor
from conversion_assets.backfilling import BELOW_ORDERS, OF_ORDERS, PRIORITY_TAG, SOURCE_TAG
from conversion_assets.errors import TransientError
from conversion_assets.instance import open_instance, prepare_home
from conversion_assets.ordering import Wishes
from conversion_assets.partitions import order_of, safe_items
from conversion_assets.resources.inbox_folder import InboxFolder, read_cursor
from conversion_assets.resources.input_source import Arrival, InputSource
from conversion_assets.resources.order_defaults import OrderDefaults
from conversion_assets.resources.stac_search import StacSearch
from conversion_assets.settings import Settings
from conversion_assets.standing import latest_skipped
from conversion_assets.watches import InboxWatch, StacWatch, Watch
from conversion_assets.web.addresses import HrefRules
from conversion_assets_tests.peers.serving import Trouble
from conversion_assets_tests.peers.serving import serving as serving_peer
from conversion_assets_tests.resources.http_files import serving
from conversion_assets_tests.resources.stac_source import COLLECTION, StacSource, at, item
from conversion_assets_tests.safe.products import S1_NAME, S3_NAME, product

DEFAULTS = OrderDefaults(owner="local", schemes=["file", "s3", "http"], private_hosts=["127.0.0.1"])
WISHES = Wishes(owner="local", default_owner="local", rules=DEFAULTS.rules)
S1_KEY, S3_KEY = S1_NAME.removesuffix(".SAFE"), S3_NAME.removesuffix(".SEN3")
Tick = Callable[..., dg.SensorResult | str]


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def tick(inbox: Path) -> Iterator[Tick]:
    """Evaluate the sensor as the daemon would; gives its result, or its words where it skips."""
    cursors: list[str | None] = [None]
    with dg.DagsterInstance.ephemeral() as instance:

        def evaluate(*, most: int = 50, stable_seconds: float = 0) -> dg.SensorResult | str:
            source = InboxFolder(folder=str(inbox), stable_seconds=stable_seconds)
            watch = InboxWatch(name="inbox", most=most)
            resources = {source_of(watch): source, "order_defaults": DEFAULTS}
            with dg.build_sensor_context(
                instance=instance, cursor=cursors[0], resources=resources
            ) as context:
                result: Any = watch_sensor(watch)._raw_fn(context)
            assert isinstance(result, dg.SensorResult)
            cursors[0] = result.cursor
            return str(result.skip_reason.skip_message) if result.skip_reason else result

        yield evaluate


def keys(result: dg.SensorResult | str) -> list[str]:
    assert isinstance(result, dg.SensorResult), result
    requests = [str(request.partition_key) for request in result.run_requests or ()]
    (added,) = result.dynamic_partitions_requests or ()
    assert added.partition_keys == requests
    ordered = [event for event in result.asset_events if isinstance(event, dg.AssetMaterialization)]
    assert [event.partition for event in ordered] == requests
    return requests


def archive(inbox: Path, name: str) -> Path:
    folder = product(inbox.parent / "made", name)
    return Path(shutil.make_archive(str(inbox / name), "zip", folder.parent, name))


def feature(name: str, href: str = "s3://bucket/X.zip") -> dict[str, Any]:
    return {"type": "Feature", "id": name, "geometry": None, "assets": {"product": {"href": href}}}


def test_each_arrival_becomes_one_order_once(inbox: Path, tick: Tick) -> None:
    product(inbox, S1_NAME)
    archive(inbox, S3_NAME)
    (inbox / "item.json").write_text(json.dumps(feature("X")))
    assert sorted(keys(tick())) == sorted([S1_KEY, S3_KEY, "X"])
    assert tick() == "Nothing new in the inbox (3 known)."


def test_what_should_be_known_of_an_order_is_logged(
    inbox: Path, tick: Tick, capfd: pytest.CaptureFixture[str]
) -> None:
    document = feature("X") | {"properties": {"product:type": "S2MSI1C"}}
    document["assets"]["product"]["href"] = f"s3://bucket/{S1_NAME}"
    (inbox / "item.json").write_text(json.dumps(document))
    assert keys(tick()) == ["X"]
    assert "item X: its product:type is 'S2MSI1C', by name it is of type IW_GRDH_1S" in capfd.readouterr().err


def test_feature_collection_becomes_many_orders(inbox: Path, tick: Tick) -> None:
    document = {"type": "FeatureCollection", "features": [feature("X"), feature("Y")]}
    (inbox / "found.geojson").write_text(json.dumps(document))
    assert keys(tick()) == ["X", "Y"]


def test_run_key_names_the_order_and_its_version(inbox: Path, tick: Tick) -> None:
    (inbox / "item.json").write_text(json.dumps(feature("X")))
    first = tick()
    assert isinstance(first, dg.SensorResult)
    (request,) = first.run_requests or ()
    assert str(request.run_key).startswith("X@")
    assert request.tags == {SOURCE_TAG: "inbox", PRIORITY_TAG: OF_ORDERS}
    assert int(BELOW_ORDERS) < 0 < int(OF_ORDERS)  # 0 is what the web interface launches
    (inbox / "item.json").write_text(json.dumps(feature("X", "s3://bucket/corrected.zip")))
    second = tick()
    assert isinstance(second, dg.SensorResult)
    (again,) = second.run_requests or ()
    assert (again.partition_key, again.run_key == request.run_key) == ("X", False)


def test_unstable_arrival_is_left_for_later(inbox: Path, tick: Tick) -> None:
    product(inbox, S1_NAME)
    assert tick(stable_seconds=3600) == "Nothing new in the inbox (0 known)."
    assert keys(tick()) == [S1_KEY]


def test_refused_arrival_is_skipped_with_its_reason_and_does_not_hold_up_others(
    inbox: Path, tick: Tick
) -> None:
    (inbox / "notes.txt").write_text("hello")
    assert "notes.txt" in str(skipped := tick())
    assert "neither an archive nor a STAC document" in str(skipped)
    assert tick() == "Nothing new in the inbox (1 known)."
    product(inbox, S1_NAME)
    (inbox / "hostile.json").write_text(json.dumps(feature("../../x")))
    assert keys(tick()) == [S1_KEY]
    (inbox / "notes.txt").write_text("hello again")
    assert "notes.txt" in str(tick())


def test_arrival_with_which_anything_is_wrong_does_not_hold_up_others(tmp_path: Path) -> None:
    wishes = Wishes(owner="local", default_owner="local", rules=HrefRules(("file", "no-such-protocol")))
    arrivals = [
        Arrival("odd", "no-such-protocol://host/item", "v1"),
        Arrival("unreadable", "/proc/self/mem", "v1"),
        Arrival(S1_NAME, str(product(tmp_path, S1_NAME)), "v1"),
    ]
    odd, unreadable, sound = [taken for taken in _take(arrivals, wishes) if taken]
    assert odd.refusals[0].startswith("ValueError: ")
    assert unreadable.refusals[0].startswith("/proc/self/mem: ")
    assert [order.key for order in sound.orders] == [S1_KEY]


def test_bad_feature_does_not_hold_up_the_others(inbox: Path, tick: Tick) -> None:
    document = {"type": "FeatureCollection", "features": [feature("X"), feature("../x"), feature("Y")]}
    (inbox / "found.geojson").write_text(json.dumps(document))
    assert keys(tick()) == ["X", "Y"]
    assert tick() == "Nothing new in the inbox (1 known)."
    document["features"] = [feature(f"../{number}") for number in range(12)]
    (inbox / "found.geojson").write_text(json.dumps(document))
    skipped = str(tick())
    assert skipped.count("an item id has") == 10
    assert skipped.endswith("; and 2 more")


def test_arrival_whose_server_is_busy_is_looked_at_again(inbox: Path, tick: Tick) -> None:
    """A document that cannot be read for now is neither refused nor forgotten."""
    (inbox / "item.json").write_text(json.dumps(feature("X")))
    with serving() as site:
        site.add("item").status = 503
        arrival = Arrival("remote", site.url("item"), "v1")
        assert list(_take([arrival], WISHES)) == [None]
        site.files["item"].status = None
        site.files["item"].content = json.dumps(feature("X", "http://h/X.zip")).encode()
        (taken,) = _take([arrival], WISHES)
    assert taken is not None
    assert [order.key for order in taken.orders] == ["X"]
    assert keys(tick()) == ["X"]


def test_one_tick_takes_no_more_than_it_may(inbox: Path, tick: Tick) -> None:
    names = [f"X{number}" for number in range(7)]
    for name in names:
        (inbox / f"{name}.json").write_text(json.dumps(feature(name)))
    batches = [keys(tick(most=3)) for _ in range(3)]
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert sorted(key for batch in batches for key in batch) == names
    assert tick(most=3) == "Nothing new in the inbox (7 known)."


def test_one_tick_makes_no_more_orders_than_it_may(inbox: Path, tick: Tick) -> None:
    """An arrival is taken whole: together with others where it fits, and else alone."""
    for name, count in (("a", 1), ("b", 2), ("c", 5), ("d", 1)):
        features = [feature(f"{name}{number}") for number in range(count)]
        document = {"type": "FeatureCollection", "features": features}
        (inbox / f"{name}.json").write_text(json.dumps(document))
    assert [[key[0] for key in keys(tick(most=3))] for _ in range(3)] == [["a", "b", "b"], ["c"] * 5, ["d"]]
    assert tick(most=3) == "Nothing new in the inbox (4 known)."


def test_cursor_forgets_what_is_gone_and_takes_it_when_it_comes_back(inbox: Path, tick: Tick) -> None:
    (inbox / "X.json").write_text(json.dumps(feature("X")))
    (inbox / "Y.json").write_text(json.dumps(feature("Y")))
    first = tick()
    assert isinstance(first, dg.SensorResult)
    assert set(read_cursor(first.cursor)) == {"X.json", "Y.json"}
    (inbox / "X.json").rename(inbox.parent / "X.json")
    tick()
    (inbox.parent / "X.json").rename(inbox / "X.json")
    again = tick()
    assert isinstance(again, dg.SensorResult)
    assert keys(again) == ["X"]
    assert set(read_cursor(again.cursor)) == {"X.json", "Y.json"}
    # Unchanged, it has the run key of its first run, by which Dagster knows that it ran already.
    assert {request.run_key for request in again.run_requests or ()} < {
        request.run_key for request in first.run_requests or ()
    }


def test_folder_that_is_missing_skips_the_tick_and_says_why(tmp_path: Path) -> None:
    watch = InboxWatch(name="drop", folder=tmp_path / "drop")
    source = InboxFolder(folder=str(watch.folder), stable_seconds=0)
    reason = skip_reason(watch, source)
    assert str(tmp_path / "drop") in reason
    assert reason.endswith("(No such file or directory). The next tick tries again.")
    assert not (tmp_path / "drop").exists()


def test_source_that_is_busy_is_not_to_be_ordered_again() -> None:
    with serving() as site:
        site.add("").status = 503
        watch = StacWatch(kind="stac", name="api", url=site.url("").rstrip("/"), collections=("x",))
        source = StacSearch(name="api", url=watch.url, collections=["x"], retries=0)
        with pytest.raises(TransientError, match="order it again later"):
            source.look(None, 1)
        reason = skip_reason(watch, source)
    assert reason.endswith("The next tick tries again.")
    assert "order it again" not in reason


def skip_reason(watch: Watch, source: InputSource) -> str:
    resources = {source_of(watch): source, "order_defaults": DEFAULTS}
    with dg.build_sensor_context(resources=resources) as context:
        skipped: Any = watch_sensor(watch)._raw_fn(context)
    assert isinstance(skipped, dg.SkipReason)
    return str(skipped.skip_message)


def test_description_names_the_folder(tmp_path: Path) -> None:
    assert str(tmp_path) in str(watch_sensor(InboxWatch(name="drop", folder=tmp_path)).description)
    assert "the folder inbox of the home" in str(watch_sensor(InboxWatch(name="inbox")).description)


def test_order_is_kept_with_the_version_of_its_source(inbox: Path, tick: Tick) -> None:
    (inbox / "item.json").write_text(json.dumps(feature("X")))
    result = tick()
    assert isinstance(result, dg.SensorResult)
    (event,), (request,) = result.asset_events, result.run_requests or ()
    assert isinstance(event, dg.AssetMaterialization)
    assert request.run_key == f"X@{event.metadata['version'].value}"


# --- the daemon's own evaluation, on an instance of its own -----------------------------------------


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in list(os.environ):
        if name.startswith(("CONVERSION_ASSETS_", "DAGSTER_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CONVERSION_ASSETS_HOME", str(tmp_path))
    monkeypatch.setenv("CONVERSION_ASSETS_INBOX_STABLE_SECONDS", "0")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    settings = Settings()
    prepare_home(settings)
    with (settings.dagster_home / "dagster.yaml").open("a") as file:
        file.write("code_servers:\n  wait_for_local_processes_on_shutdown: true\n")
    return settings


@contextmanager
def daemon(instance: dg.DagsterInstance) -> Iterator[Callable[[], None]]:
    """Load the code location in its own process, as the daemon does, and give one round of its sensors."""
    target = ModuleTarget(
        "conversion_assets.definitions", None, str(Path.cwd()), location_name="conversion_assets"
    )
    with (
        create_test_daemon_workspace_context(target, instance) as workspace,
        ThreadPoolExecutor(1) as evaluating,
        ThreadPoolExecutor(1) as submitting,
    ):

        def evaluate() -> None:
            futures: dict[str, Any] = {}
            for outcome in execute_sensor_iteration(
                workspace,
                logging.getLogger("sensor round"),
                threadpool_executor=evaluating,
                submit_threadpool_executor=submitting,
                sensor_tick_futures=futures,
            ):
                assert outcome is None or not hasattr(outcome, "message"), outcome
            for future in futures.values():
                future.result()

        yield evaluate


def state_of(instance: dg.DagsterInstance, name: str) -> Any:  # noqa: ANN401 - not part of Dagster's public face
    return next(state for state in instance.all_instigator_state() if state.instigator_name == name)


def runs(instance: dg.DagsterInstance) -> list[str]:
    return sorted(run.tags["dagster/partition"] for run in instance.get_runs())


def test_daemon_makes_one_run_of_each_arrival_whatever_is_restarted(
    settings: Settings, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = [1_900_000_000.0]
    monkeypatch.setattr("dagster._daemon.sensor.get_current_timestamp", lambda: moment[0])
    product(inbox, S1_NAME)
    (inbox / "notes.txt").write_text("hello")
    (inbox / "loop.zip").symlink_to(inbox / "loop.zip")
    (inbox / os.fsdecode(b"\xff.zip")).write_text("hello")
    with open_instance(settings) as instance:
        with daemon(instance) as evaluate:
            evaluate()
        assert runs(instance) == [S1_KEY]
        assert order_of(instance, S1_KEY).href == (inbox / S1_NAME).as_uri()
        assert instance.get_dynamic_partitions(str(safe_items.name)) == [S1_KEY]
        assert {skipped.name for skipped in latest_skipped(instance)} == {"notes.txt", "\\udcff.zip"}
        state = state_of(instance, "inbox")
        assert state.instigator_data is not None
    with open_instance(settings) as instance:
        state = state_of(instance, "inbox")
        data: Any = state.instigator_data
        assert set(read_cursor(data.cursor)) == {S1_NAME, "notes.txt", os.fsdecode(b"\xff.zip")}
        # As if the daemon had been killed after it had made the run and before it kept the cursor.
        instance.update_instigator_state(state.with_data(data._replace(cursor=None)))
        archive(inbox, S3_NAME)
        moment[0] += 60
        with daemon(instance) as evaluate:
            evaluate()
            assert runs(instance) == sorted([S1_KEY, S3_KEY])
            moment[0] += 60
            evaluate()
        assert runs(instance) == sorted([S1_KEY, S3_KEY])
        assert order_of(instance, S3_KEY).owner == "local"


WATCHES = """
watches:
  - name: {name}
    kind: stac
    url: {url}
    collections: [{collection}]
    oldest_days: 36500
"""


@pytest.fixture
def catalogue(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[StacSource]:
    """Serve a STAC API that two watches look at."""
    with serving_peer(StacSource()) as api:
        one, other = (
            WATCHES.format(name=name, url=api.url, collection=COLLECTION) for name in ("one", "other")
        )
        file = settings.home / "watches.yaml"
        file.write_text(one + other.replace("\nwatches:\n", ""))
        monkeypatch.setenv("CONVERSION_ASSETS_WATCHES", str(file))
        yield api


def test_watches_side_by_side_order_once_and_tell_what_they_skip(
    catalogue: StacSource, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two watches of one source ask for a run each, both of one partition."""
    moment = [1_900_000_000.0]
    monkeypatch.setattr("dagster._daemon.sensor.get_current_timestamp", lambda: moment[0])
    catalogue.put(item("A", 0), item("gone", 1, unpublished=at(0)), item("unmapped", 2))
    catalogue.store.items[COLLECTION, "unmapped"]["properties"]["product:type"] = "MSI_L1A_DS"
    catalogue.put(item("empty", 3) | {"assets": {}})
    with open_instance(settings) as instance, daemon(instance) as evaluate:
        evaluate()
        assert runs(instance) == ["A", "A"]
        assert len({run.tags["dagster/run_key"] for run in instance.get_runs()}) == 1
        assert instance.get_dynamic_partitions(str(safe_items.name)) == ["A"]
        assert str(order_of(instance, "A").published) == "2026-03-01 12:00:00+00:00"
        reasons = {skipped.name: skipped.reason for skipped in latest_skipped(instance)}
        assert set(reasons) == {"gone", "unmapped", "empty"}
        assert "withdrew" in reasons["gone"]
        assert "no mapping for this legacy type" in reasons["unmapped"]
        assert "no asset looks like the product" in reasons["empty"]
        assert {skipped.watch for skipped in latest_skipped(instance)} == {"one", "other"}

        before = state_of(instance, "one").instigator_data.cursor
        catalogue.put(item("late", 4, unpublished=at(0)))
        moment[0] += 60
        evaluate()
        after = state_of(instance, "one").instigator_data.cursor
        assert after != before, "the cursor moves where all is skipped"
        assert latest_skipped(instance)[0].name == "late"

        told = len(latest_skipped(instance))
        catalogue.add(Trouble(path="/search", times=None, status=503))
        moment[0] += 60
        evaluate()
        assert state_of(instance, "one").instigator_data.cursor == after
        catalogue.troubles.clear()
        moment[0] += 60
        evaluate()
        assert len(latest_skipped(instance)) == told

        # As if the daemon had been killed after it had made the runs and before it kept the cursor.
        state = state_of(instance, "one")
        instance.update_instigator_state(state.with_data(state.instigator_data._replace(cursor=None)))
        moment[0] += 60
        evaluate()
        assert runs(instance) == ["A", "A"]
