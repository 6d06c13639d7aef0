"""What the verbs print: rich tables on a terminal, plain aligned text elsewhere."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}
BLOCKS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"


@dataclass(frozen=True)
class Grid:
    """A table of texts. `right`: indices of columns set flush right; `whole`: of columns that are never wrapped."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: frozenset[int] = frozenset()
    title: str = ""
    notes: Sequence[str] = field(default=())
    whole: frozenset[int] = frozenset()


def plain(grid: Grid) -> str:
    """Title, aligned columns two spaces apart, notes; no line is cut."""
    lines = [[str(cell) for cell in row] for row in (grid.headers, *grid.rows)]
    sizes = [max(len(line[i]) for line in lines) for i in range(len(grid.headers))]

    def text(line: Sequence[str]) -> str:
        cells = (
            cell.rjust(size) if i in grid.right else cell.ljust(size)
            for i, (cell, size) in enumerate(zip(line, sizes, strict=True))
        )
        return "  ".join(cells).rstrip()

    head = [grid.title] if grid.title else []
    rule = "-" * (sum(sizes) + 2 * (len(sizes) - 1))
    return "\n".join([*head, text(lines[0]), rule, *map(text, lines[1:]), *grid.notes])


def on_terminal() -> bool:
    return sys.stdout.isatty()


def width() -> int:
    """Columns of the terminal; 100 where there is none."""
    return shutil.get_terminal_size((100, 24)).columns if on_terminal() else 100


def show(grid: Grid) -> None:
    """Prints the table."""
    if not on_terminal():
        print(plain(grid))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=grid.title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for i, header in enumerate(grid.headers):
        justify = "right" if i in grid.right else "left"
        table.add_column(header, justify=justify, overflow="fold", no_wrap=i in grid.whole)
    for row in grid.rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    console = Console()
    console.print(table)
    for note in grid.notes:
        console.print(note, style="dim", markup=False, highlight=False)


def heading(text: str) -> None:
    """A line above a block of output."""
    if not on_terminal():
        print(f"\n{text}\n{'=' * len(text)}")
        return
    from rich.console import Console

    Console().print(f"\n{text}", style="bold", markup=False, highlight=False)


def status(level: str, what: str, text: str) -> None:
    """One checked thing: `level` is ok, warn or fail."""
    if not on_terminal():
        print(f"{level:4s}  {what:12s}  {text}", flush=True)
        return
    from rich.console import Console
    from rich.text import Text

    Console().print(Text.assemble((f"{level:4s}", STYLES[level]), f"  {what:12s}  {text}"))


def sparkline(values: Sequence[float], columns: int = 60) -> str:
    """The course of `values` as a line of blocks: means of equal bins, lowest to highest."""
    n = min(columns, len(values))
    bins = [values[i * len(values) // n : (i + 1) * len(values) // n] for i in range(n)]
    means = [sum(part) / len(part) for part in bins]
    low, high = min(means, default=0.0), max(means, default=0.0)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((mean - low) * scale)] for mean in means)


def count(value: float) -> str:
    """A number with a unit prefix: 950, 1.2k, 3.4M, 5.6B."""
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def size(n_bytes: float) -> str:
    """Bytes as MB or GB (powers of 1024)."""
    return f"{n_bytes / 2**30:.1f} GB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MB"


def duration(seconds: float) -> str:
    """Seconds as a reader says them: 45 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def percent(share: float | None, digits: int = 1) -> str:
    return "-" if share is None else f"{100 * share:.{digits}f}"
