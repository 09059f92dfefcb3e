"""What the command line shows: progress, the summary of an order, tables."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.panel import Panel
from rich.status import Status
from rich.text import Text

from conversion_assets.figures import Row
from conversion_assets.resources.quarantine import (
    EVIDENCE_COPY,
    MOVED_FROM,
    QuarantinedOrder,
    QuarantineStatus,
)
from conversion_assets.running import FAILED, PUBLISHED, Listener, OrderResult
from conversion_assets.standing import SkippedInput, Standing

DOING = {
    "staged_safe_item": "staging",
    "unzipped_safe": "unzipping",
    "zarr_product": "converting",
    "stac_item": "describing",
    "published_item": "publishing",
}
DONE = {
    "staged_safe_item": "staged",
    "unzipped_safe": "unzipped",
    "zarr_product": "converted",
    "stac_item": "described",
    "published_item": "published",
}
MEGABYTE, GIGABYTE = 1_000_000, 1_000_000_000
SECONDS_PER_MINUTE, SECONDS_PER_HOUR = 60, 3600
REPORT_HEAD = (
    "",
    "orders",
    "published",
    "failed",
    "complete %",
    "publications",
    "min p50",
    "min p95",
    "source h p50",
    "source h p95",
    "cpu s",
    "peak GB",
    "GB read",
    "GB written",
    "GB stored",
    "objects",
)


class Console:
    """Writes for people on a terminal, or one JSON object per order for programs.

    Args:
        as_json: results as JSON on standard output; progress goes to standard error in any case.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._progress = RichConsole(stderr=True, highlight=False, soft_wrap=True)
        self._out = RichConsole(file=sys.stdout, highlight=False, soft_wrap=True)

    @contextmanager
    def working_on(self, key: str) -> Iterator[Listener]:
        """Show what happens to an order while it happens."""
        self._progress.print(f"[bold]{key}[/bold]")
        with self._progress.status("starting") as status:
            yield _Progress(self._progress, status).told

    def show(self, result: OrderResult) -> OrderResult:
        """Show how an order ended, and give it back."""
        if self._as_json:
            left_out = {"exit_code"} | ({"error", "error_class"} if result.status == PUBLISHED else set())
            sys.stdout.write(result.model_dump_json(exclude=left_out) + "\n")
            sys.stdout.flush()
        elif result.status == PUBLISHED:
            self._out.print(_summary(result))
        else:
            self._progress.print(
                Panel(_failure(result), title="failed", border_style="red", title_align="left"),
                soft_wrap=False,
            )
        return result

    def remark(self, text: str) -> None:
        """Show what does not hinder an order, but should be known."""
        self._progress.print(f"[yellow]note[/yellow] {escape(text)}")

    def show_standing(self, found: Iterable[Standing], *, detailed: bool) -> None:
        """Show where orders stand."""
        entries = list(found)
        if not entries:
            self._out.print("Nothing has been ordered yet.")
        elif detailed:
            self._out.print(_details(entries[0]))
        else:
            self._out.print(_overview(entries))

    def show_skipped(self, found: Iterable[SkippedInput]) -> None:
        """Show what watches did not order, one a line."""
        entries = list(found)
        if self._as_json:
            sys.stdout.writelines(entry.model_dump_json() + "\n" for entry in entries)
        elif not entries:
            self._out.print("Nothing was skipped.")
        else:
            for entry in entries:
                line = f"{entry.when}  {entry.watch:<11}  {entry.name}  {entry.reason}"
                self._out.print(line, markup=False)

    def show_report(self, rows: Sequence[Row]) -> None:
        """Show the rows of a report as a table, with the units in its head."""
        if self._as_json:
            sys.stdout.writelines(row.model_dump_json() + "\n" for row in rows)
        elif not rows:
            self._out.print("Nothing was ordered or published in that time.")
        else:
            for line in _aligned([REPORT_HEAD, *map(_report_cells, rows)]):
                self._out.print(line, markup=False)

    def show_quarantine(self, records: Sequence[QuarantinedOrder]) -> None:
        """Show the orders in quarantine, one a line."""
        if not records:
            self._out.print("Nothing is in quarantine.")
            return
        longest = max(len(record.key) for record in records)
        for record in records:
            facts = (
                f"{record.when:%Y-%m-%d %H:%M:%S}",
                f"{record.error_class.value:<9}",
                f"{record.product_type or '':<9}",
                f"{record.key:<{longest}}",
                f"{record.status.value if record.status is not QuarantineStatus.QUARANTINED else ''}",
                escape(record.reason),
            )
            self._out.print("  ".join(fact for fact in facts if fact))

    def show_quarantined(self, record: QuarantinedOrder) -> None:
        """Show one order in quarantine with all that is known of it."""
        facts: dict[str, object] = {
            "order": record.key,
            "class": record.error_class.value,
            "reason": f"{record.subject}: {record.rule}",
            "evidence": record.evidence_now,
            "way out": record.way_out,
            "status": record.status.value,
            "step": record.step,
            "product type": record.product_type,
            "first failed": f"{record.since:%Y-%m-%d %H:%M:%S}",
            "last failed": f"{record.when:%Y-%m-%d %H:%M:%S}",
            "failed runs": record.attempts,
            "run": record.run_id,
            "source": record.order.derived_from,
            "owner": record.order.owner,
            **{
                f"evidence {name}": fact
                for name, fact in record.evidence.items()
                if name not in (EVIDENCE_COPY, MOVED_FROM)
            },
        }
        for name, fact in facts.items():
            if fact:
                self._out.print(f"[bold]{name:<15}[/bold] {escape(str(fact))}")


