from __future__ import annotations

import contextlib
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from conversion_assets.settings import Settings
from conversion_assets_tests.end_to_end import damage
from conversion_assets_tests.end_to_end.command import (
    ENGINE_MODULE,
    PROGRAM,
    SECONDS_TO_END,
    Ended,
    convert,
    environment,
    inventory,
    leftovers,
    start_converting,
    visible,
)
from conversion_assets_tests.end_to_end.damage import MEMBER, Damage
from conversion_assets_tests.end_to_end.shared import make_small
from conversion_assets_tests.safe_products import ProductKind


@dataclass(frozen=True)
class Case:
    """One way in which an input can be bad, and what the person who ordered it is told."""

    make: Damage
    error_class: str
    says: tuple[str, ...]
    ordered: bool = True

    @property
    def name(self) -> str:
        return self.make.__name__


FETCH = "Fetch the product again"
STAC_WANTED = "Give a STAC item"
CASES = (
    Case(
        damage.unknown_type,
        "permanent",
        ("unknown product type", "no mapping for its type", "Order a product"),
        ordered=False,
    ),
    Case(
        damage.unknown_name,
        "permanent",
        ("holiday.SEN3", "not the name of a Sentinel product", "Order a product"),
    ),
    Case(damage.no_product, "poisoned", ("letters.zip", "must hold one .SAFE or .SEN3 folder", FETCH)),
    Case(damage.two_products, "poisoned", ("pair.zip", "must hold one .SAFE or .SEN3 folder", FETCH)),
    Case(damage.missing_member, "poisoned", (MEMBER, "missing", FETCH)),
    Case(damage.missing_in_archive, "poisoned", (MEMBER, "missing", FETCH)),
    Case(damage.altered_member, "poisoned", (MEMBER, "MD5", FETCH)),
    Case(damage.corrupted_archive, "poisoned", (".SEN3.zip", "member", FETCH)),
    Case(damage.manifest_disagrees, "poisoned", (MEMBER, "the manifest lists", FETCH)),
    Case(damage.broken_manifest, "poisoned", ("xfdumanifest.xml", "XML", FETCH)),
    Case(damage.truncated_zip, "poisoned", (".SEN3.zip", FETCH)),
    Case(damage.truncated_tgz, "poisoned", (".SEN3.tgz", FETCH)),
    Case(damage.climbing_archive, "poisoned", ("escaped.txt", "..", FETCH)),
    Case(damage.no_manifest, "permanent", ("a folder without a manifest", "Give a .SAFE"), ordered=False),
    Case(damage.absent, "permanent", ("there is no such file or folder", "Give a .SAFE"), ordered=False),
    Case(damage.catalogue_document, "permanent", ("a STAC Catalog", STAC_WANTED), ordered=False),
    Case(damage.login_page, "permanent", ("an HTML page", STAC_WANTED), ordered=False),
    Case(damage.forbidden_scheme, "permanent", ("'ftp' is not allowed", "--asset"), ordered=False),
    Case(damage.credentials_in_href, "permanent", ("user name or password", "--asset"), ordered=False),
    Case(damage.no_asset, "permanent", ("no asset looks like the product", "--asset"), ordered=False),
    Case(damage.wrong_checksum, "poisoned", ("sha256", "its item announces", "Check the source")),
    Case(
        damage.refused_by_eopf, "poisoned", ("eopf could not read it", "Check that the product is complete")
    ),
    Case(damage.unreadable_data, "poisoned", ("eopf could not read", "")),
)


@dataclass(frozen=True)
class Outcome:
    """What came of all the bad inputs, which were ordered with one command."""

    home: Path
    ended: Ended
    sources: dict[str, Path]
    before: dict[str, str]
    after: dict[str, str]

    def of(self, case: Case) -> dict[str, Any]:
        return self.ended.orders[list(self.sources).index(case.name)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small(ProductKind.S3_OL_EFR, tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, sound: Path) -> Outcome:
    folder = tmp_path_factory.mktemp("bad")
    sources = {}
    for case in CASES:
        (folder / case.name).mkdir()
        sources[case.name] = case.make(sound, folder / case.name)
    before, home = inventory(folder), tmp_path_factory.mktemp("home")
    ended = convert(*sources.values(), home=home)
    return Outcome(home, ended, sources, before, inventory(folder))


each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@each_case
def test_bad_input_is_told_as_what_it_is(outcome: Outcome, case: Case) -> None:
    result = outcome.of(case)
    assert result["status"] == "failed"
    assert result["error_class"] == case.error_class
    for words in case.says:
        assert words in result["error"]
    assert result["error"].count("\n") == 0
    assert len(result["error"]) < 2000
    assert ("order" in result and result["order"] is not None) is case.ordered
    assert f"/{case.name}/" in result["source"] + result["error"]


def test_every_bad_input_is_answered_and_the_exit_code_says_so(outcome: Outcome) -> None:
    assert len(outcome.ended.orders) == len(CASES)
    assert outcome.ended.code == 2
    assert "Traceback" not in outcome.ended.stderr


def test_bad_input_is_untouched_and_nothing_is_published(outcome: Outcome) -> None:
    assert outcome.after == outcome.before
    assert visible(outcome.home) == []
    assert list(outcome.home.glob("products/**/.converting-*")) == []
    assert list(outcome.home.glob("scratch/*")) == []


def test_password_is_not_repeated(outcome: Outcome) -> None:
    assert "hunter2" not in outcome.ended.stdout + outcome.ended.stderr


def test_nothing_of_poisoned_input_is_kept(outcome: Outcome) -> None:
    poisoned = [outcome.of(case)["order"] for case in CASES if case.error_class == "poisoned"]
    assert [key for key in poisoned if (outcome.home / "staging" / key / "unzipped").exists()] == []


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("S02MSIL1C=tiles", ("no target for a product of type S03OLCEFR", "--collection S03OLCEFR=")),
        ("S03OLCEFR=", ("a collection name is mandatory", "Write TYPE=COLLECTION")),
    ],
)
def test_target_rule_that_does_not_fit(sound: Path, tmp_path: Path, rule: str, says: tuple[str, ...]) -> None:
    ended = convert("--collection", rule, sound, home=tmp_path / "home")
    (result,) = ended.orders
    assert ended.code == 2
    assert result["error_class"] == "permanent"
    assert all(words in result["error"] for words in says)
    assert result.get("order") is None
    assert "Traceback" not in ended.stderr
    assert visible(tmp_path / "home") == []


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("time_limit_seconds", "0.5", ("longer than", "Raise CONVERSION_ASSETS_TIME_LIMIT_SECONDS")),
        ("memory_limit_bytes", "1000000", ("1,000,000 are allowed", "CONVERSION_ASSETS_MEMORY_LIMIT_BYTES")),
    ],
)
def test_limit_of_a_conversion(
    sound: Path, tmp_path: Path, setting: str, value: str, says: tuple[str, ...]
) -> None:
    assert setting in Settings.model_fields
    before = inventory(sound)
    ended = convert(sound, home=tmp_path / "home", **{setting: value})
    (result,) = ended.orders
    assert ended.code == 1
    assert result["error_class"] == "permanent"
    assert sound.name in result["error"]
    assert all(words in result["error"] for words in says)
    assert "Traceback" not in ended.stderr
    assert inventory(sound) == before
    assert visible(tmp_path / "home") == []
    assert list(tmp_path.glob("home/products/**/.converting-*")) == []


