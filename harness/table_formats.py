"""A table of cells and its four forms: terminal text, Markdown, CSV, LaTeX (booktabs)."""

from __future__ import annotations

import csv
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.statistics.intervals import Estimate

PLUS_MINUS = "\u00b1"
DAGGER = "\u2020"


@dataclass(frozen=True)
class Column:
    """`kind`: percent and signed show a share times 100, count an integer, scientific 1.23e+45, number 3 digits."""

    key: str
    header: str
    kind: Literal["text", "percent", "signed", "count", "scientific", "number"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A text, a number, or nothing (shown as -); an estimate brings its interval and adjusted p-value along."""

    value: str | float | None = None
    interval: Estimate | None = None
    p: float | None = None
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """`name` is the stem of its files."""

    name: str
    title: str
    columns: list[Column]
    rows: list[list[Cell]]
    notes: list[str]


def show(cell: Cell, column: Column) -> str:
    """The cell as a reader sees it; an estimate ends with its marks (* significant, dagger: one seed)."""
    value = cell.value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, str):
        return value
    if column.kind in ("percent", "signed"):
        # Adding zero turns a rounded -0.0 into 0.0.
        shown = round(100 * value, 1) + 0.0
        text = f"{shown:+.1f}" if column.kind == "signed" else f"{shown:.1f}"
        if cell.interval is not None and not math.isnan(cell.interval.half_width):
            text += f" {PLUS_MINUS} {100 * cell.interval.half_width:.1f}"
        return text + cell.mark
    if column.kind == "count":
        return f"{value:,.0f}"
    if column.kind == "scientific":
        return f"{value:.2e}"
    return f"{value:.3g}" if 1e-4 <= abs(value) < 1e4 or value == 0 else f"{value:.1e}"


def terminal_table(tables: Sequence[Table], notices: Sequence[str], width: int) -> str:
    """Notices and tables as aligned text within `width`; a wider table continues in blocks of columns.

    Labels and headers wrap at spaces, numbers never do; a single column wider than `width` is not cut.
    """
    parts = ["\n".join(textwrap.fill(notice, width, subsequent_indent="  ") for notice in notices)] if notices else []
    for table in tables:
        blocks = _blocks(table, width)
        notes = [textwrap.fill(note, width) for note in table.notes]
        parts.append("\n".join([table.title, "=" * min(width, len(table.title)), "\n\n".join(blocks), *notes]))
    return "\n\n".join(parts) + "\n"


def _blocks(table: Table, width: int) -> list[str]:
    # Room for the longest mark keeps the digits of a column aligned.
    marks = [max(len(row[i].mark) for row in table.rows) for i in range(len(table.columns))]
    shown = [
        [show(cell, table.columns[i]) + " " * (marks[i] - len(cell.mark)) for i, cell in enumerate(row)]
        for row in table.rows
    ]
    texts = [i for i, column in enumerate(table.columns) if column.kind == "text"]
    limit = max(16, width // (3 * len(texts)))
    wrapped: list[list[list[str]]] = []
    heads = []
    sizes = []
    for i, column in enumerate(table.columns):
        cells = [textwrap.wrap(row[i], limit) if i in texts else [row[i]] for row in shown]
        body = max(len(line) for cell in cells for line in cell)
        heads.append(textwrap.wrap(column.header, max(body, 9), break_long_words=False))
        sizes.append(max(body, *(len(line) for line in heads[i])))
        wrapped.append(cells)
    leading = [i for i in texts if i == texts.index(i)]
    groups: list[list[int]] = [[]]
    room = width - sum(sizes[i] + 2 for i in leading)
    free = room
    for i in (i for i in range(len(sizes)) if i not in leading):
        if groups[-1] and free < sizes[i]:
            groups.append([])
            free = room
        groups[-1].append(i)
        free -= sizes[i] + 2
    return [_block([*leading, *group], heads, wrapped, sizes, set(texts)) for group in groups]


def _block(
    columns: list[int], heads: list[list[str]], cells: list[list[list[str]]], sizes: list[int], texts: set[int]
) -> str:
    def lines(entries: dict[int, list[str]], bottom: bool) -> list[str]:
        height = max(len(entry) for entry in entries.values())
        out = []
        for number in range(height):
            line = []
            for i in columns:
                entry = entries[i]
                position = number - (height - len(entry)) if bottom else number
                text = entry[position] if 0 <= position < len(entry) else ""
                line.append(text.ljust(sizes[i]) if i in texts else text.rjust(sizes[i]))
            out.append("  ".join(line).rstrip())
        return out

    out = lines({i: heads[i] for i in columns}, bottom=True)
    out.append("-" * (sum(sizes[i] + 2 for i in columns) - 2))
    for row in range(len(cells[0])):
        out += lines({i: cells[i][row] for i in columns}, bottom=False)
    return "\n".join(out)


def markdown_table(table: Table) -> str:
    """Title, pipe table and notes."""

    def escape(text: str) -> str:
        return text.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")

    lines = [f"## {table.title}", ""]
    lines.append("| " + " | ".join(escape(column.header) for column in table.columns) + " |")
    lines.append("|" + "|".join("---" if column.kind == "text" else "--:" for column in table.columns) + "|")
    for row in table.rows:
        cells = [escape(show(cell, column)) for cell, column in zip(row, table.columns, strict=True)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"{escape(note)}\n" for note in table.notes)])


def write_csv(table: Table, path: Path, forced: bool, unequal: Sequence[str] | None = None) -> None:
    """Full precision; an estimate adds columns for its half-width, standard error, df and, if tested, adjusted p-value.

    Scores are shares, not percent. The column `forced` says whether the comparison would have been refused, and
    `unequal_cost`, unless `unequal` is None, holds these sentences.
    """
    marks = {"forced": "yes" if forced else "no"}
    if unequal is not None:
        marks["unequal_cost"] = " ".join(unequal)
    header = list(marks)
    plans = []
    for i, column in enumerate(table.columns):
        estimates = any(row[i].interval is not None for row in table.rows)
        tested = any(row[i].p is not None for row in table.rows)
        plans.append((estimates, tested))
        header.append(column.key)
        header += [f"{column.key}_{part}" for part in ("half_width", "se", "df")] if estimates else []
        header += [f"{column.key}_p_holm"] if tested else []
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in table.rows:
            line = list(marks.values())
            for cell, (estimates, tested) in zip(row, plans, strict=True):
                line.append(_exact(cell.value))
                if estimates:
                    interval = cell.interval
                    parts = (interval.half_width, interval.standard_error, interval.df) if interval else (None,) * 3
                    line += [_exact(part) for part in parts]
                if tested:
                    line.append(_exact(cell.p))
            writer.writerow(line)


def _exact(value: str | float | None) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    return value


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}",
}  # fmt: skip


def latex_escape(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return "".join(_LATEX.get(character, character) for character in text)


def latex_table(table: Table, forced: Sequence[str], warnings: Sequence[str]) -> str:
    """A booktabs tabular with a note row for each note, warning and forced reason; needs \\usepackage{booktabs}."""

    def number(text: str, mark: str) -> str:
        bare = text[: len(text) - len(mark)] if mark else text
        if bare == "-":
            return "--"
        sign = f"${bare[0]}$" if bare[0] in "+-" else ""
        body = (bare[1:] if sign else bare).replace(f" {PLUS_MINUS} ", r" $\pm$ ").replace(",", "{,}")
        raised = mark.replace(DAGGER, r"\dagger")
        return sign + body + (f"$^{{{raised}}}$" if raised else "")

    lines = [r"\begin{tabular}{" + "".join("l" if c.kind == "text" else "r" for c in table.columns) + "}", r"\toprule"]
    lines.append(" & ".join(latex_escape(column.header) for column in table.columns) + r" \\")
    lines.append(r"\midrule")
    for row in table.rows:
        cells = []
        for cell, column in zip(row, table.columns, strict=True):
            text = show(cell, column)
            cells.append(latex_escape(text) if isinstance(cell.value, str) else number(text, cell.mark))
        lines.append(" & ".join(cells) + r" \\")
    lines.append(r"\bottomrule")
    notes = [f"NOT COMPARABLE (forced): {reason}" for reason in forced] + list(table.notes)
    notes += [f"Warning: {warning}" for warning in warnings]
    for note in notes:
        text = latex_escape(note).replace("+/-", r"$\pm$").replace(DAGGER, r"$\dagger$")
        lines.append(rf"\multicolumn{{{len(table.columns)}}}{{p{{0.95\linewidth}}}}{{\footnotesize {text}}} \\")
    return "\n".join([f"% {table.title}", *lines, r"\end{tabular}"]) + "\n"
