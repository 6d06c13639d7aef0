"""Numbers of a paper's text, with what our runs measure of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from harness.dynamics import correlation
from harness.report.contrasts import shared_runs
from harness.report.published import Headline, Published, PublishedRow
from harness.report.published_match import counterpart
from harness.report.tables.layout import Bounded, bounded, named
from harness.statistics.resampling import jackknife_interval
from harness.table_formats import Cell, Column, Table

if TYPE_CHECKING:
    from harness.compare_load import Run
    from harness.compare_rows import Row
    from harness.report.document import Source
    from harness.report.spec import Item


def headlines(published: Published, sources: Sequence[Source], item: Item) -> Table:
    """One line a number, measured in the first source that has its strategies. ValueError for a paper without any."""
    if not published.headline:
        raise ValueError(f"{published.paper} has no headline numbers.")
    columns = [Column("quantity", "quantity", "text"), Column("printed", "printed", "text")]
    columns += [Column("here", "here", "text"), Column("runs", "runs", "text"), Column("where", "where", "text")]
    rows = []
    for headline in published.headline:
        source, cell = _measured(headline, sources)
        label = source.label or source.name if source else None
        rows.append([Cell(headline.label), Cell(headline.printed), cell, Cell(label), Cell(headline.source)])
    notes = [f"Paper: {published.title}; {published.where}."]
    if any(isinstance(row[2], Bounded) for row in rows):
        level = 100 * sources[0].comparison.level
        notes.append(
            f"here: change of the mean over seeds against the named strategy, or the mean itself, with a {level:g}% "
            "jackknife interval over seeds; our models, tasks and budgets are others than the paper's."
        )
    notes += [f"{headline.label}: {headline.note}." for headline in published.headline if headline.note]
    return named(Table(item.name, item.title, columns, rows, notes), item)


def _measured(headline: Headline, sources: Sequence[Source]) -> tuple[Source | None, Cell]:
    if not headline.measure:
        return None, Cell()
    for source in sources:
        names = [headline.strategy] + ([headline.against] if headline.against else [])
        rows = [counterpart(PublishedRow(name, (), strategy=name), source, {}) for name in names]
        if None not in rows:
            cell = _change(headline, rows, source.comparison.level)  # type: ignore[arg-type]
            if cell is not None:
                return source, cell
    return None, Cell()


def _change(headline: Headline, rows: Sequence[Row], level: float) -> Cell | None:
    """Relative change of the first row's measure against the second's, or the measure; None where it is missing."""
    tables = [_values(runs, headline.measure) for runs in shared_runs(rows)]
    if any(not table.size or np.isnan(table).any() for table in tables) or (len(tables) > 1 and not tables[1].mean()):
        return None

    def change(*found: np.ndarray) -> np.ndarray:
        means = [one.mean(axis=(-2, -1)) for one in found]
        return means[0] / means[1] - 1 if len(means) > 1 else means[0]

    value, half = float(change(*tables)), math.nan
    if len(tables[0]) > 1:
        half = float(jackknife_interval(change, *tables, paired=len(tables) > 1, level=level)[1])
    if headline.unit == "number":
        return bounded(value, value - half, value + half, scale=1.0, digits=2)
    cell = bounded(value, value - half, value + half)
    return replace(cell, value=f"{cell.value} %")


def _values(runs: Sequence[Run], measure: str) -> np.ndarray:
    """One value a run, NaN where it has none; shape [runs, 1]."""
    return np.array([[_value(run, measure)] for run in runs])


def _value(run: Run, measure: str) -> float:
    if measure in run.reasons:
        return run.reasons[measure]
    kind, _, name = measure.partition(" ")
    if kind == "correlation":
        if not {f"{name}_raw", f"true_{name}"} <= set(run.metrics.columns):
            return math.nan
        pairs = run.metrics[[f"{name}_raw", f"true_{name}"]].dropna().to_numpy()
        found = correlation(*pairs.T)["pearson"]
        return math.nan if found is None else found
    return float(run.metrics[measure].mean()) if measure in run.metrics else math.nan
