"""Accuracy of every single problem as a heat map: over the course of training, over rows, or as a difference.

Layout: HPT (arXiv 2509.04419), Fig. 3 (accuracy of each question over training) and Fig. 4 (difference of two methods).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes

from harness.report.figures import data
from harness.report.figures.style import Drawn, canvas
from harness.report.options import choice, read
from harness.report.problems import by_seed, levels, row_named, suites_of, table

if TYPE_CHECKING:
    from harness.compare import Comparison
    from harness.compare_rows import Row
    from harness.report.document import Source
    from harness.report.spec import Item

ACCURACY, DIFFERENCE = "cividis", "PuOr"  # both ordered for readers who see no red or no green
UNSCORED = "#bbbbbb"
TALLEST = 6.0  # inches of the map; a problem takes at least two dots of a printed page
OPTIONS = {"columns": "rows", "row": "", "minus": "", "split": "eval", "suites": [], "levels": [], "width": "single"}


def draw(sources: Sequence[Source], item: Item) -> Drawn:
    """Problems downwards by level, then by mean; columns = "rows" (last evaluation) or "moments" of one `row`.

    Options: columns; row = label, arm or strategy, for moments; minus = the row that is subtracted, over the seeds that
    both have; split; suites and levels (default all). Accuracy is the mean score over seeds and samples. Raises
    ValueError for more than one source, an unknown row, or where no problem is scored.
    """
    options = read(item, OPTIONS)
    choice(item, "columns", options["columns"], ("rows", "moments"))
    if len(sources) != 1:
        raise ValueError(f"A heat map of problems shows one source, but {item.name} has {len(sources)}; name one.")
    comparison = sources[0].comparison
    scores = problem_scores(comparison, options)
    moments = options["columns"] == "moments"
    height = min(TALLEST, max(2.2, 0.011 * len(scores))) + (0.5 if moments else 0.5 + 0.055 * _longest(scores))
    figure = canvas(data.width_of(item, options), height)
    axis = figure.add_subplot()
    # a difference is seldom whole: the scale ends at the next quarter above the largest
    most = 100 if not options["minus"] else max(25, 25 * math.ceil(4 * np.nanmax(np.abs(scores.to_numpy()))))
    colors = colormaps[DIFFERENCE if options["minus"] else ACCURACY].with_extremes(bad=UNSCORED)
    # nearest: a problem is a block of one colour in every format
    image = axis.imshow(
        100 * scores,
        aspect="auto",
        interpolation="nearest",
        cmap=colors,
        vmin=-most if options["minus"] else 0,
        vmax=most,
    )
    _axes(axis, scores, moments, "black" if options["minus"] else "white")
    name = f"minus {options['minus']}" if options["minus"] else ""
    if moments:
        axis.set_title(f"{options['row']} {name}".strip(), loc="left")
    elif name:
        axis.set_title(name, loc="left")
    bar = figure.colorbar(image, ax=axis, fraction=0.05, pad=0.02, aspect=40)
    bar.set_label("difference in accuracy (points)" if options["minus"] else "accuracy (%)")
    bar.outline.set_visible(False)
    return Drawn(figure, in_words(scores, options))


def problem_scores(comparison: Comparison, options: Mapping[str, Any]) -> pd.DataFrame:
    """Accuracy in [0, 1], or difference in [-1, 1]; index (level, suite, problem) in the order of the map.

    Columns: labels of rows, or fractions of the budget. A level is NaN where a problem has none, and comes last.
    """
    split = options["split"]
    suites = suites_of(comparison, split, options["suites"])
    minus = row_named(comparison, options["minus"]) if options["minus"] else None
    if options["columns"] == "moments":
        if not options["row"]:
            raise ValueError('option columns = "moments" shows the course of one row; name it in the option row.')
        row = row_named(comparison, options["row"])
        columns = {moment: (row, moment, moment) for moment in _moments(row, minus, suites)}
    else:
        if options["row"]:
            raise ValueError('option row belongs to columns = "moments"; with "rows" every row is shown.')
        rows = [row for row in comparison.rows if row is not minus]
        columns = {row.label: (row, row.last, minus.last if minus else "") for row in rows}
    if not columns:
        raise ValueError("The heat map has no column: there is no other row, or the two share no moment.")
    scores = pd.DataFrame(
        {key: _column(row, minus, suites, split, at, other) for key, (row, at, other) in columns.items()}
    ).dropna(how="all")
    known = pd.concat(
        {suite: pd.concat([levels(row.runs, suite, row.last, split) for row in comparison.rows]) for suite in suites}
    )
    level = known[~known.index.duplicated()].reindex(scores.index)
    if options["levels"]:
        scores = scores[level.isin(options["levels"])]
    if scores.empty:
        raise ValueError(f"No problem of the split {split!r} and the chosen levels is scored; choose others.")
    order = pd.DataFrame({"level": level.reindex(scores.index), "mean": scores.mean(axis=1)})
    order = order.sort_values(["level", "mean"], ascending=[True, False], kind="stable", na_position="last")
    scores = scores.loc[order.index]
    keys = [(rank, *problem) for rank, problem in zip(order["level"], order.index, strict=True)]
    scores.index = pd.MultiIndex.from_tuples(keys, names=["level", "suite", "problem"])
    return scores


def _moments(row: Row, minus: Row | None, suites: Sequence[str]) -> list[str]:
    runs = by_seed(row, minus) + (by_seed(minus, row) if minus else [])
    shared = set.intersection(*({at for at in run.fractions if set(suites) <= set(run.suites_at(at))} for run in runs))
    return sorted(shared, key=float)


def _column(row: Row, minus: Row | None, suites: Sequence[str], split: str, at: str, other_at: str) -> pd.Series:
    """Mean over seeds of the score, or of the difference seed by seed; index (suite, problem)."""
    means = {}
    for suite in suites:
        scores = table(by_seed(row, minus), suite, at, split, "score")
        if minus is not None:
            scores = scores - table(by_seed(minus, row), suite, other_at, split, "score")
        means[suite] = scores.mean()
    return pd.concat(means, names=["suite", "problem"])


def _longest(scores: pd.DataFrame) -> int:
    return max(len(str(column)) for column in scores.columns)


def _axes(axis: Axes, scores: pd.DataFrame, moments: bool, line: str) -> None:
    axis.grid(False)
    names = [f"{100 * float(column):g}%" if moments else column for column in scores.columns]
    axis.set_xticks(range(len(names)), names, rotation=0 if moments else 90)
    axis.set_xlabel("share of the training budget" if moments else "")
    level = scores.index.get_level_values("level")
    places, labels, start = [], [], 0
    for value in level.unique():
        count = int((level.isna() if np.isnan(value) else level == value).sum())
        places.append(start + (count - 1) / 2)
        labels.append(f"{'no level' if np.isnan(value) else f'level {value:g}'}\n({count})")
        start += count
        if start < len(level):
            axis.axhline(start - 0.5, color=line, linewidth=1.0)
    axis.set_yticks(places, labels)
    axis.tick_params(length=0)


def in_words(scores: pd.DataFrame, options: Mapping[str, Any]) -> str:
    """The map in one or two sentences."""
    level = scores.index.get_level_values("level")
    groups = ", ".join(
        f"{(level == value).sum()} of level {value:g}" for value in level.unique() if not np.isnan(value)
    )
    of = f"{len(scores)} problems" + (f" ({groups})" if groups else "")
    moments = options["columns"] == "moments"
    names = [f"at {100 * float(c):g}%" if moments else str(c) for c in scores.columns]
    subject = f"of {options['row']} " if moments else ""
    if options["minus"]:
        parts = [
            f"{name}: {100 * scores[c].mean():+.1f} points, better on {(scores[c] > 0).sum()} problems and worse on "
            f"{(scores[c] < 0).sum()}"
            for name, c in zip(names, scores.columns, strict=True)
        ]
        return f"Heat map of the accuracy {subject}minus that of {options['minus']} on {of}. {'; '.join(parts)}."
    parts = [f"{name}: {100 * scores[c].mean():.1f}%" for name, c in zip(names, scores.columns, strict=True)]
    never, always = (int((scores == value).all(axis=1).sum()) for value in (0.0, 1.0))
    return (
        f"Heat map of the accuracy {subject}on {of}: {never} are right nowhere, {always} everywhere. "
        f"Mean: {'; '.join(parts)}."
    )
