from __future__ import annotations

import json
import os
import zipfile
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from conversion_assets.backfilling import Request, keys_under_way, launch
from conversion_assets.cli import main
from conversion_assets.commands.quarantine import Age
from conversion_assets.criteria import CodeVersions, Criteria
from conversion_assets.definitions import build_definitions
from conversion_assets.errors import ErrorClass
from conversion_assets.instance import open_instance
from conversion_assets.ordering import Wishes, orders_from
from conversion_assets.orders import TargetRule
from conversion_assets.partitions import find_order, record_order
from conversion_assets.quarantining import QUARANTINED_ORDER, quarantine_of
from conversion_assets.resources.quarantine import Quarantine, QuarantinedOrder
from conversion_assets.running import run_order
from conversion_assets.selecting import History, select
from conversion_assets.settings import Settings
from conversion_assets_tests.resources.test_quarantine import record
from conversion_assets_tests.safe.products import S1_NAME

ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("anywhere"), "__repository__"), "a_job"
)
"""Where the code of a queued run is."""


@dg.job
def a_job() -> None:
    """Do nothing."""


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what a command sets for its process end with the test."""
    for name in ("CONVERSION_ASSETS_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, os.environ.get(name, ""))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def quarantine(settings: Settings) -> Quarantine:
    return quarantine_of(settings)


@pytest.fixture
def poisoned(settings: Settings, tmp_path: Path) -> QuarantinedOrder:
    """Order an archive that holds no product."""
    archive = tmp_path / f"{S1_NAME.removesuffix('.SAFE')}.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("letters/first.txt", "Dear reader")
    (order,) = orders_from(str(archive), Wishes(owner="local", default_owner="local"))
    with open_instance(settings) as instance:
        run_order(build_definitions(settings), instance, order, reconvert=False, listener=lambda *_: None)
    (kept,) = quarantine_of(settings).records()
    return kept


@pytest.fixture
def kept(settings: Settings, quarantine: Quarantine) -> QuarantinedOrder:
    """Have an order in quarantine with a copy of its input, as a failed run leaves it."""
    staged = settings.home / "staging" / "X"
    staged.mkdir(parents=True)
    (staged / "X.zip").write_text("bad")
    known = record("X", evidence=quarantine.take_evidence("X", staged))
    with open_instance(settings) as instance:
        record_order(instance, known.order)
    return quarantine.keep(known)


def command(settings: Settings, *arguments: str) -> Result:
    return CliRunner(mix_stderr=False).invoke(main, ["quarantine", *arguments, "--home", str(settings.home)])


def status_of(settings: Settings, key: str) -> str:
    arguments = ["status", key, "--json", "--home", str(settings.home)]
    ended = CliRunner(mix_stderr=False).invoke(main, arguments)
    assert ended.exit_code == 0, ended.stderr
    return ended.stdout


def observed(settings: Settings, key: str) -> list[object]:
    with open_instance(settings) as instance:
        selection = dg.AssetRecordsFilter(asset_key=QUARANTINED_ORDER, asset_partitions=[key])
        found = instance.fetch_observations(selection, limit=10).records
    return [
        event.asset_observation.metadata["what became of it"].value
        for event in found
        if event.asset_observation
    ]


def test_empty_quarantine(settings: Settings) -> None:
    assert command(settings, "list").stdout == "Nothing is in quarantine.\n"
    assert command(settings, "list", "--json").stdout == ""


def test_poisoned_order_is_shown_with_reason_evidence_and_time(
    settings: Settings, poisoned: QuarantinedOrder
) -> None:
    listed = command(settings, "list").stdout
    for words in (poisoned.key, "poisoned", "must hold one .SAFE or .SEN3 folder"):
        assert words in listed
    shown = command(settings, "show", poisoned.key).stdout
    for words in (
        "unzipped_safe",
        "Fetch the product again",
        str(poisoned.evidence["sha256"]),
        "first failed",
    ):
        assert words in shown
    staged, now = settings.home / "staging" / poisoned.key, poisoned.evidence["copy"]
    assert str(staged) in poisoned.subject
    assert f"evidence        now in {now}, moved there from {staged}" in shown
    (document,) = map(json.loads, command(settings, "list", "--json").stdout.splitlines())
    assert QuarantinedOrder.model_validate(document) == poisoned
    assert json.loads(command(settings, "show", poisoned.key, "--json").stdout) == document

    copy = Path(str(poisoned.evidence["copy"]))
    source = Path(poisoned.order.derived_from.removeprefix("file://"))
    assert (copy / source.name).read_bytes() == source.read_bytes()
    assert poisoned.evidence["bytes"] == source.stat().st_size
    assert list((settings.home / "staging").iterdir()) == []


def test_event_of_a_quarantined_order_tells_where_the_evidence_is_now(
    settings: Settings, poisoned: QuarantinedOrder
) -> None:
    with open_instance(settings) as instance:
        event = instance.get_latest_materialization_event(QUARANTINED_ORDER)
    shown = event.asset_materialization if event else None
    assert shown is not None
    assert shown.description == f"{poisoned.reason} Its evidence is {poisoned.evidence_now}."
    assert shown.metadata["evidence"].value == poisoned.evidence["copy"]
    assert shown.metadata["evidence moved from"].value == poisoned.evidence["moved from"]


@pytest.mark.parametrize(
    ("choice", "keys"),
    [
        ((), ["A", "B", "C"]),
        (("--class", "poisoned"), ["A", "B"]),
        (("--type", "S03OLCEFR"), ["B"]),
        (("--type", "OL_1_EFR___"), ["B"]),
        (("--older-than", "1w"), ["A", "B", "C"]),
        (("--older-than", "999999w"), []),
        (("--class", "transient", "--type", "S03OLCEFR"), []),
    ],
)
def test_orders_are_chosen(
    choice: tuple[str, ...], keys: list[str], settings: Settings, quarantine: Quarantine
) -> None:
    quarantine.write(record("A"))
    quarantine.write(record("B", product_type="S03OLCEFR"))
    quarantine.write(record("C", error_class=ErrorClass.PERMANENT))
    ended = command(settings, "list", "--json", *choice)
    assert ended.exit_code == 0, ended.output
    assert sorted(json.loads(line)["key"] for line in ended.stdout.splitlines()) == keys


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("show", "Z"), 2, "it is not in quarantine"),
        (("drop", "Z"), 2, "it is not in quarantine"),
        (("drop",), 2, "Name orders, or say --class"),
        (("replay",), 2, "Name orders, or say --class"),
        (("replay", "Z", "--all"), 2, "Name orders, or say --all"),
        (("list", "--older-than", "soon"), 2, "write it as 90m, 12h, 3d or 2w"),
        (("list", "--class", "odd"), 2, "odd"),
        (("list", "--type", "NOPE"), 2, "product type 'NOPE': no product type is called so"),
        (("replay", "--type", "NOPE"), 2, "Name one as EOPF does"),
        (("drop", "--type", "NOPE"), 2, "Name one as EOPF does"),
    ],
)
def test_wrong_usage_is_told(arguments: tuple[str, ...], code: int, says: str, settings: Settings) -> None:
    ended = command(settings, *arguments)
    assert ended.exit_code == code
    assert says in ended.stderr


def test_choice_that_nothing_meets_is_told(settings: Settings, quarantine: Quarantine) -> None:
    quarantine.write(record("A"))
    nothing = "Nothing in quarantine meets this.\n"
    assert command(settings, "list", "--type", "S03OLCEFR").stdout == nothing
    for what in ("replay", "drop"):
        ended = command(settings, what, "--type", "S03OLCEFR")
        assert (ended.exit_code, ended.stdout, ended.stderr) == (0, "", nothing)


def test_ages_are_read() -> None:
    read = {text: Age().convert(text, None, None) for text in ("90m", "12h", "3d", "2w")}
    assert read == {
        "90m": timedelta(minutes=90),
        "12h": timedelta(hours=12),
        "3d": timedelta(days=3),
        "2w": timedelta(weeks=2),
    }


def test_replay_that_fails_again_is_counted(settings: Settings, poisoned: QuarantinedOrder) -> None:
    ended = command(settings, "replay", "--type", str(poisoned.product_type), "--json")
    assert ended.exit_code == 2
    assert json.loads(ended.stdout)["error_class"] == "poisoned"
    (again,) = quarantine_of(settings).records()
    assert (again.attempts, again.since, again.status) == (2, poisoned.since, "quarantined")
    assert again.when > poisoned.when
    assert again.run_id != poisoned.run_id
    assert Path(str(again.evidence["copy"])).is_dir()
    assert observed(settings, poisoned.key) == ["replayed"]


def test_submitted_replay_waits_for_the_daemon_with_the_latest_order(
    settings: Settings, kept: QuarantinedOrder
) -> None:
    newer = kept.order.model_copy(update={"target": TargetRule(collection="elsewhere")})
    with open_instance(settings) as instance:
        record_order(instance, newer)
    ended = command(settings, "replay", kept.key, "--submit")
    assert (ended.exit_code, ended.stdout) == (0, f"submitted {kept.key}\n")
    assert "the latest order is replayed" in ended.stderr
    (replayed,) = quarantine_of(settings).records()
    assert (replayed.status, replayed.order) == ("replayed", newer)
    assert replayed.replay_asked is not None


def test_replay_brings_back_an_order_that_dagster_forgot(settings: Settings, kept: QuarantinedOrder) -> None:
    with open_instance(settings) as instance:
        instance.delete_dynamic_partition("safe_items", kept.key)
        instance.wipe_assets([dg.AssetKey("input_item")])
        assert find_order(instance, kept.key) is None
    command(settings, "replay", "--all", "--submit")
    with open_instance(settings) as instance:
        assert find_order(instance, kept.key) == kept.order
        assert instance.get_dynamic_partitions("safe_items") == [kept.key]


def test_dropped_order_leaves_nothing_but_the_history(settings: Settings, kept: QuarantinedOrder) -> None:
    staged = settings.home / "staging" / kept.key
    staged.mkdir()  # of a replay that was cancelled
    ended = command(settings, "drop", "--class", "poisoned")
    assert (ended.exit_code, ended.stdout) == (0, f"dropped {kept.key}\n")
    assert quarantine_of(settings).records() == []
    assert not staged.exists()
    assert not Path(str(kept.evidence["copy"])).exists()
    assert observed(settings, kept.key) == ["dropped"]
    with open_instance(settings) as instance:
        assert find_order(instance, kept.key) == kept.order


def test_nobody_tries_a_dropped_order_again(settings: Settings, kept: QuarantinedOrder) -> None:
    with open_instance(settings) as instance:
        queued = instance.create_run_for_job(
            a_job,
            tags={"dagster/partition": kept.key},
            status=dg.DagsterRunStatus.QUEUED,
            remote_job_origin=ORIGIN,
        )
    assert command(settings, "drop", kept.key).exit_code == 0
    with open_instance(settings) as instance:
        assert instance.get_dynamic_partitions("safe_items") == []
        assert History(instance).keys == ()
        withdrawn = instance.get_run_by_id(queued.run_id)
        assert withdrawn is not None
        assert withdrawn.status is dg.DagsterRunStatus.CANCELED
    assert '"dropped"' in status_of(settings, kept.key)

    with open_instance(settings) as instance:
        record_order(instance, kept.order)
        assert select(History(instance), Criteria(), CodeVersions("", frozenset())) == (kept.key,)


def test_order_of_a_backfill_that_goes_on_is_not_dropped(
    settings: Settings, quarantine: Quarantine, kept: QuarantinedOrder
) -> None:
    quarantine.write(record("Y"))
    with open_instance(settings) as instance:
        launch(instance, Request((kept.key,)))
    ended = command(settings, "drop", "--all")
    assert (ended.exit_code, ended.stdout) == (2, "dropped Y\n")
    assert "it belongs to a backfill that goes on" in ended.stderr
    assert [one.key for one in quarantine.records()] == [kept.key]
    assert Path(str(kept.evidence["copy"])).exists()
    with open_instance(settings) as instance:
        assert keys_under_way(instance) == {kept.key}
        assert instance.get_dynamic_partitions("safe_items") == [kept.key]


def test_status_says_what_is_in_quarantine_and_where_its_evidence_is(
    settings: Settings, poisoned: QuarantinedOrder
) -> None:
    shown = json.loads(status_of(settings, poisoned.key))
    assert shown["status"] == "failed"
    assert shown["quarantine"] == f"conversion-assets quarantine show {poisoned.key}"
    assert shown["evidence"] == poisoned.evidence_now
