"""Score against model size: every strategy at every size, its difference to the baseline, and the trends of both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from harness.compare import Comparison
from harness.compare_rows import Row
from harness.report.contrasts import adjusted, contrast, slope_weights
from harness.report.document import Source
from harness.report.grid import check_alike, names_of, size_of, suites_shared
from harness.report.options import place, read
from harness.report.spec import Item
from harness.report.tables.layout import FORCED, all_notes, named, restricted
from harness.statistics.intervals import Estimate
from harness.table_formats import Cell, Column, Table
from harness.tables import LABEL, estimate_cell

OPTIONS = {"split": "eval", "suites": [], "parameters": {}}
METHOD = (
    "Trend: least-squares slope over log10(parameters), in points for ten times the parameters, formed for every seed "
    "and problem from the sizes shown (the differences' trend paired with the baseline's), with the interval over "
    "seeds and problems; p by Holm over the strategies. It assumes a straight line and says nothing of other sizes."
)


def build(sources: Sequence[Source], item: Item) -> Table:
    """One line a strategy, sizes ascending; each source is one size.

    Options: split; suites, default all that the sources share; parameters, a table model -> number of parameters for
    models whose config.json is not at hand. A strategy that a size lacks has `-` there, and a trend over the others if
    at least two are left. Raises ValueError for fewer than two sizes, and for sources that differ in more than the
    model.
    """
    options = read(item, OPTIONS)
    split = options["split"]
    by_size = {size_of(source, options["parameters"]): source for source in sources}
    if len(by_size) < max(2, len(sources)):
        raise ValueError(f"{place(item)} needs two or more sources, each of another model size.")
    reasons = check_alike(sources, models_differ=True)
    suites = suites_shared(sources, split, options["suites"])
    sizes = sorted(by_size)
    comparisons = [restricted(by_size[size].comparison, split, suites) for size in sizes]
    rows = {size: names_of(comparison) for size, comparison in zip(sizes, comparisons, strict=True)}
    names = list(dict.fromkeys(name for found in rows.values() for name in found))
    cells = {name: {size: found[name] for size, found in rows.items() if name in found} for name in names}

    level = comparisons[0].level
    trends = [_trend(found, split, suites, level) for found in cells.values()]
    gaps = [_gap_trend(found, split, suites, level) for found in cells.values()]
    lines = []
    for (name, found), trend, gap, p in zip(cells.items(), trends, gaps, adjusted(gaps), strict=True):
        at = [found[size].scores[split] if size in found else None for size in sizes]
        line = [Cell(name), *(estimate_cell(one and one.mean) for one in at), estimate_cell(trend)]
        line += [estimate_cell(one.difference, one.holm) if one else Cell() for one in at]
        lines.append([*line, estimate_cell(gap, p)])
    notes = all_notes(comparisons, lines, _first(by_size, comparisons[0], split, suites))
    missing = [f"{name} ({_labels(by_size, sizes, found)})" for name, found in cells.items() if len(found) < len(sizes)]
    notes += [f"Not run: {'; '.join(missing)}."] if missing else []
    notes += [f"{FORCED} {reason}" for reason in reasons]
    return named(Table("scaling", "Score against model size", _columns(sizes, comparisons), lines, notes), item)


def _trend(found: Mapping[float, Row], split: str, suites: Sequence[str], level: float) -> Estimate | None:
    """Slope of the score; None for a single size, or where sizes share no seed or problem."""
    if len(found) < 2:
        return None
    weights = slope_weights([math.log10(size) for size in found])
    return contrast(list(found.values()), weights, split, suites, level)


def _gap_trend(found: Mapping[float, Row], split: str, suites: Sequence[str], level: float) -> Estimate | None:
    """Slope of the difference to the baseline, over the sizes that have one."""
    compared = {size: row for size, row in found.items() if row.baseline not in (None, row)}
    if len(compared) < 2:
        return None
    weights = slope_weights([math.log10(size) for size in compared])
    rows = [*compared.values(), *(row.baseline for row in compared.values())]
    return contrast(rows, [*weights, *(-weight for weight in weights)], split, suites, level)


def _columns(sizes: Sequence[float], comparisons: Sequence[Comparison]) -> list[Column]:
    columns = [LABEL, *(Column(f"score_{size:.0f}", _size(size), "percent") for size in sizes)]
    columns.append(Column("trend", "trend", "signed"))
    for size, comparison in zip(sizes, comparisons, strict=True):
        columns.append(Column(f"difference_{size:.0f}", f"{_size(size)} minus {comparison.baseline}", "signed"))
    return [*columns, Column("difference_trend", "trend of the difference", "signed")]


def _first(by_size: Mapping[float, Source], comparison: Comparison, split: str, suites: Sequence[str]) -> str:
    sizes = ", ".join(f"{_size(size)} ({source.label})" for size, source in sorted(by_size.items()))
    where = "" if split == "eval" else f" of the split {split}"
    return (
        f"avg@k{where} in percent at the last evaluation, mean over {', '.join(suites)}, +/- half-width of the "
        f"{100 * comparison.level:g}% interval over seeds and problems; sizes in parameters: {sizes}. {METHOD}"
    )


def _labels(by_size: Mapping[float, Source], sizes: Sequence[float], found: Mapping[float, Row]) -> str:
    return ", ".join(by_size[size].label for size in sizes if size not in found)


def _size(size: float) -> str:
    """A number of parameters with its unit: 0.23M, 1.1M, 7.61B."""
    for limit, unit in ((1e9, "B"), (1e5, "M"), (1e3, "k")):
        if size >= limit:
            return f"{size / (limit if unit != 'M' else 1e6):.3g}{unit}"
    return f"{size:.0f}"
