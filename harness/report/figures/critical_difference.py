"""Mean ranks of rows over seeds and suites, and how far apart two must be to differ.

Source: Demsar 2006, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, sec. 3.2.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.report.contrasts import matrices
from harness.report.figures import data, words
from harness.report.figures.labels import LINE, right_of, short
from harness.report.figures.layout import finish, sheet
from harness.report.figures.style import INK, SMALL, Drawn, looks
from harness.report.options import place, read
from harness.report.problems import suites_of

if TYPE_CHECKING:
    from harness.report.document import Source
    from harness.report.spec import Item

BAR = 0.075  # inches from one bar of a group to the next
ABOVE, BELOW = 0.3, 0.12  # inches: from the axis to the top (scale and critical difference), and to the first bar


@dataclass(frozen=True)
class Ranking:
    """Mean ranks (1 is best, ties share), best first; `distance` is the critical difference, `p` Friedman's test."""

    ranks: Mapping[str, float]
    distance: float
    p: float
    blocks: int

    def groups(self) -> list[tuple[int, int]]:
        """Widest runs of neighbours (first, last place) whose ranks lie within the critical difference."""
        values = list(self.ranks.values())
        found: list[tuple[int, int]] = []
        for first, start in enumerate(values):
            last = max(i for i, value in enumerate(values) if value - start <= self.distance)
            if last > first and (not found or last > found[-1][1]):
                found.append((first, last))
        return found


def draw(sources: Sequence[Source], item: Item) -> Drawn:
    """Rows on an axis of mean ranks, best on the left; a bar joins those that Nemenyi's test does not tell apart.

    Blocks are the seeds that all rows share x suites x sources, rows those that all sources have. Blocks of one seed
    are taken as independent. Options: split; suites; rows; alpha; width. ValueError for fewer than three rows or two
    blocks.
    """
    options = read(item, {"split": "eval", "suites": [], "rows": [], "alpha": 0.05, "width": "single"})
    width = data.width_of(item, options)
    if not 0 < options["alpha"] < 1:
        raise ValueError(f"{place(item)}: option alpha must lie between 0 and 1, but is {options['alpha']:g}.")
    chosen = data.select(sources, item, options["rows"])
    names = [name for name in chosen[0][1] if all(name in rows for _, rows in chosen)]
    blocks = []
    for source, rows in chosen:
        suites = suites_of(source.comparison, options["split"], options["suites"])
        strata = matrices([rows[name] for name in names], options["split"], suites) if names else None
        if strata is not None:
            scores = np.array([[matrix.mean(axis=1) for matrix in row] for row in strata])
            blocks.append(scores.reshape(len(names), -1).T)
    found = np.concatenate(blocks) if blocks else np.empty((0, len(names)))
    if len(names) < 3 or len(found) < 2:
        raise ValueError(
            f"{place(item)}: mean ranks need three rows and two blocks (seeds that all rows share x suites), but there "
            f"are {len(names)} and {len(found)}."
        )
    ranking = rank(dict(zip(names, found.T, strict=True)), options["alpha"])
    return Drawn(_diagram(ranking, width, sources), _words(ranking, options["alpha"]))


def rank(scores: Mapping[str, np.ndarray], alpha: float) -> Ranking:
    """From the scores of every row in the same blocks; higher scores have lower ranks.

    Critical difference: q sqrt(k (k + 1) / (6 N)) for k rows in N blocks, q the upper `alpha` quantile of the
    studentised range of k means with infinite degrees of freedom over sqrt(2).
    """
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    table = np.stack(list(scores.values()), axis=1)
    blocks, count = table.shape
    means = rankdata(-table, axis=1).mean(axis=0)
    order = sorted(zip(scores, means.tolist(), strict=True), key=lambda pair: pair[1])
    quantile = float(studentized_range.isf(alpha, count, np.inf)) / math.sqrt(2)
    distance = quantile * math.sqrt(count * (count + 1) / (6 * blocks))
    # all blocks tied: no rank differs, and the statistic is 0 / 0
    p = 1.0 if np.ptp(table, axis=1).max() == 0 else float(friedmanchisquare(*table.T).pvalue)
    return Ranking(dict(order), distance, p, blocks)


