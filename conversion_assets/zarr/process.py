"""The parent's side of a conversion: start the engine, watch it, bound it, and say how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from conversion_assets.errors import (
    ConversionAssetsError,
    PermanentError,
    PoisonedInputError,
    TransientError,
)
from conversion_assets.tracing import current_traceparent, span
from conversion_assets.zarr.conversion import ConversionReport, ConversionRequest

ENGINE = (sys.executable, "-m", "conversion_assets.zarr.engine")
POLL_SECONDS = 0.25
GRACE_SECONDS = 3.0
MEMORY_LIMIT, MEMORY_BUDGET = "CONVERSION_ASSETS_MEMORY_LIMIT_BYTES", "CONVERSION_ASSETS_MEMORY_BUDGET_BYTES"
LAST_WORDS_BYTES = 2000
# Zarr output measured against SAFE input: 0.5 (S1 GRD), 1.1 (S3 OLCI), 1.2 (S2 L1C and L2A).
OUTPUT_PER_INPUT_BYTE = 1.5
SMALLEST_FREE_SPACE = 64 * 2**20
SECRET_NAME = re.compile("KEY|SECRET|TOKEN|PASS|CREDENTIAL|COOKIE|AUTH|HEADERS", re.IGNORECASE)
SECRET_URL = re.compile(r"://[^/@\s]*:[^/@\s]*@")


@dataclass(frozen=True)
class ProcessLimits:
    """What one conversion may use.

    Attributes:
        memory_bytes: resident bytes of the engine and everything it started.
        seconds: wall seconds.
        memory_setting: which setting bounds the memory.
    """

    memory_bytes: int
    seconds: float
    memory_setting: str = MEMORY_LIMIT


def run_conversion(
    request: ConversionRequest,
    limits: ProcessLimits,
    on_progress: Callable[[str], None],
    require_wanted: Callable[[], None] = lambda: None,
) -> ConversionReport:
    """Convert one product in a process of its own, in its own process group.

    Whatever ends this call early, an exception of a cancelled run included, ends the whole group first.

    Args:
        request: what to convert, and where to.
        limits: what the process may use.
        on_progress: receives the engine's sentences as they come.
        require_wanted: called several times a second; it raises when the conversion is to end.

    Returns:
        The engine's report.

    Raises:
        PoisonedInputError: eopf refused the product.
        PermanentError: a limit was exceeded, the disk is full, or eopf failed while writing.
        TransientError: the process was killed from outside.
    """
    with span("conversion process", safe=request.safe.name):
        return _run_conversion(request, limits, on_progress, require_wanted)


def _run_conversion(
    request: ConversionRequest,
    limits: ProcessLimits,
    on_progress: Callable[[str], None],
    require_wanted: Callable[[], None],
) -> ConversionReport:
    if not request.name_only:
        require_free_space(request)
    conversation = _Conversation(on_progress)
    with (request.scratch / "engine.log").open("wb+") as log, _engine(request, log.fileno()) as process:
        conversation.listen_to(process)
        ending = _watch(process, conversation, limits, request.safe.name, require_wanted)
        log.seek(0)
        last_words = log.read()[-LAST_WORDS_BYTES:].decode(errors="replace").strip()
    if ending is not None:
        raise ending
    if conversation.report is not None:
        return ConversionReport.model_validate(conversation.report)
    if conversation.fault is not None:
        raise error_of_fault(request.safe.name, conversation)
    raise _error_of_death(request.safe.name, process.returncode, last_words)


def require_free_space(request: ConversionRequest) -> None:
    """Refuse to start when the product would most likely not fit.

    Raises:
        PermanentError: with the bytes needed and the bytes free.
    """
    needed = int(size_of(request.safe) * OUTPUT_PER_INPUT_BYTE) + SMALLEST_FREE_SPACE
    free = psutil.disk_usage(str(request.output)).free
    if free < needed:
        raise PermanentError(
            request.safe.name,
            f"its Zarr needs about {needed:,} bytes and {request.output} has {free:,} free",
            "Free some space or move the data folder to a larger disk, then order again.",
        )


def size_of(folder: Path) -> int:
    """Give the bytes of all files of a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def error_of_fault(safe: str, conversation: _Conversation) -> ConversionAssetsError:
    """Class the exception that the engine reported, by the phase in which it arose."""
    fault = conversation.fault or {}
    message = fault.get("message", "no message")
    if fault.get("disk_full"):
        return PermanentError(safe, f"the disk is full ({message})", "Free some space, then order again.")
    if fault.get("machine"):
        return PermanentError(
            safe,
            f"the machine failed the converter ({message})",
            "Look after memory, disks and open files of the machine, then order again.",
        )
    if "MappingMissingError" in fault.get("exceptions", ()):
        return PoisonedInputError(
            safe, "eopf has no mapping for this product", "Order a product type that eopf converts."
        )
    if conversation.phase == "starting":
        return PermanentError(
            safe, f"the converter could not start ({message})", "Install the project anew from its lock."
        )
    if conversation.phase == "writing":
        return PoisonedInputError(
            safe,
            f"eopf could not read its data to the end ({message})",
            "Fetch the product again from its source; if it is whole there, report it with this message.",
        )
    return PoisonedInputError(
        safe,
        f"eopf could not read it ({message})",
        "Check that the product is complete and of a supported baseline.",
    )


