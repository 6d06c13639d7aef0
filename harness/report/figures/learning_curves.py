"""Learning curves: score or training reward against what was spent, one line a row, named at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from harness.report.figures import data, words
from harness.report.figures.intervals import bars
from harness.report.figures.labels import End, height_for, name_ends
from harness.report.figures.layout import finish, sheet
from harness.report.figures.style import WIDTH, Drawn, looks
from harness.report.options import choice, read

if TYPE_CHECKING:
    from harness.compare_rows import Row
    from harness.report.document import Source
    from harness.report.spec import Item

PANEL = 1.9  # inches, at least
FEW = 8  # points of a line that all have markers
BANDS = 6  # lines up to which each has its band; more bands hide each other
YS = {"score": "avg@k, mean over suites (%)", "reward": "training reward"}


def draw(sources: Sequence[Source], item: Item) -> Drawn:
    """One panel a source and measure, one line a row.

    Options: x = "flops", "generated_tokens", "updates" or "seconds"; y = "score" (mean over suites of the split eval at
    every evaluation, against the mean cost over seeds; band: interval), "reward" (see `data.course`; band: lowest to
    highest seed) or "both"; rows = names of the rows to show; width. More than six rows have bars at few points, and no
    bands along many. A row is left out, and `alt` says so, where it has no such data, or spends nothing of x.
    ValueError where that leaves none.
    """
    options = read(item, {"x": "flops", "y": "score", "rows": [], "width": "single"})
    x = choice(item, "x", options["x"], data.COSTS)
    y = choice(item, "y", options["y"], (*YS, "both"))
    width = data.width_of(item, options)
    panels = [
        (source, measure, lines, [name for name in rows if name not in lines])
        for source, rows in data.select(sources, item, options["rows"])
        for measure in (YS if y == "both" else (y,))
        if (lines := _lines(rows, measure, x))
    ]
    if not panels:
        raise ValueError(f"No run recorded a {y if y in YS else 'score or reward'} against {data.COSTS[x]}.")
    styles = looks(name for _, _, lines, _ in panels for name in lines)
    height = height_for(max(len(lines) for _, _, lines, _ in panels), PANEL)
    page = sheet(width, len(panels), 1 if width == WIDTH else 2, height)
    told = []
    for axis, (source, measure, lines, missing) in zip(page.axes, panels, strict=True):
        scale = 100 if measure == "score" else 1
        ends = _panel(axis, lines, styles, scale)
        data.cost_axis(axis, x)
        axis.set_ylabel(YS[measure])
        axis.set_title(words.titled(source, sources), loc="left")
        name_ends(axis, ends, styles, height)
        told.append(_words(words.titled(source, sources), measure, lines, x, missing))
    note = _note([(measure, lines) for _, measure, lines, _ in panels], sources[0].comparison.level)
    return Drawn(finish(page, sources, note=note), " ".join(told))


def _note(panels: Sequence[tuple[str, Mapping[str, data.Course]]], level: float) -> str:
    """What bands and bars are, for the measures that have any."""
    said = {}
    for measure, lines in panels:
        mark = "band" if len(lines) <= BANDS else "bars"
        if mark == "band" or any(len(line.x) <= FEW for line in lines.values()):
            of = f"{100 * level:g}% interval" if measure == "score" else "lowest to highest seed"
            said[f"{mark} of the {measure}: {of}"] = None
    return "; ".join(said)


def _lines(rows: Mapping[str, Row], measure: str, x: str) -> dict[str, data.Course]:
    found = {}
    for name, row in rows.items():
        line = _scores(row, x) if measure == "score" else data.course(row.runs, "reward", x)
        if line is not None:
            found[name] = line
    return found


def _scores(row: Row, x: str) -> data.Course | None:
    points = [point for point in row.curve if x in point.ledger]
    spent = np.array([point.ledger[x] for point in points])
    if not points or (len(points) > 1 and spent.max() == spent.min()):
        return None
    means = np.array([point.score.mean for point in points])
    below, above = bars([point.score for point in points], 0) / 100
    return data.Course(spent, means, means - below, means + above)


def _panel(
    axis: Axes, lines: Mapping[str, data.Course], styles: Mapping[str, Mapping[str, object]], scale: float
) -> list[End]:
    ends = []
    for rank, (name, line) in enumerate(lines.items()):
        color, few = styles[name]["color"], len(line.x) <= FEW
        x, mean, low, high = line.x, *(scale * values for values in (line.mean, line.low, line.high))
        if len(lines) <= BANDS:
            axis.fill_between(x, low, high, color=color, alpha=0.12, linewidth=0)
        elif few:
            axis.errorbar(x, mean, [mean - low, high - mean], fmt="none", ecolor=color, elinewidth=0.6, alpha=0.7)
        every = 1 if few else (rank % 5 + 1, 6)  # markers of near lines stand side by side
        axis.plot(x, mean, label=name, markevery=every, **styles[name])
        ends.append(End(name, float(line.x[-1]), float(scale * line.mean[-1])))
    axis.margins(x=0.03, y=0.04)
    return ends


def _words(title: str, measure: str, lines: Mapping[str, data.Course], x: str, missing: Sequence[str]) -> str:
    def value(number: float) -> str:
        return f"{100 * number:.1f}%" if measure == "score" else f"{number:.3g}"

    ordered = sorted(lines, key=lambda name: -lines[name].mean[-1])
    ends = "; ".join(
        f"{name} from {value(lines[name].mean[0])} to {value(lines[name].mean[-1])} at {lines[name].x[-1]:.3g}"
        for name in ordered
    )
    what = f"the {'score' if measure == 'score' else 'training reward'} against {data.COSTS[x]}"
    of = f" ({title})" if title else ""
    left_out = f" Without such data: {words.listed(missing)}." if missing else ""
    return f"Lines of {what}{of}, highest last value first: {ends}.{left_out}"