def _diagram(ranking: Ranking, width: float, sources: Sequence[Source]) -> Figure:
    styles = looks(ranking.ranks)
    groups = ranking.groups()
    count = len(ranking.ranks)
    first_name = BELOW + BAR * len(groups) + 0.05
    height = first_name + LINE * ((count + 1) // 2)
    page = sheet(width, 1, 1, height)
    axis = page.axes[0]
    axis.set(xlim=(0.85, count + 0.15), ylim=(-height, 0))  # y in inches below the axis
    axis.grid(False)
    axis.yaxis.set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_visible(False)
    axis.spines["top"].set_visible(True)
    axis.xaxis.tick_top()
    axis.set_xticks(range(1, count + 1, 1 + count // 8))
    for name, (x, y, left) in _places(ranking, first_name).items():
        _name(axis, name, x, y / height, left, styles[name], ranking.ranks[name])
    values = list(ranking.ranks.values())
    for i, (first, last) in enumerate(groups):
        y = -BELOW - BAR * i
        axis.plot([values[first] - 0.06, values[last] + 0.06], [y, y], color=INK, linewidth=2.2, solid_capstyle="butt",
                  label="_group", zorder=4)  # fmt: skip
    _scale(axis, ranking.distance)
    note = f"mean rank over {ranking.blocks} blocks (seed x suite); Friedman p = {ranking.p:.2g}"
    return finish(page, sources, note=note)


def _places(ranking: Ranking, first: float) -> dict[str, tuple[float, float, bool]]:
    """(rank, inches below the axis, on the left) for each name: outer ones highest, so that no two lines cross."""
    half = (len(ranking.ranks) + 1) // 2
    found = {}
    for i, (name, value) in enumerate(ranking.ranks.items()):
        left = i < half
        found[name] = (value, first + LINE * ((i if left else len(ranking.ranks) - 1 - i) + 0.5), left)
    return found


def _name(axis: Axes, name: str, x: float, down: float, left: bool, style: Mapping[str, object], value: float) -> None:
    edge = axis.get_xlim()[0 if left else 1]
    height = -axis.get_ylim()[0]
    axis.plot([x, x, edge], [0, -down * height, -down * height], color=style["color"], linewidth=0.8, label=name,
              clip_on=False, zorder=2)  # fmt: skip
    axis.plot(x, 0, color=style["color"], marker=style["marker"], markersize=4, linestyle="none", clip_on=False,
              label="_mark", zorder=5)  # fmt: skip
    text = f"{short(name)}  {value:.1f}" if left else f"{value:.1f}  {short(name)}"
    axis.text(-0.04 if left else 0.04, 1 - down, text, transform=right_of(axis, 0.0 if left else 1.0),
              ha="right" if left else "left", va="center", fontsize=SMALL)  # fmt: skip


def _scale(axis: Axes, distance: float) -> None:
    """The critical difference as a bar above the axis, from rank 1 on."""
    y = ABOVE
    start = axis.get_xlim()[0] + 0.15
    end = start + distance
    bar = Line2D([start, end], [y, y], color=INK, linewidth=1.2, marker="|", markersize=5, clip_on=False, label="_cd")
    axis.add_line(bar)
    axis.text(start, y + 0.05, f"critical difference {distance:.2f}", fontsize=SMALL, va="bottom", color=INK)


def _words(ranking: Ranking, alpha: float) -> str:
    ordered = "; ".join(f"{name} {value:.2f}" for name, value in ranking.ranks.items())
    names = list(ranking.ranks)
    joined = [words.listed(names[first : last + 1]) for first, last in ranking.groups()]
    apart = f"Not told apart: {'; '.join(joined)}." if joined else "All rows are told apart."
    return (
        f"Mean ranks over {ranking.blocks} blocks of seed and suite, best first: {ordered}. Critical difference "
        f"{ranking.distance:.2f} at level {alpha:g}; Friedman p = {ranking.p:.2g}. {apart}"
    )