@dataclass
class _Conversation:
    """The lines that the engine sends, sorted by kind."""

    on_progress: Callable[[str], None]
    report: dict[str, Any] | None = None
    fault: dict[str, Any] | None = None
    phase: str = "starting"
    lines: queue.Queue[bytes] = field(default_factory=queue.Queue)
    reader: threading.Thread | None = None

    def listen_to(self, process: subprocess.Popen[bytes]) -> None:
        def read() -> None:
            if process.stdout is not None:
                with process.stdout:
                    for line in process.stdout:
                        self.lines.put(line)

        self.reader = threading.Thread(target=read, daemon=True)
        self.reader.start()

    def take_the_rest(self) -> None:
        """Take in what an ended process has left in the pipe."""
        if self.reader is not None:
            self.reader.join(GRACE_SECONDS)
        self.take(0)

    def take(self, seconds: float) -> None:
        """Take in what has arrived, waiting for the first line for some seconds."""
        with contextlib.suppress(queue.Empty):
            self._take_one(self.lines.get(timeout=seconds) if seconds else self.lines.get_nowait())
            while True:
                self._take_one(self.lines.get_nowait())

    def _take_one(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            return  # not of the protocol: something printed before the engine claimed its standard output
        self.report = message.get("report", self.report)
        self.fault = message.get("fault", self.fault)
        if text := message.get("progress"):
            self.phase = text.split()[0]
            self.on_progress(text)


@contextlib.contextmanager
def _engine(request: ConversionRequest, log: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(  # noqa: S603 - our own module, no shell, the request goes in by pipe
        ENGINE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,
        env=_environment(request.scratch),
    )
    try:
        if process.stdin is not None:
            # One that is dead already tells by its exit code why; nothing stays in a buffer.
            with contextlib.suppress(BrokenPipeError):
                os.write(process.stdin.fileno(), request.model_dump_json().encode() + b"\n")
        yield process
    finally:
        end_group(process)
        if process.stdin is not None:
            process.stdin.close()


def _environment(scratch: Path) -> dict[str, str]:
    """Pass on the environment without what looks like a credential: eopf reads local files only."""
    kept = {k: v for k, v in os.environ.items() if not (SECRET_NAME.search(k) or SECRET_URL.search(v))}
    traceparent = current_traceparent()
    return {**kept, "TMPDIR": str(scratch)} | ({"TRACEPARENT": traceparent} if traceparent else {})


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and everything in its group: politely first, then for certain."""
    for number, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, GRACE_SECONDS)):
        if process.poll() is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _watch(
    process: subprocess.Popen[bytes],
    conversation: _Conversation,
    limits: ProcessLimits,
    safe: str,
    require_wanted: Callable[[], None],
) -> ConversionAssetsError | None:
    deadline = time.monotonic() + limits.seconds
    while process.poll() is None:
        conversation.take(POLL_SECONDS)
        require_wanted()
        if time.monotonic() > deadline:
            return PermanentError(
                safe,
                f"the conversion took longer than {limits.seconds:,.0f} s and was ended",
                "Raise CONVERSION_ASSETS_TIME_LIMIT_SECONDS, or give it a faster machine.",
            )
        if (used := group_memory(process.pid)) > limits.memory_bytes:
            return PermanentError(
                safe,
                f"the conversion used {used:,} bytes of memory, {limits.memory_bytes:,} are allowed",
                f"Raise {limits.memory_setting}, or lower CONVERSION_ASSETS_THREADS.",
            )
    conversation.take_the_rest()
    return None


def group_memory(pid: int) -> int:
    """Resident bytes of a process and its descendants; 0 when it is gone."""
    try:
        process = psutil.Process(pid)
        return sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


def _error_of_death(safe: str, code: int, last_words: str) -> ConversionAssetsError:
    said = f"; its last words: {last_words}" if last_words else ""
    if code in (-signal.SIGKILL, -signal.SIGTERM):
        name = signal.Signals(-code).name
        return TransientError(
            safe,
            f"the converting process was ended from outside ({name}){said}",
            "Usually the machine ran out of memory: convert fewer products at once, or order again.",
        )
    if code < 0:
        name = signal.Signals(-code).name
        return PermanentError(
            safe,
            f"the converting process crashed ({name}){said}",
            "Report it with the name of the product.",
        )
    return PermanentError(
        safe,
        f"the converting process ended with code {code} and no report{said}",
        "Report it with the name of the product.",
    )
