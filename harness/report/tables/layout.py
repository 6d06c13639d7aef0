"""How tables of reports are put together: one source or several, names and titles, estimates with two bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from harness.compare import Comparison
from harness.compare_estimates import estimate
from harness.report.document import Source
from harness.report.options import place
from harness.report.problems import suites_of
from harness.report.spec import Item
from harness.table_formats import Cell, Column, Table
from harness.tables import estimate_notes

FORCED = "NOT COMPARABLE (forced):"
SOURCE = Column("source", "runs", "text")


@dataclass(frozen=True)
class Bounded(Cell):
    """A number with an interval that is not symmetric: read as `52.1 [50.3, 54.0]`, three columns in a CSV file.

    NaN bounds stand for no interval.
    """

    number: float = math.nan
    low: float = math.nan
    high: float = math.nan


def bounded(number: float, low: float, high: float, scale: float = 100.0, digits: int = 1) -> Bounded:
    """The cell of `number`, shown times `scale`."""

    def text(value: float) -> str:
        # adding zero turns a rounded -0.0 into 0.0
        return f"{round(scale * value, digits) + 0.0:.{digits}f}"

    if math.isnan(number):
        return Bounded()
    interval = "" if math.isnan(low) or math.isnan(high) else f" [{text(low)}, {text(high)}]"
    return Bounded(text(number) + interval, number=number, low=low, high=high)


def expanded(table: Table) -> Table:
    """The table with every column of `Bounded` cells as three columns of numbers, for files that programs read."""
    wide = {i for row in table.rows for i, cell in enumerate(row) if isinstance(cell, Bounded)}
    columns: list[Column] = []
    for i, column in enumerate(table.columns):
        keys = [column.key] + [f"{column.key}_{end}" for end in ("low", "high") if i in wide]
        columns += [replace(column, key=key) for key in keys]
    rows = []
    for row in table.rows:
        cells: list[Cell] = []
        for i, cell in enumerate(row):
            if i not in wide:
                cells.append(cell)
            elif isinstance(cell, Bounded):
                cells += [Cell(cell.number), Cell(cell.low), Cell(cell.high)]
            else:
                cells += [cell, Cell(), Cell()]
        rows.append(cells)
    return replace(table, columns=columns, rows=rows)


def restricted(comparison: Comparison, split: str, suites: Sequence[str]) -> Comparison:
    """The comparison with only these suites, all means estimated anew; itself where `suites` is empty.

    ValueError for a split or a suite that not all rows have.
    """
    kept = suites_of(comparison, split, suites)
    if set(kept) == set(comparison.suites[split]):
        return comparison
    shared = {name: [suite for suite in found if suite in kept] for name, found in comparison.suites.items()}
    copies = {id(row): replace(row, scores={}, levels={}, mean_levels={}, curve=[]) for row in comparison.rows}
    for row in copies.values():
        row.baseline = copies[id(row.baseline)] if row.baseline is not None else None
    rows = list(copies.values())
    shared = {name: found for name, found in shared.items() if found}
    estimate(rows, shared, comparison.level)
    return replace(comparison, rows=rows, suites=shared)


def per_source(sources: Sequence[Source], item: Item, make: Callable[[Comparison], Table]) -> Table:
    """`make` of every source as one table under the item's name and title.

    Several sources: the first column names them, the columns of all are kept, and a note that they share stands once.
    Columns without any value are left out.
    """
    tables = [make(source.comparison) for source in sources]
    columns = list(dict.fromkeys(column for table in tables for column in table.columns))
    rows, notes = [], []
    for source, table in zip(sources, tables, strict=True):
        places = {column: i for i, column in enumerate(table.columns)}
        for row in table.rows:
            cells = [row[places[column]] if column in places else Cell() for column in columns]
            rows.append([Cell(source.label), *cells] if len(sources) > 1 else cells)
        notes += [note for note in table.notes if note not in notes]
    columns = [SOURCE, *columns] if len(sources) > 1 else columns
    return named(Table("", tables[0].title, columns, rows, notes), item)


def all_notes(comparisons: Sequence[Comparison], cells: Sequence[Sequence[Cell]], first: str) -> list[str]:
    """`first`, and what the marks in `cells` mean in any of the comparisons; each note once."""
    return list(dict.fromkeys(note for one in comparisons for note in estimate_notes(one, cells, first)))


def named(table: Table, item: Item) -> Table:
    """The table under the item's name, and its title where it has one; columns without any value are left out.

    ValueError where nothing but a label is left.
    """
    filled = [i for i in range(len(table.columns)) if any(_has_value(row[i]) for row in table.rows)]
    if len(filled) < 2:
        raise ValueError(f"{place(item)} has nothing to show for these sources and options.")
    return Table(
        item.name,
        item.title or table.title,
        [table.columns[i] for i in filled],
        [[row[i] for i in filled] for row in table.rows],
        table.notes,
    )


def _has_value(cell: Cell) -> bool:
    return cell.value is not None and not (isinstance(cell.value, float) and math.isnan(cell.value))
