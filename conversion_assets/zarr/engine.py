"""The converting process: ``python -m conversion_assets.zarr.engine`` with a request on standard input.

The only module that imports eopf, which costs a second and 270 MB and may take its process down.
One line of JSON (a ``ConversionRequest``) comes in; lines of JSON go out: ``{"progress": "…"}`` while
it works, then one ``{"report": {…}}`` or one ``{"fault": {…}}``. When standard input closes, the
process that asked is gone, and this one ends with everything it started.

eopf's stores are called directly, in the order of ``eopf.convert``: that function itself needs the
internet (its STAC validation fetches a schema) and starts a Dask cluster for every product.
"""

from __future__ import annotations

import errno
import gc
import json
import logging
import os
import resource
import shutil
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import psutil

from conversion_assets.zarr.conversion import ConversionReport, ConversionRequest

GDAL_CACHE_MEGABYTES = "64"
# What goes wrong with the machine and says nothing of the product.
MACHINE_FAULTS = frozenset({errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS})
LONGEST_TEXT = 300
MOST_CAUSES = 10
NOISY_LOGGERS = ("eopf.product.utils", "cfgrib", "rasterio", "distributed")

Tell = Callable[[str], None]


def main() -> int:
    """Convert the product that standard input names; 0 when a report was written."""
    lines = _claim_standard_output()

    def send(message: dict[str, Any]) -> None:
        lines.write(json.dumps(message) + "\n")
        lines.flush()

    request = ConversionRequest.model_validate_json(sys.stdin.readline())
    _end_with_the_caller()
    try:
        report = convert(request, lambda text: send({"progress": text}))
    except Exception as error:  # noqa: BLE001 - the border of the process: every failure is told, none escapes
        send({"fault": describe_fault(error)})
        return 1
    send({"report": report.model_dump(mode="json")})
    return 0


def convert(request: ConversionRequest, tell: Tell) -> ConversionReport:
    """Convert one SAFE folder to one Zarr product with eopf's stores on dask's threads.

    Args:
        request: what to convert, and where to.
        tell: receives a sentence whenever a phase begins.

    Returns:
        The report, with the product complete on disk unless only its name was asked for.
    """
    _prepare_environment(request)
    seconds: dict[str, float] = {}
    tell("starting eopf")
    with _timed(seconds, "import"):
        import dask  # noqa: PLC0415 - heavy, and after the environment is prepared
        import rasterio  # noqa: F401, PLC0415 - its GDAL must be loaded before ecCodes' PROJ
        from eopf.store.safe import EOSafeStore  # noqa: PLC0415 - heavy
        from eopf.store.zarr import EOZarrStore  # noqa: PLC0415 - heavy
    _quieten()
    traffic = _Traffic()
    with dask.config.set(scheduler="threads", num_workers=request.threads):
        tell(f"reading {request.safe.name}")
        with _timed(seconds, "load"):
            product = _load(EOSafeStore, mirror(request.safe, request.scratch))
            anomalies = _structure_anomalies(product)
            name = str(product.get_default_file_name_no_extension())
        if not request.name_only:
            tell(f"writing {name}.zarr")
            with _timed(seconds, "write"):
                _write(EOZarrStore, product, request, name)
    report = _report(request, product, name, anomalies, seconds)
    return report.model_copy(update=traffic.until_now())


def mirror(safe: Path, scratch: Path) -> Path:
    """Mirror a SAFE folder in ``scratch`` by hard links, so that nothing is written beside the input.

    cfgrib puts index files next to the GRIB files it opens; through the mirror they land in the scratch
    folder. Files are copied where the two folders are on different file systems. (eopf's file search
    does not follow symbolic links.)
    """
    root = scratch / safe.name
    for folder, _, files in os.walk(safe):
        here = root / Path(folder).relative_to(safe)
        here.mkdir(parents=True)
        for file in files:
            _link_or_copy(Path(folder) / file, here / file)
    return root


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        shutil.copyfile(source, target)