def engines_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Give the converting processes that a command has started."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if ENGINE_MODULE in child.cmdline():
                    found.append(child)
    return found


def kill_engines(process: subprocess.Popen[str], most: int) -> int:
    """Kill each converting process of a command as it appears, until it ends or enough are killed."""
    killed: set[int] = set()
    while process.poll() is None and len(killed) < most:
        for engine in engines_of(process):
            if engine.pid not in killed:
                killed.add(engine.pid)
                with contextlib.suppress(psutil.NoSuchProcess):
                    engine.kill()
        time.sleep(0.02)
    return len(killed)


def test_converter_killed_every_time_is_retried_and_then_given_up(sound: Path, tmp_path: Path) -> None:
    with start_converting(sound, tmp_path / "home") as process:
        killed = kill_engines(process, most=100)
        stdout, stderr = process.communicate(timeout=SECONDS_TO_END)
    (result,) = Ended(code=process.returncode, stdout=stdout, stderr=stderr).orders
    assert process.returncode == 1
    assert killed == 4
    assert result["error_class"] == "transient"
    assert "ended from outside (SIGKILL)" in result["error"]
    assert "order again" in result["error"]
    assert "is tried again" in stderr
    assert "Traceback" not in stderr
    assert visible(tmp_path / "home") == []
    assert list(tmp_path.glob("home/products/**/.converting-*")) == []


def test_converter_killed_once_is_retried_with_success(sound: Path, tmp_path: Path) -> None:
    with start_converting(sound, tmp_path / "home") as process:
        assert kill_engines(process, most=1) == 1
        stdout, stderr = process.communicate(timeout=SECONDS_TO_END)
    (result,) = Ended(code=process.returncode, stdout=stdout, stderr=stderr).orders
    assert process.returncode == 0
    assert result["status"] == "published"
    assert "is tried again" in stderr
    assert leftovers(tmp_path / "home") == []


def on_small_disk(home: Path, megabytes: int, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command with a home on a disk of its own, which exists for this command only."""
    mount = f"mount -t tmpfs -o size={megabytes}m tmpfs {shlex.quote(str(home))}"
    script = (
        f"{mount} || exit 77; {shlex.join(command)}; code=$?; find {shlex.quote(str(home))} >&2; exit $code"
    )
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_TO_END,
    )


@pytest.mark.parametrize(
    ("megabytes", "says"), [(40, ("its Zarr needs about", "free")), (2, ("space",))], ids=["zarr", "staging"]
)
def test_full_disk_is_said(sound: Path, tmp_path: Path, megabytes: int, says: tuple[str, ...]) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("a disk of its own needs the program unshare")
    home = tmp_path / "home"
    home.mkdir()
    large = damage.copied(sound, tmp_path)
    (large / "extra.bin").write_bytes(bytes(4 << 20))
    before = inventory(large)
    done = on_small_disk(
        home, megabytes, [str(PROGRAM), "convert", "--json", str(large), "--home", str(home)]
    )
    if done.returncode in (77, 1) and not done.stdout:
        pytest.skip(f"this machine lets nobody mount a disk: {done.stderr.strip()[:200]}")
    (result,) = Ended(code=done.returncode, stdout=done.stdout, stderr=done.stderr).orders
    assert done.returncode == 1
    assert result["error_class"] == "permanent"
    assert all(words in result["error"] for words in says)
    assert "Free some space" in result["error"]
    assert "Traceback" not in done.stderr
    assert ".zarr" not in done.stderr.partition("starting eopf")[2]
    assert inventory(large) == before
