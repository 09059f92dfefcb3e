from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from conversion_assets_tests.end_to_end import damage
from conversion_assets_tests.end_to_end.command import (
    ENGINE_MODULE,
    PROGRAM,
    SECONDS_TO_END,
    Ended,
    convert,
    environment,
    leftovers,
    run,
    start_converting,
    visible,
)
from conversion_assets_tests.end_to_end.shared import PublishedProducts, make_small, published_products
from conversion_assets_tests.safe_products import ProductKind

KIND = ProductKind.S3_OL_EFR


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> PublishedProducts:
    return published_products(tmp_path_factory)


@pytest.fixture(scope="module")
def home(published: PublishedProducts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a history of its own: a copy of the shared one."""
    return Path(shutil.copytree(published.home, tmp_path_factory.mktemp("cli") / "home", symlinks=True))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small(KIND, tmp_path_factory.mktemp("sound"))


def test_help_names_the_commands_and_exit_codes() -> None:
    shown = run("--help")
    assert shown.code == 0
    for command in ("convert", "status", "ui"):
        assert command in shown.stdout
    convert_help = run("convert", "-h")
    assert convert_help.code == 0
    for words in (
        "SOURCE",
        "--owner",
        "--collection",
        "--asset",
        "--reconvert",
        "--json",
        "--home",
        "Exit code",
    ):
        assert words in convert_help.stdout


def test_version_is_shown() -> None:
    assert run("--version").stdout.startswith("conversion-assets, version ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("convert",), "Missing argument"),
        (("convert", "--no-such-option", "x"), "No such option"),
        (("no-such-command",), "No such command"),
        (("ui", "--port", "70000"), "70000"),
        (("status", "one", "two"), "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_told(arguments: tuple[str, ...], says: str) -> None:
    ended = run(*arguments)
    assert ended.code == 2
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_wrong_setting_is_named_by_its_variable(tmp_path: Path) -> None:
    ended = run("status", home=tmp_path, threads="many")
    assert ended.code == 2
    assert "CONVERSION_ASSETS_THREADS" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_status_before_anything_was_ordered(tmp_path: Path) -> None:
    shown = run("status", home=tmp_path)
    assert (shown.code, shown.stdout) == (0, "Nothing has been ordered yet.\n")
    as_json = run("status", "--json", home=tmp_path)
    assert (as_json.code, as_json.stdout) == (0, "")


def test_status_of_what_was_skipped(tmp_path: Path) -> None:
    shown = run("status", "--skipped", home=tmp_path)
    assert (shown.code, shown.stdout) == (0, "Nothing was skipped.\n")
    both = run("status", "X", "--skipped", home=tmp_path)
    assert (both.code, "leave ORDER out" in both.stderr) == (2, True)


def test_status_of_an_unknown_order(tmp_path: Path) -> None:
    ended = run("status", "S9X_NOTHING", home=tmp_path)
    assert ended.code == 2
    assert "S9X_NOTHING" in ended.stderr
    assert "nothing was ordered under this key" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("key", ["../../etc/passwd", ".hidden", "a b", "x" * 300])
def test_status_of_an_impossible_key(key: str, tmp_path: Path) -> None:
    ended = run("status", key, home=tmp_path)
    assert ended.code == 2
    assert "an id has 1 to 200 letters" in ended.stderr


def test_home_is_the_option_then_the_variable(tmp_path: Path) -> None:
    variable, option = tmp_path / "variable", tmp_path / "option"
    settings = environment() | {"CONVERSION_ASSETS_HOME": str(variable)}
    subprocess.run([str(PROGRAM), "status"], env=settings, check=True, capture_output=True)
    assert (variable / "inbox").is_dir()
    subprocess.run(
        [str(PROGRAM), "status", "--home", str(option)], env=settings, check=True, capture_output=True
    )
    assert (option / "inbox").is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["option", "variable"]


def test_home_may_be_relative_and_have_blanks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("status", "--home", "my data").code == 0
    assert (tmp_path / "my data" / "inbox").is_dir()


def test_status_after_success(home: Path, published: PublishedProducts) -> None:
    expected = {result["order"]: result for result in published.by_folder.orders}
    overview = run("status", home=home)
    assert all(key in overview.stdout for key in expected)
    assert overview.stdout.count("published") >= len(expected)
    assert len(Ended(code=0, stdout=run("status", "--json", home=home).stdout, stderr="").orders) == len(
        expected
    )
    key = published.result(KIND)["order"]
    (standing,) = run("status", "--json", key, home=home).orders
    assert standing["status"] == "published"
    assert standing["item"] == expected[key]["item"]
    assert standing["product"] == expected[key]["product"]
    assert standing["source"] == expected[key]["derived_from"]
    assert set(standing["assets"]) == set(expected[key]["seconds"])
    assert standing["error"] is None
    assert key in run("status", key, home=home).stdout


def test_summary_for_people(home: Path, published: PublishedProducts) -> None:
    ended = run("convert", published.folders[KIND], home=home)
    assert ended.code == 0
    product = Path(published.result(KIND)["product"]).name
    for words in ("published", "S03OLCEFR", product, "STAC item", "passed", "xarray.open_datatree("):
        assert words in ended.stdout
    assert not ended.stdout.startswith("{")


def test_one_bad_source_does_not_stop_the_others(
    home: Path, published: PublishedProducts, tmp_path: Path
) -> None:
    missing = damage.missing_member(published.folders[KIND], tmp_path)
    renamed = missing.rename(missing.with_name(missing.name.replace("_004.", "_009.")))
    ended = convert(renamed, tmp_path / "absent.zip", published.folders[KIND], home=home)
    assert ended.code == 2
    assert [result["status"] for result in ended.orders] == ["failed", "failed", "published"]
    standing = run("status", "--json", renamed.stem, home=home).orders[0]
    assert standing["status"] == "failed"
    assert "missing" in standing["error"]
    assert standing["item"] is None
    failed = run("status", home=home).stdout
    assert f"failed                  {renamed.stem}" in failed


def test_exit_code_is_one_when_anything_but_the_input_failed(sound: Path, tmp_path: Path) -> None:
    ended = convert(tmp_path / "absent.zip", sound, home=tmp_path / "home", time_limit_seconds="0.1")
    assert [result["error_class"] for result in ended.orders] == ["permanent", "permanent"]
    assert ended.code == 1


def test_failure_is_told_to_people(tmp_path: Path) -> None:
    ended = run("convert", tmp_path / "absent.zip", home=tmp_path / "home")
    assert ended.code == 2
    assert ended.stdout == ""
    assert "failed" in ended.stderr
    assert "nothing was published" in ended.stderr
    assert "there is no such file or folder" in " ".join(ended.stderr.replace("│", " ").split())


def wait_for_engine(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Wait until eopf runs, and give all processes that the command has started."""
    while process.poll() is None:
        children = psutil.Process(process.pid).children(recursive=True)
        for child in children:
            with suppress(psutil.NoSuchProcess):  # some live for a moment only
                if ENGINE_MODULE in child.cmdline() and child.memory_info().rss > 100 * 2**20:
                    return children
        time.sleep(0.02)
    raise AssertionError("the command ended before its engine was at work")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_command_that_is_asked_to_end_leaves_nothing_and_can_be_repeated(
    sound: Path, tmp_path: Path, number: signal.Signals
) -> None:
    home = tmp_path / "home"
    with start_converting(sound, home) as process:
        family = wait_for_engine(process)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=SECONDS_TO_END)
    assert process.returncode == 1
    (result,) = Ended(code=1, stdout=stdout, stderr=stderr).orders
    assert result["status"] == "failed"
    assert result["error"] == "the order: it was interrupted. Order it again to continue."
    assert result["error_class"] == "transient"
    assert "Traceback" not in stderr
    assert [child for child in family if child.is_running()] == []
    assert visible(home) == []
    assert list(home.glob("products/**/.converting-*")) == []
    assert run("status", home=home).stdout.split()[2] == "failed"
    again = convert(sound, home=home)
    assert again.code == 0, again.stdout
    assert leftovers(home) == []


