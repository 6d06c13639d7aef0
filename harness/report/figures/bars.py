"""Bars of scores or differences with intervals, sorted, beside a line at the baseline: for ablations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from harness.report.figures import data, words
from harness.report.figures.intervals import LIST_LINE, bars, list_axis, number_beside
from harness.report.figures.labels import short
from harness.report.figures.layout import finish, sheet
from harness.report.figures.style import INK, WIDTH, Drawn, looks
from harness.report.options import choice, read

if TYPE_CHECKING:
    from harness.report.document import Source
    from harness.report.spec import Item
    from harness.statistics.intervals import Estimate

WHISKER = {"elinewidth": 0.8, "ecolor": INK, "capsize": 1.5, "capthick": 0.8}


def draw(sources: Sequence[Source], item: Item) -> Drawn:
    """One bar a row, best of the first source on top; one panel a source.

    Options: value = "score" or "difference" (to the baseline); split; suites = those that the mean is over, default
    all; rows; width. A broken line marks the baseline's score. ValueError where no row has the value.
    """
    options = read(item, {"value": "score", "split": "eval", "suites": [], "rows": [], "width": "single"})
    value = choice(item, "value", options["value"], ("score", "difference"))
    width = data.width_of(item, options)
    panels = []
    chosen = data.restrict(sources, options["split"], options["suites"])
    for source, rows in data.select(chosen, item, options["rows"]):
        found: dict[str, Estimate] = {}
        for name, row in rows.items():
            scores = row.scores[options["split"]]
            estimate = scores.mean if value == "score" else scores.difference
            if estimate is not None:
                found[name] = estimate
        if found:
            panels.append((source, found))
    if not panels:
        raise ValueError("No row has a difference to a baseline: name the baseline of the source, and a row beside it.")
    places = {name: i for i, (_, found) in reversed(list(enumerate(panels))) for name in found}
    names = sorted(places, key=lambda name: (places[name], -panels[places[name]][1][name].mean))
    styles = looks(names)
    columns = len(panels) if len(panels) < 3 or width > WIDTH else 2
    page = sheet(width, len(panels), columns, LIST_LINE * (len(names) + 0.5))
    told = []
    for i, (axis, (source, found)) in enumerate(zip(page.axes, panels, strict=True)):
        _panel(axis, names, found, styles, value == "score")
        list_axis(axis, [short(name) for name in names], labelled=i % columns == 0)
        for line, name in enumerate(names):
            shown = "-" if name not in found else f"{100 * found[name].mean:{'.1f' if value == 'score' else '+.1f'}}"
            number_beside(axis, line, shown, strong=True)
        base = _baseline(source, options["split"]) if value == "score" else None
        if base is not None:
            axis.axvline(100 * base[1].mean, color=INK, linewidth=0.9, linestyle=(0, (3, 2)), zorder=5, label=base[0])
        elif value == "difference":
            axis.axvline(0, color=INK, linewidth=0.8, label="_zero")
        axis.set_xlabel("score (%)" if value == "score" else f"minus {source.comparison.baseline} (points)")
        axis.set_title(words.titled(source, sources), loc="left")
        told.append(_words(source, words.titled(source, sources), found, value))
    note = f"bars: {100 * sources[0].comparison.level:g}% intervals"
    marked = list(dict.fromkeys(s.comparison.baseline for s, _ in panels if s.comparison.baseline))
    if value == "score" and marked:
        note += f"; broken line: {words.listed(marked)}"
    return Drawn(finish(page, sources, note=note), " ".join(told))


def _baseline(source: Source, split: str) -> tuple[str, Estimate] | None:
    """Label and score of the row that all others are compared with; None where there is none, or several."""
    rows = {id(row.baseline): row.baseline for row in source.comparison.rows if row.baseline is not None}
    if len(rows) != 1:
        return None
    row = next(iter(rows.values()))
    return row.label, row.scores[split].mean


def _panel(
    axis: Axes,
    names: Sequence[str],
    found: Mapping[str, Estimate],
    styles: Mapping[str, Mapping[str, object]],
    score: bool,
) -> None:
    for line, name in enumerate(names):
        if name in found:
            known = not math.isnan(found[name].half_width)
            half = bars([found[name]], 0 if score else -100).tolist() if known else None
            axis.barh(line, 100 * found[name].mean, height=0.7, color=_paler(styles[name]["color"]), linewidth=0,
                      xerr=half, error_kw=WHISKER, label=name)  # fmt: skip
    if score:
        axis.set_xlim(left=0)


def _paler(color: str) -> tuple[float, ...]:
    """On a surface a colour looks stronger than as a line, and whiskers must stand out from it."""
    return tuple(0.72 * part + 0.28 for part in to_rgb(color))


def _words(source: Source, title: str, found: Mapping[str, Estimate], value: str) -> str:
    show = words.percent if value == "score" else words.points
    ordered = sorted(found, key=lambda name: -found[name].mean)
    what = "Scores" if value == "score" else f"Differences to {source.comparison.baseline}"
    parts = "; ".join(f"{name} {show(found[name])}" for name in ordered)
    return f"{what}{f' ({title})' if title else ''}, highest first: {parts}."