class _Progress:
    """Writes a line when a step begins or says something; the current one stays in the status line."""

    def __init__(self, console: RichConsole, status: Status) -> None:
        self._console, self._status = console, status

    def told(self, step: str, text: str) -> None:
        label = DOING.get(step, step)
        self._status.update(f"{label}: {text}" if text else label)
        if text:
            self._console.print(f"  {label:<10} {text}", markup=False)


def _summary(result: OrderResult) -> str:
    product = _path(result.product)
    rows = [("product type", result.product_type), ("Zarr", _shown(result.product))]
    if product is not None:
        size, objects = _size(product)
        rows.append(("size", f"{size / MEGABYTE:,.2f} MB in {objects:,} objects"))
    steps = ", ".join(f"{DONE.get(step, step)} {seconds:.1f}" for step, seconds in result.seconds.items())
    rows += [
        ("STAC item", _shown(result.item)),
        ("derived from", result.derived_from),
        ("seconds", f"{sum(result.seconds.values()):.1f} ({steps})"),
        ("checks", f"{result.checks} passed"),
    ]
    if product is not None:
        rows.append(("open it", f'xarray.open_datatree("{product}", engine="zarr")'))
    lines = [f"  [bold]{name:<13}[/bold] {escape(text or '')}" for name, text in rows]
    return "\n".join([f"\n[bold green]published[/bold green]  {result.order}", *lines, ""])


def _failure(result: OrderResult) -> Text:
    name, error = result.order or result.source, result.error or ""
    subject = "" if name in error else f"{name}\n"
    return Text(f"{subject}{error}\n({result.error_class} error; nothing was published)")


def _overview(entries: list[Standing]) -> str:
    longest = max(len(entry.order) for entry in entries)
    return "\n".join(
        f"{entry.when or '':<19}  {entry.status:<11}  {entry.product_type or '':<9}  {entry.order:<{longest}}"
        f"  {escape(_outcome(entry))}".rstrip()
        for entry in entries
    )


def _outcome(entry: Standing) -> str:
    """Of an order that failed anew, the item of its former run does not matter."""
    return (entry.error if entry.status == FAILED else None) or _shown(entry.item) or entry.error or ""


def _report_cells(row: Row) -> tuple[str, ...]:
    name = "  ".join(str(part) for part in (row.day, row.product_type, row.order) if part) or "all"
    return (
        name,
        *(f"{number:,}" for number in (row.orders, row.published, row.failed)),
        _number(row.completeness_percent, 1, "{:.1f}"),
        f"{row.publications:,}",
        _number(row.order_seconds_p50, SECONDS_PER_MINUTE),
        _number(row.order_seconds_p95, SECONDS_PER_MINUTE),
        _number(row.source_seconds_p50, SECONDS_PER_HOUR),
        _number(row.source_seconds_p95, SECONDS_PER_HOUR),
        _number(row.cpu_seconds, 1, "{:,.0f}"),
        _number(row.peak_memory_bytes, GIGABYTE),
        _number(row.bytes_read, GIGABYTE),
        _number(row.bytes_written, GIGABYTE),
        _number(row.product_bytes, GIGABYTE),
        f"{row.objects:,}",
    )


def _number(number: float | None, unit: float, form: str = "{:,.2f}") -> str:
    return "" if number is None else form.format(number / unit)


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Give lines of equal columns: the first to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = (f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join((f"{first:<{widths[0]}}", *cells)).rstrip()


def _details(entry: Standing) -> str:
    lines = []
    for name, value in entry.model_dump(mode="json").items():
        if value:
            lines.append(f"[bold]{name.replace('_', ' '):<13}[/bold] {escape(_lines(value))}")
    return "\n".join(lines)


def _lines(value: object) -> str:
    if isinstance(value, dict):
        return f"\n{'':<14}".join(f"{content}  {DONE.get(name, name)}" for name, content in value.items())
    return str(value)


def _shown(uri: str | None) -> str:
    path = _path(uri)
    return str(path) if path else uri or ""


def _path(uri: str | None) -> Path | None:
    parts = urlsplit(uri or "")
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _size(product: Path) -> tuple[int, int]:
    sizes = [file.stat().st_size for file in product.rglob("*") if file.is_file()]
    return sum(sizes), len(sizes)
