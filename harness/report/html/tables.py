"""A table of the report as HTML: what is shown, what it is sorted by, and its CSV file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.report.html.text import attributes, breakable, data, escape, inline, shortened
from harness.report.tables.layout import FORCED, Bounded, expanded
from harness.table_formats import PLUS_MINUS, Cell, Column, Table, show, write_csv

LONGEST = 600  # characters of a cell; its CSV file has them all
LONG = 18  # rows; a longer table scrolls under its header
WIDTHS = (10, 18, 28)  # characters from which a column of texts is kept wider
# what stands back behind the number: " +/- 2.3" or " [50.3, 54.0]"
_SPREAD = re.compile(rf"^(.*?)( {PLUS_MINUS} .*| \[[^\]]*\])$")


def block(table: Table, caption: str, anchor: str, level: int, links: Mapping[str, str], unequal: Set[str]) -> str:
    """The table with its title, caption, notes and CSV file.

    `links`: text of a cell -> address that it leads to; `unequal`: notes that the CSV file repeats in every line.
    """
    title = f"{anchor}:title"
    notes = "".join(f"<li>{inline(note)}</li>" for note in table.notes)
    return "".join(
        [
            f"<figure{attributes(class_='block table', id=anchor, aria_labelledby=title)}>\n",
            f"<h{level}{attributes(id=title)}>{escape(table.title)}</h{level}>\n",
            f"<p class=caption>{inline(caption)}</p>\n" if caption else "",
            grid(table, title, links),
            f"<ul class=notes>{notes}</ul>\n" if notes else "",
            f'<script type="application/json"{attributes(data_csv=f"{table.name}.csv")}>',
            f"{data(_csv(table, unequal))}</script>\n</figure>\n",
        ]
    )


def grid(table: Table, title: str, links: Mapping[str, str], ids: Sequence[str] = ()) -> str:
    """The cells alone, in a box that scrolls. `title`: id of the element that names them; `ids`: of the rows."""
    kinds = _kinds(table)
    head = "".join(
        f'<th scope="col"{attributes(class_=kind)}>{escape(column.header)}</th>'
        for column, kind in zip(table.columns, kinds, strict=True)
    )
    anchors = ids or [None] * len(table.rows)
    rows = "".join(
        f"<tr{attributes(id=anchor)}>{_row(row, table.columns, kinds, links)}</tr>\n"
        for anchor, row in zip(anchors, table.rows, strict=True)
    )
    box = "scroll tall" if len(table.rows) > LONG else "scroll"
    return (
        f"<div{attributes(class_=box, role='region', aria_labelledby=title, tabindex='0')}>"
        f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    )


def _kinds(table: Table) -> list[str | None]:
    """Classes of the columns: n for numbers, which stand right; w1 to w3 for texts by their length."""
    return [_kind(column, [row[i] for row in table.rows]) for i, column in enumerate(table.columns)]


def _kind(column: Column, cells: Sequence[Cell]) -> str | None:
    texts = [cell for cell in cells if isinstance(cell.value, str)]
    if column.kind != "text" or (texts and all(isinstance(cell, Bounded) for cell in texts)):
        return "n"
    longest = max((len(cell.value) for cell in texts), default=0)
    width = sum(longest >= limit for limit in WIDTHS)
    return f"w{width}" if width else None


def _row(row: Sequence[Cell], columns: Sequence[Column], kinds: Sequence[str | None], links: Mapping[str, str]) -> str:
    cells = []
    for i, (cell, column, kind) in enumerate(zip(row, columns, kinds, strict=True)):
        name, scope = ("th", "row") if i == 0 else ("td", None)
        shown = _number(cell, column) if kind == "n" else _text(show(cell, column), links)
        head = attributes(scope=scope, class_="n" if kind == "n" else None, data_v=_sorted_by(cell))
        cells.append(f"<{name}{head}>{shown}</{name}>")
    return "".join(cells)


def _sorted_by(cell: Cell) -> str | None:
    """More digits than are shown; a text is sorted by what it says."""
    value = cell.number if isinstance(cell, Bounded) else cell.value
    if value is None or isinstance(value, str) or math.isnan(value):
        return None
    return f"{value:.8g}"


def _text(text: str, links: Mapping[str, str]) -> str:
    label = breakable(shortened(text, LONGEST))
    return f'<a href="#{escape(links[text])}">{label}</a>' if text in links else label


def _number(cell: Cell, column: Column) -> str:
    """The cell as in every other form of the table; its interval and marks stand back, the text is the same."""
    text = show(cell, column)
    mark = cell.mark if cell.mark and text.endswith(cell.mark) else ""
    body = text.removesuffix(mark)
    found = _SPREAD.match(body)
    number, spread = found.groups() if found else (body, "")
    small = f"<small>{escape(spread)}</small>" if spread else ""
    return escape(number) + small + (f"<sup>{escape(mark)}</sup>" if mark else "")


def _csv(table: Table, unequal: Set[str]) -> str:
    """What the report's CSV file of this table holds."""
    forced = any(note.startswith(FORCED) for note in table.notes)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        write_csv(expanded(table), path, forced, [note for note in table.notes if note in unequal])
        return path.read_text(encoding="utf-8")
