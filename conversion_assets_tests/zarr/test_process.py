from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from conversion_assets.errors import (
    ConversionAssetsError,
    ErrorClass,
    PermanentError,
    PoisonedInputError,
)
from conversion_assets.tracing import span
from conversion_assets.zarr import process
from conversion_assets.zarr.conversion import ConversionRequest
from conversion_assets.zarr.process import (
    LAST_WORDS_BYTES,
    ProcessLimits,
    end_group,
    group_memory,
    require_free_space,
    run_conversion,
)
from conversion_assets_tests.end_to_end.command import ENGINE_MODULE, inventory
from conversion_assets_tests.end_to_end.shared import make_small
from conversion_assets_tests.otlp_receiver import receiving, tracing_to
from conversion_assets_tests.safe_products import ProductKind

AMPLE = ProcessLimits(memory_bytes=8 * 2**30, seconds=200)
SECONDS_TO_END = 30
REPORT: dict[str, Any] = {
    "report": {"product": "/x.zarr", "name": "x", "product_type": "S03OLCEFR", "eopf_version": "2.8.1"}
}

# Found by the engine's interpreter before its own code runs: makes a library noisy, and notes the
# environment in which it is imported.
NOISY_LIBRARIES = """
import json, os, sys
from importlib.abc import MetaPathFinder

class Noise(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "eopf":
            print("Welcome to eopf!", flush=True)
            os.write(1, b"noise of a C library\\n")
            with open(os.path.join(os.environ["TMPDIR"], "environment.json"), "w") as file:
                json.dump(dict(os.environ), file)

print("before the engine had a say", flush=True)
sys.meta_path.insert(0, Noise())
"""

PARENT = """
import signal
import sys
from conversion_assets.zarr.conversion import ConversionRequest
from conversion_assets.zarr.process import ProcessLimits, run_conversion

request = ConversionRequest.model_validate_json(sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)
run_conversion(request, ProcessLimits(2**33, 200), lambda text: print(text, flush=True))
"""


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small(ProductKind.S3_OL_EFR, tmp_path_factory.mktemp("safe"))


def request_for(safe: Path, folder: Path) -> ConversionRequest:
    output, scratch = folder / "output", folder / "scratch"
    output.mkdir()
    scratch.mkdir()
    return ConversionRequest(safe=safe, output=output, scratch=scratch)


def ignore(_: str) -> None:
    """Take no interest in progress."""


STRANGERS: set[psutil.Process] = set()
"""Processes that other tests of this session have left running."""


@pytest.fixture(autouse=True)
def strangers() -> Iterator[None]:
    STRANGERS.update(psutil.Process().children(recursive=True))
    yield
    STRANGERS.clear()


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if child not in STRANGERS]


def failure(request: ConversionRequest, limits: ProcessLimits = AMPLE) -> ConversionAssetsError:
    """Run what must fail, see that no process is left, and give the error."""
    with pytest.raises(ConversionAssetsError) as caught:
        run_conversion(request, limits, ignore)
    assert children() == []
    assert caught.value.subject == request.safe.name
    assert caught.value.way_out
    return caught.value


