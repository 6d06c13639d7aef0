"""Forest plot: differences to the baseline with intervals, sorted, and the single suites beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from harness.report.figures import data, words
from harness.report.figures.intervals import LIST_LINE, bars, list_axis, number_beside
from harness.report.figures.labels import short
from harness.report.figures.layout import finish, sheet
from harness.report.figures.style import FAINT, INK, WIDTH, Drawn, looks
from harness.report.options import read

if TYPE_CHECKING:
    from harness.report.document import Source
    from harness.report.spec import Item
    from harness.statistics.intervals import Estimate

SIGNIFICANT = 0.05
Found = dict[str, tuple["Estimate", float, list[float]]]


def draw(sources: Sequence[Source], item: Item) -> Drawn:
    """One line a row, largest difference of the first source on top; one panel a source.

    Options: split; suites = those that the mean is over, default all; single = whether they are marked one by one;
    rows; width. A mark is filled where the difference to the baseline is significant after Holm's correction (p <
    0.05). ValueError where no row has a difference to a baseline.
    """
    options = read(item, {"split": "eval", "suites": [], "single": True, "rows": [], "width": "single"})
    width = data.width_of(item, options)
    panels = []
    chosen = data.restrict(sources, options["split"], options["suites"])
    for source, rows in data.select(chosen, item, options["rows"]):
        found: Found = {}
        for name, row in rows.items():
            scores = row.scores[options["split"]]
            if scores.difference is not None:
                alone = [one.mean for one in scores.suite_difference.values()] if options["single"] else []
                found[name] = (scores.difference, scores.holm, alone if len(alone) > 1 else [])
        if found:
            panels.append((source, found))
    if not panels:
        raise ValueError("No row has a difference to a baseline: name the baseline of the source, and a row beside it.")
    names = sorted({name for _, found in panels for name in found}, key=lambda name: _rank(name, panels))
    styles = looks(names)
    columns = len(panels) if len(panels) < 3 or width > WIDTH else 2
    page = sheet(width, len(panels), columns, LIST_LINE * (len(names) + 0.5))
    told = []
    for i, (axis, (source, found)) in enumerate(zip(page.axes, panels, strict=True)):
        _panel(axis, names, found, styles)
        list_axis(axis, [short(name) for name in names], labelled=i % columns == 0)
        for line, name in enumerate(names):
            text = f"{100 * found[name][0].mean:+.1f}" if name in found else "-"
            number_beside(axis, line, text, strong=name in found and found[name][1] < SIGNIFICANT)
        axis.set_xlabel(f"minus {source.comparison.baseline} (points)")
        axis.set_title(words.titled(source, sources), loc="left")
        told.append(_words(source, words.titled(source, sources), found))
    marks = [
        Line2D([], [], color=INK, marker="o", markersize=4, linestyle="none", label="significant (Holm)"),
        Line2D([], [], color=INK, marker="o", markersize=4, linestyle="none", markerfacecolor="white",
               label="not significant"),
    ]  # fmt: skip
    if any(alone for _, found in panels for _, _, alone in found.values()):
        marks.append(Line2D([], [], color=FAINT, marker="|", markersize=5, linestyle="none", label="single suites"))
    note = f"bars: {100 * sources[0].comparison.level:g}% intervals, not adjusted"
    return Drawn(finish(page, sources, marks, note), " ".join(told))


def _rank(name: str, panels: Sequence[tuple[Source, Found]]) -> tuple[float, ...]:
    """By the difference in the first source that has it, largest first."""
    return next((i, -found[name][0].mean) for i, (_, found) in enumerate(panels) if name in found)


def _panel(axis: Axes, names: Sequence[str], found: Found, styles: dict[str, dict[str, object]]) -> None:
    axis.axvline(0, color="#555555", linewidth=0.8, zorder=1, label="_zero")
    for line, name in enumerate(names):
        if name not in found:
            continue
        estimate, p, alone = found[name]
        color = styles[name]["color"]
        axis.plot([100 * value for value in alone], [line] * len(alone), "|", color=FAINT, markersize=4.5,
                  markeredgewidth=0.8, zorder=2, label="_suites")  # fmt: skip
        face = color if p < SIGNIFICANT else "white"
        half = bars([estimate], -100).tolist()
        axis.errorbar(100 * estimate.mean, line, xerr=half, fmt="none", ecolor=color, elinewidth=1.1, zorder=3)
        axis.plot(100 * estimate.mean, line, marker=styles[name]["marker"], color=color, markerfacecolor=face,
                  markersize=4.2, linestyle="none", zorder=4, label=name)  # fmt: skip
    axis.margins(x=0.05)


def _words(source: Source, title: str, found: Found) -> str:
    ordered = sorted(found, key=lambda name: -found[name][0].mean)
    parts = "; ".join(
        f"{name} {words.points(found[name][0])}{' (significant)' if found[name][1] < SIGNIFICANT else ''}"
        for name in ordered
    )
    return f"Differences to {source.comparison.baseline}{f' ({title})' if title else ''}, largest first: {parts}."