def test_interrupted_command_takes_no_further_order(sound: Path, tmp_path: Path) -> None:
    other = sound.with_name(sound.name.replace("_004.", "_005."))
    command = [str(PROGRAM), "convert", "--json", str(sound), str(other), "--home", str(tmp_path / "home")]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for_engine(process)
        process.terminate()
        stdout, _ = process.communicate(timeout=SECONDS_TO_END)
    assert process.returncode == 1
    assert len(stdout.splitlines()) == 1


def test_run_of_a_killed_command_is_closed_by_the_next(sound: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with start_converting(sound, home) as process:
        family = wait_for_engine(process)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=SECONDS_TO_END)
    _, alive = psutil.wait_procs(family, timeout=SECONDS_TO_END)
    assert alive == []
    (standing,) = run("status", "--json", home=home).orders
    assert standing["status"] == "failed"
    assert visible(home) == []


@pytest.mark.parametrize("command", [("status",), ("convert", "X.zip"), ("ui", "--port", "0")])
def test_unusable_dagster_configuration_is_told_in_a_sentence(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    configuration = tmp_path / "dagster" / "dagster.yaml"
    configuration.parent.mkdir()
    configuration.write_text("run_queue: [nonsense")
    ended = run(*command, home=tmp_path)
    assert ended.code == 1
    assert ended.stderr.startswith(f"Error: {configuration}: Dagster cannot use this configuration")
    assert "Traceback" not in ended.stderr


def test_unusable_home_is_told_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    ended = run("convert", tmp_path / "X.zip", home=file / "home")
    assert ended.code == 1
    assert "it cannot be used as home" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_name_that_is_no_text_is_escaped(tmp_path: Path) -> None:
    ended = run("convert", "--json", f"{tmp_path}/\udcff.zip", home=tmp_path / "home")
    assert ended.code == 2
    (result,) = ended.orders
    assert result["source"].endswith("\\udcff.zip")
    assert "there is no such file" in result["error"]


def test_order_that_another_run_works_on_is_awaited_and_can_be_interrupted(
    sound: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    key = sound.name.partition(".")[0]
    lock = home / "locks" / f"{key}.lock"
    lock.parent.mkdir(parents=True)
    command = [str(PROGRAM), "convert", "--json", str(sound), str(sound), "--home", str(home)]
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with subprocess.Popen(
            command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if "another run works on this order; waiting for it" in line:
                    break
            else:
                raise AssertionError("it did not say that it waits")
            process.send_signal(signal.SIGINT)
            told, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    (result,) = [json.loads(line) for line in told.splitlines()]
    assert result["error"] == "the order: it was interrupted. Order it again to continue."


def test_bad_feature_does_not_hold_up_the_others(sound: Path, tmp_path: Path) -> None:
    features = [
        {"type": "Feature", "id": "good", "assets": {"product": {"href": sound.as_uri()}}},
        {"type": "Feature", "id": "bad", "assets": {}},
    ]
    document = tmp_path / "search.json"
    document.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    ended = convert(document, home=tmp_path / "home")
    assert ended.code == 2
    assert [result["status"] for result in ended.orders] == ["published", "failed"]
    assert "bad" in ended.orders[1]["error"]
