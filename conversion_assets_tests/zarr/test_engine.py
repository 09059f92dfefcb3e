from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_assets.zarr.conversion import ConversionReport, ConversionRequest
from conversion_assets.zarr.engine import LONGEST_TEXT, MOST_CAUSES, describe_fault, mirror
from conversion_assets_tests.end_to_end.command import inventory
from conversion_assets_tests.end_to_end.shared import make_small
from conversion_assets_tests.safe_products import ProductKind

LONGEST_MESSAGE = MOST_CAUSES * (LONGEST_TEXT + len(" <- "))


def chained(*errors: BaseException) -> BaseException:
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    return errors[0]


def safe_folder(folder: Path) -> Path:
    safe = folder / "X.SAFE"
    (safe / "GRANULE" / "AUX_DATA").mkdir(parents=True)
    (safe / "manifest.safe").write_text("<xml/>")
    (safe / "GRANULE" / "AUX_DATA" / "AUX_ECMWFT").write_bytes(b"GRIB")
    return safe


def test_fault_is_told_with_its_causes() -> None:
    fault = describe_fault(chained(RuntimeError("loading failed"), KeyError("noise"), OSError("bad header")))
    assert fault["message"] == "RuntimeError: loading failed <- KeyError: 'noise' <- OSError: bad header"
    assert fault["exceptions"] == ["RuntimeError", "KeyError", "OSError"]
    assert fault["disk_full"] is False


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_recognised_however_deep(number: int) -> None:
    depths = [RuntimeError(str(depth)) for depth in range(3 * MOST_CAUSES)]
    assert describe_fault(chained(*depths, OSError(number, "full")))["disk_full"] is True
    assert describe_fault(chained(*depths, OSError(errno.EIO, "broken")))["disk_full"] is False


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(errno.EIO, "bad disk"), OSError(errno.EMFILE, "many")]
)
def test_fault_of_the_machine_is_recognised(error: Exception) -> None:
    assert describe_fault(chained(RuntimeError("loading failed"), error))["machine"] is True
    assert describe_fault(chained(RuntimeError("loading failed"), OSError("bad header")))["machine"] is False


def test_fault_without_words_is_named() -> None:
    assert describe_fault(TimeoutError())["message"] == "TimeoutError"


def test_causes_that_go_in_a_circle_end() -> None:
    one, other = RuntimeError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert describe_fault(one)["exceptions"] == ["RuntimeError", "ValueError"]


@given(st.lists(st.text(max_size=3000), min_size=1, max_size=40))
def test_fault_is_always_short_json_in_one_line(texts: list[str]) -> None:
    fault = describe_fault(chained(*map(ValueError, texts)))
    assert len(fault["message"]) <= LONGEST_MESSAGE
    assert fault["message"].startswith("ValueError")
    assert len(fault["exceptions"]) <= MOST_CAUSES
    assert "\n" not in fault["message"]
    assert json.loads(json.dumps(fault)) == fault


def test_mirror_holds_the_same_files_without_copying_them(tmp_path: Path) -> None:
    safe, scratch = safe_folder(tmp_path), tmp_path / "scratch"
    root = mirror(safe, scratch)
    assert root == scratch / "X.SAFE"
    assert inventory(root) == inventory(safe)
    assert all(path.samefile(safe / path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_mirror_takes_what_is_written_beside_a_file(tmp_path: Path) -> None:
    safe = safe_folder(tmp_path)
    before = inventory(safe)
    root = mirror(safe, tmp_path / "scratch")
    (root / "GRANULE" / "AUX_DATA" / "AUX_ECMWFT.idx").write_bytes(b"index")
    (root / "manifest.safe").unlink()
    assert inventory(safe) == before


def test_mirror_on_another_file_system_is_a_copy(tmp_path: Path, other_file_system: Path) -> None:
    safe = safe_folder(tmp_path)
    before = inventory(safe)
    root = mirror(safe, other_file_system)
    assert inventory(root) == before
    (root / "manifest.safe").write_text("changed")
    assert inventory(safe) == before


def test_engine_leaves_the_input_as_it_is_on_another_file_system(
    tmp_path: Path, other_file_system: Path
) -> None:
    safe = make_small(ProductKind.S2_MSI_L2A, tmp_path)
    before = inventory(safe)
    output, scratch = tmp_path / "output", other_file_system
    output.mkdir()
    request = ConversionRequest(safe=safe, output=output, scratch=scratch)
    done = subprocess.run(
        [sys.executable, "-m", "conversion_assets.zarr.engine"],
        input=request.model_dump_json() + "\n",
        env=os.environ | {"TMPDIR": str(scratch)},
        text=True,
        check=True,
        capture_output=True,
    )
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    report = ConversionReport.model_validate(messages[-1]["report"])
    assert inventory(safe) == before
    assert [path.name for path in output.iterdir()] == [report.product.name]
    assert list(scratch.rglob("*.idx")) != []
    assert [message["progress"].split()[0] for message in messages[:-1]] == ["starting", "reading", "writing"]
    assert report.product_type == "S02MSIL2A"
    assert report.peak_memory_bytes > 50 * 2**20
    assert report.bytes_read is not None
    assert report.bytes_written
    assert report.bytes_written < 2**20  # neither the imports of eopf nor what was there before
    assert set(report.seconds) == {"import", "load", "write"}


def test_engine_tells_a_fault_and_no_traceback(tmp_path: Path) -> None:
    for name in ("output", "scratch"):
        (tmp_path / name).mkdir()
    request = ConversionRequest(
        safe=safe_folder(tmp_path), output=tmp_path / "output", scratch=tmp_path / "scratch"
    )
    done = subprocess.run(
        [sys.executable, "-m", "conversion_assets.zarr.engine"],
        input=request.model_dump_json() + "\n",
        text=True,
        check=False,
        capture_output=True,
    )
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["fault"]["exceptions"]
    assert list((tmp_path / "output").iterdir()) == []
