"""The command in this process; ``end_to_end/operation/test_backfill.py`` runs it as installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from conversion_assets.cli import main
from conversion_assets.instance import open_instance
from conversion_assets.orders import Order
from conversion_assets.partitions import record_order
from conversion_assets.settings import Settings
from conversion_assets_tests.safe.products import S1_NAME, S2_NAME

S1_KEY, S2_KEY = S1_NAME.removesuffix(".SAFE"), S2_NAME.removesuffix(".SAFE")
Command = Callable[..., Result]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a home with two orders, for all tests here."""
    home = tmp_path_factory.mktemp("backfill") / "home"
    with open_instance(Settings(home=home)) as instance:
        for key in (S1_KEY, S2_KEY):
            order = Order(
                key=key, item_id=key, href=f"s3://b/{key}.zip", derived_from="s3://b", owner="local"
            )
            record_order(instance, order)
    return home


@pytest.fixture
def command(home: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    for name in ("CONVERSION_ASSETS_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, str(home))  # the command sets them; afterwards they are as before

    def invoke(*arguments: str, said: str | None = None) -> Result:
        return CliRunner(mix_stderr=False).invoke(
            main, ["backfill", *arguments, "--home", str(home)], input=said
        )

    return invoke


def made(command: Command) -> set[str]:
    return {json.loads(line)["id"] for line in command("list", "--json").stdout.splitlines()}


def test_dry_run_tells_and_makes_nothing(command: Command) -> None:
    before = made(command)
    told = command("--all", "--dry-run")
    assert told.exit_code == 0
    assert "2 orders, each from staged_safe_item to published_item (5 assets)" in told.stderr
    assert "1  S01SIWGRD" in told.stderr
    assert S2_KEY in told.stderr
    assert made(command) == before


def test_backfill_is_made_after_a_question_only(command: Command) -> None:
    before = made(command)
    assert command("--type", "S2MSI1C", said="n\n").exit_code == 1
    assert made(command) == before
    answer = command(
        "--type", "S2MSI1C", "--only", "published_item,stac_item", "--title", "again", said="y\n"
    )
    assert answer.exit_code == 0, answer.output
    assert "No daemon is running: start 'conversion-assets ui'" in answer.stderr
    (backfill,) = made(command) - before
    assert answer.stdout.strip().endswith(backfill)
    assert "0/1  again" in command("status", backfill).stdout
    assert "1 waiting" in command("status", backfill).stdout


def test_orders_are_named_by_line_with_comments(command: Command) -> None:
    told = command(
        "--keys-from", "-", "--dry-run", "--json", said=f"# these\n\n{S2_KEY}\n {S1_KEY} \n{S2_KEY}\n"
    )
    assert json.loads(told.stdout)["keys"] == [S2_KEY, S1_KEY]


def test_unknown_order_is_refused_by_name(command: Command) -> None:
    told = command(S1_KEY, "unheard-of", "--yes")
    assert told.exit_code == 2
    assert "unheard-of: nothing was ordered under this key" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dry-run"], "Say which orders"),
        (["--all", "--from", "stac_item", "--only", "stac_item"], "Say --from or --only"),
        (["--all", "--from", "nothing"], "There is no asset 'nothing'"),
        (["--all", "--only", "stac_item,"], "There is no asset ''"),
        (["--time", "yesterday"], "no range of times"),
        (["--type", "nonsense"], "no product type is called so"),
        (["--older-than-eopf", "new"], "no version of eopf"),
        (["--older-than-eopf", "9", "--yes"], "no order meets the criteria"),
        (["--all", "--only", "stac_item", "--reconvert", "--yes"], "zarr_product is not among its assets"),
        (["--catalogue-query", "a = 1", "--yes"], "a static catalogue has no server that could search"),
        (["--collection", "unheard-of"], "the catalogue has none of this id"),
        (["--collection", "x", S1_KEY], "Name orders, or describe items of the catalogue"),
        (["status", "unheard-of"], "there is none of this id"),
    ],
)
def test_what_cannot_be_done_is_told(command: Command, arguments: list[str], words: str) -> None:
    told = command(*arguments)
    assert told.exit_code == 2, told.output
    assert words in told.stderr
    assert told.stdout == ""


def test_orders_of_a_backfill_that_goes_on_are_told(command: Command) -> None:
    command(S2_KEY, "--yes")
    told = command("--all", "--dry-run")
    assert "1 of them are in a backfill that goes on: see 'conversion-assets backfill list'" in told.stderr
    assert json.loads(command("--all", "--dry-run", "--json").stdout)["under_way"] == 1


def test_backfill_is_cancelled_and_not_resumed_before_its_end(command: Command) -> None:
    before = made(command)
    command("--all", "--yes")
    (backfill,) = made(command) - before
    assert "It is being cancelled." in command("cancel", backfill).stderr
    assert "ending" in command("list").stdout
    told = command("resume", backfill)
    assert told.exit_code == 2
    assert "Wait for its end" in told.stderr