def test_noisy_libraries_and_secrets_do_no_harm(
    safe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(NOISY_LIBRARIES)
    monkeypatch.setenv("PYTHONPATH", str(hooks))
    secrets = {
        "AWS_ACCESS_KEY_ID": "AKIA",
        "aws_secret_access_key": "s3cret",
        "CDSE_TOKEN": "tok",
        "POSTGRES_PASSWORD": "pw",
        "MYSQL_PASSWD": "pw",
        "GOOGLE_APPLICATION_CREDENTIALS": "/key.json",
        "HTTP_AUTHORIZATION": "Basic xyz",
        "DATABASE_URL": "postgresql://user:pw@db/catalogue",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-scope=team",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HARMLESS_URL", "https://example.org/a:b@c")
    told: list[str] = []
    request, before = request_for(safe, tmp_path), inventory(safe)
    report = run_conversion(request, AMPLE, told.append)
    assert [text.split()[0] for text in told] == ["starting", "reading", "writing"]
    assert told[1:] == [f"reading {safe.name}", f"writing {report.name}.zarr"]
    assert report.product == request.output / f"{report.name}.zarr"
    assert (report.product / ".zmetadata").is_file()
    environment = json.loads((request.scratch / "environment.json").read_bytes())
    assert secrets.keys() & environment.keys() == set()
    assert environment["TMPDIR"] == str(request.scratch)
    assert environment["HARMLESS_URL"] == "https://example.org/a:b@c"
    assert inventory(safe) == before
    assert children() == []


def test_converting_process_is_told_the_span_it_works_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", "that of whoever called us")
    with receiving() as collector, tracing_to(collector, monkeypatch):
        with span("conversion process"):
            told = process._environment(tmp_path)["TRACEPARENT"]
        collector.complete()
    found = collector.one("conversion process")
    assert told.split("-")[1:3] == [found.trace, found.id]


def test_conversion_that_takes_too_long_is_ended(safe: Path, tmp_path: Path) -> None:
    error = failure(request_for(safe, tmp_path), ProcessLimits(AMPLE.memory_bytes, 0.1))
    assert isinstance(error, PermanentError)
    assert "took longer" in error.rule


def test_conversion_that_uses_too_much_memory_is_ended(safe: Path, tmp_path: Path) -> None:
    error = failure(request_for(safe, tmp_path), ProcessLimits(2**20, AMPLE.seconds))
    assert isinstance(error, PermanentError)
    assert "1,048,576 are allowed" in error.rule


def test_too_little_space_is_told_before_anything_starts(safe: Path, tmp_path: Path) -> None:
    request = request_for(safe, tmp_path)
    huge = tmp_path / "huge.SEN3"
    huge.mkdir()
    with (huge / "hole").open("wb") as file:
        file.truncate(2 * psutil.disk_usage(str(tmp_path)).total)
    with pytest.raises(PermanentError, match="its Zarr needs about"):
        require_free_space(request.model_copy(update={"safe": huge}))
    require_free_space(request)


def end_of(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ConversionAssetsError:
    """Let another program stand where the engine is started, and give the error that it leads to."""
    monkeypatch.setattr(process, "ENGINE", ("sh", "-c", program))
    safe = tmp_path / "X.SAFE"
    safe.mkdir()
    return failure(request_for(safe, tmp_path))


@pytest.mark.parametrize(
    ("program", "error_class", "says"),
    [
        ("kill -KILL $$", ErrorClass.TRANSIENT, "ended from outside (SIGKILL)"),
        ("kill -TERM $$", ErrorClass.TRANSIENT, "ended from outside (SIGTERM)"),
        ("kill -SEGV $$", ErrorClass.PERMANENT, "crashed (SIGSEGV)"),
        ("kill -ABRT $$", ErrorClass.PERMANENT, "crashed (SIGABRT)"),
        ("exit 3", ErrorClass.PERMANENT, "ended with code 3 and no report"),
        ("exit 0", ErrorClass.PERMANENT, "ended with code 0 and no report"),
        ("echo double free >&2; kill -ABRT $$", ErrorClass.PERMANENT, "its last words: double free"),
        ("exec no-such-program", ErrorClass.PERMANENT, "ended with code 127"),
        ("echo '[1]'; echo 7; echo; printf '\\377\\n'; exit 4", ErrorClass.PERMANENT, "with code 4"),
    ],
)
def test_death_of_the_process_is_explained(
    program: str, error_class: ErrorClass, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = end_of(program, tmp_path, monkeypatch)
    assert error.error_class is error_class
    assert says in error.rule


def test_last_words_are_the_last_and_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = end_of("seq 100000 >&2; exit 3", tmp_path, monkeypatch)
    assert error.rule.endswith("99999\n100000")
    assert len(error.rule) < LAST_WORDS_BYTES + 200


@pytest.mark.parametrize(
    ("fault", "phase", "error_type", "says"),
    [
        ({"message": "m", "disk_full": True}, "writing", PermanentError, "the disk is full"),
        ({"message": "m", "machine": True}, "reading", PermanentError, "the machine failed"),
        (
            {"message": "m", "exceptions": ["MappingMissingError"]},
            "reading",
            PoisonedInputError,
            "no mapping",
        ),
        ({"message": "m"}, "starting", PermanentError, "could not start"),
        ({"message": "m"}, "reading", PoisonedInputError, "could not read it (m)"),
        ({"message": "m"}, "writing", PoisonedInputError, "to the end (m)"),
        ({}, "reading", PoisonedInputError, "no message"),
    ],
)
def test_fault_is_classed_by_its_phase(
    fault: dict[str, Any],
    phase: str,
    error_type: type[ConversionAssetsError],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = [json.dumps({"progress": f"{phase} something"}), json.dumps({"fault": fault})]
    program = f"printf '%s\\n' {shlex.join(lines)}; exit 1"
    error = end_of(program, tmp_path, monkeypatch)
    assert type(error) is error_type
    assert says in error.rule


def test_report_is_found_at_the_end_of_many_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"""
        import json
        for number in range(50_000):
            print(json.dumps({{"progress": f"reading {{number}}"}}))
        print(json.dumps({REPORT!r}))
    """
    monkeypatch.setattr(process, "ENGINE", (sys.executable, "-c", textwrap.dedent(script)))
    safe = tmp_path / "X.SAFE"
    safe.mkdir()
    told: list[str] = []
    report = run_conversion(request_for(safe, tmp_path), AMPLE, told.append)
    assert report.name == "x"
    assert told == [f"reading {number}" for number in range(50_000)]


def test_exception_of_the_caller_ends_the_process(safe: Path, tmp_path: Path) -> None:
    class RunCanceledError(BaseException):
        pass

    def cancel(_: str) -> None:
        assert len(children()) == 1
        raise RunCanceledError

    with pytest.raises(RunCanceledError):
        run_conversion(request_for(safe, tmp_path), AMPLE, cancel)
    assert children() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_engine_does_not_outlive_the_process_that_asked(
    safe: Path, tmp_path: Path, number: signal.Signals
) -> None:
    request = request_for(safe, tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, request.model_dump_json()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().startswith("starting")
        family = psutil.Process(parent.pid).children(recursive=True)
        assert any(ENGINE_MODULE in child.cmdline() for child in family)
        parent.send_signal(number)
        parent.wait(SECONDS_TO_END)
        assert parent.returncode != 0
    _, alive = psutil.wait_procs(family, timeout=SECONDS_TO_END)
    assert alive == []
    assert list(request.output.glob("*/.zmetadata")) == []


def test_whole_group_ends_even_if_it_is_stubborn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.2)
    script = "trap '' TERM; sleep 1000 & (trap '' TERM; while :; do sleep 1; done) & echo ready; wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == b"ready\n"
        family = psutil.Process(shell.pid).children(recursive=True)
        assert len(family) >= 2
        assert group_memory(shell.pid) > 0
        end_group(shell)
        assert shell.returncode == -signal.SIGKILL
    _, alive = psutil.wait_procs(family, timeout=SECONDS_TO_END)
    assert alive == []
    assert group_memory(shell.pid) == 0


def test_ended_group_may_be_ended_again() -> None:
    with subprocess.Popen(["true"], start_new_session=True) as ended:
        ended.wait()
        end_group(ended)
        end_group(ended)


def test_full_disk_is_found_while_writing(safe: Path, tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("a disk of its own needs the program unshare")
    request = request_for(safe, tmp_path)
    (tmp_path / "request.json").write_text(request.model_dump_json() + "\n")
    mount = f"mount -t tmpfs -o size=300k tmpfs {shlex.quote(str(request.output))}"
    engine = shlex.join([sys.executable, "-m", ENGINE_MODULE])
    script = f"{mount} || exit 77; exec {engine} < {shlex.quote(str(tmp_path / 'request.json'))}"
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TMPDIR": str(request.scratch)},
    )
    if not done.stdout:
        pytest.skip(f"this machine lets nobody mount a disk: {done.stderr.strip()[:200]}")
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert messages[-2]["progress"].startswith("writing")
    assert messages[-1]["fault"]["disk_full"] is True
