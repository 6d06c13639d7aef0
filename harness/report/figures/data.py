"""What figures read from sources: rows by name, estimates, and training metrics averaged over seeds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from harness.report.figures.layout import WIDTHS
from harness.report.options import choice, nearest, place
from harness.report.tables.layout import restricted

if TYPE_CHECKING:
    from harness.compare_load import Run
    from harness.compare_rows import Row
    from harness.report.document import Source
    from harness.report.spec import Item

COSTS = {
    "flops": "FLOPs",
    "generated_tokens": "generated tokens",
    "updates": "optimiser updates",
    "seconds": "seconds of training",
}


@dataclass(frozen=True)
class Course:
    """A metric of one row along a cost: mean, lowest and highest over seeds at each `x`."""

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def width_of(item: Item, options: Mapping[str, Any]) -> float:
    """Inches for the option width, "single" or "double"."""
    return WIDTHS[choice(item, "width", options["width"], WIDTHS)]


def select(sources: Sequence[Source], item: Item, wanted: Sequence[str]) -> list[tuple[Source, dict[str, Row]]]:
    """The rows of every source as figures name them: by arm or strategy, or by label where two rows share that.

    `wanted` keeps the rows of these names, strategies or labels, all if it is empty. ValueError for one that no source
    has.
    """
    found, known_names = [], {}
    for source in sources:
        rows = source.comparison.rows
        counts = Counter(row.name for row in rows)
        named = {(row.name if counts[row.name] == 1 else row.label): row for row in rows}
        kept = {name: row for name, row in named.items() if not wanted or {name, row.name, row.strategy} & set(wanted)}
        known_names |= {key: None for name, row in named.items() for key in (name, row.name, row.strategy)}
        if kept:
            found.append((source, kept))
    unknown = next((name for name in wanted if name not in known_names), None)
    if unknown is not None:
        names = ", ".join(known_names)
        raise ValueError(
            f"{place(item)}: there is no row {unknown!r}{nearest(unknown, known_names)}; there are: {names}."
        )
    return found


def restrict(sources: Sequence[Source], split: str, suites: Sequence[str]) -> list[Source]:
    """The sources with only these suites, all of the split if none is named; ValueError for one not evaluated."""
    return [replace(source, comparison=restricted(source.comparison, split, suites)) for source in sources]


def cost_of(run: Run, key: str) -> np.ndarray | None:
    """What the run had spent after each of its updates, NaN where unknown; None where it was not recorded."""
    metrics, timing = run.steps
    if key == "updates":
        return metrics.index.astype(float)
    if key != "seconds":
        return metrics.columns.get(key)
    steps, seconds = timing.known("cumulative_seconds")
    known = dict(zip(steps.tolist(), seconds.tolist(), strict=True))
    return np.array([known.get(step, math.nan) for step in metrics.index.tolist()]) if known else None


def course(runs: Iterable[Run], metric: str, x: str) -> Course | None:
    """A training metric against cost, averaged over the runs that recorded it; None where none did, or at no cost.

    Seeds make different numbers of updates and spend differently on each, so every seed is interpolated linearly
    on costs that all of them reached: the very costs where these are the same, else the updates of the seed that made
    most of them, or as many equidistant costs.
    """
    found = []
    for run in runs:
        costs, values = cost_of(run, x), run.steps[0].columns.get(metric)
        if costs is None or values is None:
            continue
        both = ~(np.isnan(costs) | np.isnan(values))
        if both.any() and np.ptp(costs[both]) > 0:
            found.append((costs[both], values[both]))
    if not found:
        return None
    grid = found[0][0]
    if any(not np.array_equal(grid, costs) for costs, _ in found):
        start, end = max(costs[0] for costs, _ in found), min(costs[-1] for costs, _ in found)
        if start >= end:
            return None
        longest = max((costs for costs, _ in found), key=len)
        whole = longest[(longest >= start) & (longest <= end)]
        grid = whole if x == "updates" else np.linspace(start, end, len(longest))
    values = np.stack([np.interp(grid, costs, values) for costs, values in found])
    return Course(grid, values.mean(axis=0), values.min(axis=0), values.max(axis=0))


def limits(courses: Sequence[Course]) -> tuple[float, float]:
    """One scale of cost for the panels of a figure, with a margin."""
    first, last = min(line.x[0] for line in courses), max(line.x[-1] for line in courses)
    return first - 0.03 * (last - first), last + 0.03 * (last - first)


def cost_axis(axis: Axes, key: str, label: bool = True) -> None:
    """Ticks of a cost in thousands, millions ..., said by the label; the data keep their unit."""
    most = axis.get_xlim()[1]
    if key == "updates":
        axis.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    power = 3 * int(math.log10(most) // 3) if most >= 2e4 else 0
    axis.xaxis.set_major_formatter(lambda value, _: f"{value / 10**power:g}")
    if label:
        axis.set_xlabel(COSTS[key] + (f" ($\\times 10^{{{power}}}$)" if power else ""))
