"""A metric against the value of one setting, among rows that differ in nothing else: sweeps of a threshold or ratio.

Such are GFT's accuracy and rectified share against tau (arXiv 2604.14258, Fig. 6), its ratio of given to own responses
(Table 5), and HPT's gate (arXiv 2509.04419, Table 6).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.compare_rows import flatten
from harness.report.contrasts import contrast
from harness.report.options import choice, read
from harness.report.problems import suites_of
from harness.report.tables.layout import SOURCE, all_notes, named
from harness.spec import RunSpec
from harness.statistics.intervals import Estimate, seed_interval
from harness.table_formats import Cell, Column, Table
from harness.tables import LABEL, estimate_cell
from strategies import registry

if TYPE_CHECKING:
    from harness.compare import Comparison
    from harness.compare_rows import Row
    from harness.report.document import Source
    from harness.report.spec import Item

OPTIONS = {"key": str, "metrics": ["score"], "split": "eval", "best": "max"}
SCORE = "score"


@dataclass(frozen=True)
class Point:
    """One row of a sweep. `number` is NaN for a value that is no number; `metrics` holds what the row has of them."""

    value: str
    number: float
    default: bool
    row: Row
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class Line:
    """Rows that differ in the swept setting alone, by its value. `best`: where the first metric is best, if wanted."""

    label: str
    strategy: str
    points: list[Point]
    best: Point | None


@dataclass(frozen=True)
class Sweep:
    """`keys`: the swept settings; values of several are joined by ':'. `level` is that of all intervals."""

    keys: tuple[str, ...]
    metrics: tuple[str, ...]
    lines: list[Line]
    split: str
    level: float

    @property
    def name(self) -> str:
        return ":".join(key.removeprefix("options.") for key in self.keys)

    @property
    def numeric(self) -> bool:
        return not any(math.isnan(point.number) for line in self.lines for point in line.points)

    @property
    def values(self) -> list[str]:
        """Every value of any line, ascending."""
        found = {point.value: point.number for line in self.lines for point in line.points}
        return sorted(found, key=_order)


def sweep(comparison: Comparison, item: Item, more: Mapping[str, Any] | None = None) -> tuple[Sweep, dict[str, Any]]:
    """Find the rows that vary the setting and estimate the metrics; with it all options, `more` being of the caller.

    Options: key, a dotted setting such as "options.tau" or "train.learning_rate", or several joined by ','; metrics:
    "score" (mean over suites), "score:SUITE", or names of training metrics, averaged over the last quarter of the
    updates; split of the scores; best = "max", "min" or "none" of the first metric. Each score has the comparison's
    interval over seeds and problems, a training metric Student's t over seeds. Raises ValueError where fewer than two
    values were run, two rows have the same, or a metric is unknown.
    """
    options = read(item, OPTIONS | (more or {}))
    keys = tuple(part.strip() for part in options["key"].split(",") if part.strip())
    metrics = tuple(options["metrics"])
    if not keys or not metrics:
        raise ValueError('A sweep takes the options key, such as "options.tau", and at least one of metrics.')
    choice(item, "best", options["best"], ("max", "min", "none"))
    _check(comparison, metrics, options["split"])
    groups: dict[tuple[str, ...], list[Point]] = {}
    for row in comparison.rows:
        defaults = _defaults(row.strategy)
        values = [row.settings.get(key, defaults.get(key)) for key in keys]
        if None in values:
            continue
        default = all(_same(value, defaults.get(key)) for key, value in zip(keys, values, strict=True))
        found = {metric: _estimate(row, metric, options["split"], comparison.level) for metric in metrics}
        known = {metric: estimate for metric, estimate in found.items() if estimate is not None}
        value = ":".join(values)
        number = _number(value)
        # the experiment is a name, no setting: a sweep may be made of several
        rest = {key: text for key, text in row.settings.items() if key not in (*keys, "experiment")}
        point = Point(value, math.nan if number is None else number, default, row, known)
        groups.setdefault((row.strategy, *(f"{key}={rest[key]}" for key in sorted(rest))), []).append(point)
    groups = {group: points for group, points in groups.items() if len(points) > 1}
    if not groups:
        raise ValueError(f"No strategy was run with two values of {options['key']} and nothing else changed.")
    lines = [
        Line(label, group[0], points, _best(points, metrics[0], options["best"]))
        for (group, points), label in zip(sorted(groups.items()), _labels(sorted(groups)), strict=True)
    ]
    for line in lines:
        line.points.sort(key=lambda point: _order(point.value))
        for a, b in pairwise(line.points):
            if _same(a.value, b.value):
                raise ValueError(f"Two rows have {options['key']} = {a.value}: {a.row.label}; {b.row.label}; keep one.")
    return Sweep(keys, metrics, lines, options["split"], comparison.level), options


def title_of(metric: str) -> str:
    """The metric as an axis or a column names it."""
    if metric == SCORE:
        return "score (%)"
    if metric.startswith(f"{SCORE}:"):
        return f"{metric.partition(':')[2]} (%)"
    return metric.replace("_", " ")


def is_score(metric: str) -> bool:
    return metric == SCORE or metric.startswith(f"{SCORE}:")


def against_default(line: Line, sweep: Sweep) -> Estimate | None:
    """Best minus default score, paired by seed and problem; None where they are one, or no score is first."""
    default = next((point for point in line.points if point.default), None)
    metric = sweep.metrics[0]
    if line.best is None or default is None or default is line.best or not is_score(metric):
        return None
    suites = [metric.partition(":")[2]] if ":" in metric else list(line.best.row.scores[sweep.split].by_suite)
    return contrast([line.best.row, default.row], [1, -1], sweep.split, suites, sweep.level)


def build(sources: Sequence[Source], item: Item) -> Table:
    """One line a value. Options and errors: `sweep`."""
    found = [(source, sweep(source.comparison, item)[0]) for source in sources]
    first = found[0][1]
    columns = [SOURCE] if len(sources) > 1 else []
    columns += [LABEL, Column("value", first.name, "text"), Column("seeds", "seeds", "count")]
    for metric in first.metrics:
        key = metric.replace(":", "_")
        columns.append(Column(key, title_of(metric), "percent" if is_score(metric) else "number"))
        if not is_score(metric):
            columns.append(Column(f"{key}_half_width", "+/-", "number"))
    columns.append(Column("mark", "mark", "text"))
    rows = []
    notes = []
    for source, one in found:
        for line in one.lines:
            for point in line.points:
                cells = [Cell(source.label)] if len(sources) > 1 else []
                cells += [Cell(line.label), Cell(point.value), Cell(float(len(point.row.runs)))]
                for metric in one.metrics:
                    cells += _cells(point.metrics.get(metric), is_score(metric))
                marks = [name for name, has in (("best", point is line.best), ("default", point.default)) if has]
                rows.append([*cells, Cell(", ".join(marks) or None)])
            gap = against_default(line, one)
            if gap is not None:
                half = "" if math.isnan(gap.half_width) else f" +/- {100 * gap.half_width:.1f}"
                notes.append(f"{line.label}, best minus default: {100 * gap.mean:+.1f}{half} points.")
    notes = [*all_notes([source.comparison for source in sources], rows, _note(first)), *notes]
    return named(Table("", f"Sweep of {first.name}", columns, rows, notes), item)


def _cells(estimate: Estimate | None, score: bool) -> list[Cell]:
    if estimate is None:
        return [Cell()] if score else [Cell(), Cell()]
    if score:
        return [estimate_cell(estimate)]
    return [Cell(estimate.mean), Cell(estimate.half_width)]


def _note(sweep: Sweep) -> str:
    note = f"{100 * sweep.level:g}% intervals: of scores over seeds and problems, of other metrics over seeds."
    if not all(is_score(metric) for metric in sweep.metrics):
        note += " Metrics other than scores are means over the last quarter of the updates."
    if any(line.best is not None for line in sweep.lines):
        name = title_of(sweep.metrics[0]).removesuffix(" (%)")
        note += f" best: by {name}; the best of several noisy values looks better than it is."
    return note


def _check(comparison: Comparison, metrics: Sequence[str], split: str) -> None:
    logged = sorted({str(key) for row in comparison.rows for run in row.runs for key in run.metrics.columns})
    for metric in metrics:
        if is_score(metric):
            suites_of(comparison, split, [metric.partition(":")[2]] if ":" in metric else [])
        elif metric not in logged:
            raise ValueError(f"No run has the metric {metric!r}; metrics are score, score:SUITE, {', '.join(logged)}.")


def _estimate(row: Row, metric: str, split: str, level: float) -> Estimate | None:
    if is_score(metric):
        scores = row.scores[split]
        return scores.by_suite[metric.partition(":")[2]] if ":" in metric else scores.mean
    tails = [
        run.metrics[metric].tail(max(1, len(run.metrics) // 4)).mean() for run in row.runs if metric in run.metrics
    ]
    values = np.array([tail for tail in tails if not math.isnan(tail)])
    if not values.size:
        return None
    if values.size == 1:
        return Estimate(float(values[0]), math.nan, math.nan, math.nan, math.nan, 1, 1)
    return seed_interval([values[:, None]], level)


def _best(points: Sequence[Point], metric: str, which: str) -> Point | None:
    known = [point for point in points if metric in point.metrics]
    if which == "none" or not known:
        return None
    sign = 1 if which == "max" else -1
    return max(known, key=lambda point: sign * point.metrics[metric].mean)


def _labels(groups: Sequence[tuple[str, ...]]) -> list[str]:
    """The strategy, with the settings in which lines of one strategy differ."""
    labels = []
    for group in groups:
        peers = [other for other in groups if other[0] == group[0]]
        own = [entry for entry in group[1:] if not all(entry in peer for peer in peers)]
        labels.append(f"{group[0]} ({', '.join(own)})" if own else group[0])
    return labels


def _defaults(strategy: str) -> dict[str, str]:
    """Dotted settings at their defaults; without options where the strategy is not installed here."""
    known = flatten(RunSpec().as_dict())
    if strategy in registry.names():
        known |= flatten(dataclasses.asdict(registry.validate(strategy, {})), "options.")
    return known


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _same(a: str, b: str | None) -> bool:
    numbers = (_number(a), None if b is None else _number(b))
    return a == b if None in numbers else numbers[0] == numbers[1]


def _order(value: str) -> tuple[list[tuple[float, str]], str]:
    """Ascending by the number that each part begins with, then by its text; parts without one come last."""
    starts = [(re.match(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", part), part) for part in value.split(":")]
    return [(float(found.group()) if found else math.inf, part) for found, part in starts], value