def describe_fault(error: BaseException) -> dict[str, Any]:
    """Put an exception in words and numbers that outlive the process."""
    chain = list(_causes(error))
    disk_full = any(isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT) for e in chain)
    told = chain[:MOST_CAUSES]
    machine = any(isinstance(e, MemoryError) or getattr(e, "errno", None) in MACHINE_FAULTS for e in chain)
    texts = [textwrap.shorten(f"{type(e).__name__}: {e}".strip(" :"), LONGEST_TEXT) for e in told]
    names = [type(e).__name__ for e in told]
    message = " <- ".join(dict.fromkeys(texts))
    return {"message": message, "exceptions": names, "disk_full": disk_full, "machine": machine}


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _load(store_class: Any, safe: Path) -> Any:
    store = store_class(str(safe), mask_and_scale=False)
    store.open()
    product = store.load()
    store.close()
    # What was loaded stays until the end; the many collections of the writer need not visit it.
    gc.freeze()
    return product


def _structure_anomalies(product: Any) -> tuple[str, ...]:
    from eopf.product.eo_validation import ValidationMode, is_valid  # noqa: PLC0415 - heavy

    # Also part of naming: validation fills attributes that the checksum in the product's name covers,
    # so the name must be computed after it, and once, as eopf.convert does.
    _, anomalies = is_valid(product, validation_mode=ValidationMode.STRUCTURE)
    return tuple(str(anomaly.description) for anomaly in anomalies)


def _write(store_class: Any, product: Any, request: ConversionRequest, name: str) -> None:
    from eopf.common.history_utils import add_eopf_cpm_entry_to_history  # noqa: PLC0415 - heavy

    add_eopf_cpm_entry_to_history(product, safe_output=request.safe.name, cpm_output=f"{name}.zarr")
    store = store_class(str(request.output), mask_and_scale=False)
    store.open(mode="w")
    store[name] = product
    store.close()


def _report(
    request: ConversionRequest, product: Any, name: str, anomalies: tuple[str, ...], seconds: dict[str, float]
) -> ConversionReport:
    from eopf import __version__ as eopf_version  # noqa: PLC0415 - heavy

    usage = resource.getrusage(resource.RUSAGE_SELF)
    return ConversionReport(
        product=request.output / f"{name}.zarr",
        name=name,
        product_type=str(product.attrs["stac_discovery"]["properties"]["product:type"]),
        eopf_version=str(eopf_version),
        anomalies=anomalies,
        seconds=seconds,
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 3),
        peak_memory_bytes=usage.ru_maxrss * 1024,
    )


class _Traffic:
    """Counts what this process reads from files and writes to them, from now on."""

    def __init__(self) -> None:
        self._before = _bytes_moved()

    def until_now(self) -> dict[str, int]:
        """Give the two numbers as the report calls them; none where the system does not count."""
        now = _bytes_moved()
        return {name: now[name] - count for name, count in self._before.items() if name in now}


def _bytes_moved() -> dict[str, int]:
    with suppress(AttributeError, NotImplementedError, OSError, psutil.Error):
        counters = psutil.Process().io_counters()
        return {"bytes_read": counters.read_chars, "bytes_written": counters.write_chars}
    return {}


def _prepare_environment(request: ConversionRequest) -> None:
    os.environ["TMPDIR"] = str(request.scratch)
    os.environ["GDAL_CACHEMAX"] = GDAL_CACHE_MEGABYTES
    os.environ["GDAL_PAM_ENABLED"] = "NO"


def _quieten() -> None:
    logging.getLogger().setLevel(logging.WARNING)
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


def _claim_standard_output() -> TextIO:
    """Keep standard output for the protocol: what libraries print goes to standard error."""
    protocol = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return protocol


def _end_with_the_caller() -> None:
    def watch() -> None:
        while sys.stdin.read(4096):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    if os.getpgrp() == os.getpid():
        threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[phase] = round(time.perf_counter() - start, 3)


if __name__ == "__main__":
    sys.exit(main())
