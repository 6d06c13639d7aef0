"""pass@k against k on a logarithmic axis, with bands and the points where the order of rows turns round.

Layout: HPT (arXiv 2509.04419), Fig. 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from harness.report.figures import data, words
from harness.report.figures.labels import End, height_for, name_ends
from harness.report.figures.layout import finish, sheet
from harness.report.figures.style import FAINT, INK, WIDTH, Drawn, looks
from harness.report.options import read
from harness.report.problems import suites_of
from harness.report.tables.pass_at_k import OPTIONS, Crossing, Curve, crossings, curve, in_words, powers_of_two

if TYPE_CHECKING:
    from harness.report.document import Source
    from harness.report.spec import Item

BANDS = 6  # lines up to which each has its band; more bands hide each other
PANEL = 1.9  # inches, at least


def draw(sources: Sequence[Source], item: Item) -> Drawn:
    """One panel a source, or with `by_suite` one a suite; one line a row.

    Options: those of `tables.pass_at_k.build`; by_suite; rows = names of the rows to show; width. A ring marks where a
    line crosses that of the baseline: dark beyond the intervals, grey within them. Bands are intervals, drawn for at
    most six rows. ValueError where nothing is scored, or no row has as many samples as the smallest of `ks`.
    """
    options = read(item, {**OPTIONS, "by_suite": False, "rows": [], "width": "single"})
    width = data.width_of(item, options)
    split = options["split"]
    panels: list[tuple[str, list[Curve], list[Crossing]]] = []
    for source, rows in data.select(sources, item, options["rows"]):
        comparison = source.comparison
        suites = suites_of(comparison, split, options["suites"])
        for chosen in [[suite] for suite in suites] if options["by_suite"] else [suites]:
            title = ", ".join(filter(None, [words.titled(source, sources), chosen[0] if options["by_suite"] else ""]))
            curves = [curve(name, row, chosen, split, comparison.level, options["ks"]) for name, row in rows.items()]
            curves = [one for one in curves if one.points]
            if curves:
                panels.append((title, curves, crossings(comparison, curves, options["crossings"], chosen, split)))
    if not panels:
        raise ValueError("No row has as many samples as option ks asks for.")
    styles = looks(one.name for _, curves, _ in panels for one in curves)
    height = height_for(max(len(curves) for _, curves, _ in panels), PANEL)
    page = sheet(width, len(panels), 1 if width == WIDTH else 2, height)
    for axis, (title, curves, turns) in zip(page.axes, panels, strict=True):
        ends = _panel(axis, curves, turns, styles)
        axis.set_title(title, loc="left")
        axis.set(xlabel="k (samples drawn)", ylabel="pass@k (%)")
        name_ends(axis, ends, styles, height)
    notes = []
    if any(len(curves) <= BANDS for _, curves, _ in panels):
        notes.append(f"band: {100 * sources[0].comparison.level:g}% interval")
    if any(turns for _, _, turns in panels):
        notes.append("ring: crossing, grey within the intervals")
    told = [_words(title, curves, turns) for title, curves, turns in panels]
    return Drawn(finish(page, sources, note="; ".join(notes)), " ".join(told))


def _panel(
    axis: Axes, curves: Sequence[Curve], turns: Sequence[Crossing], styles: Mapping[str, Mapping[str, object]]
) -> list[End]:
    ends = []
    for one in curves:
        ks = np.array(list(one.points))
        means = 100 * np.array([point.mean for point in one.points.values()])
        half = 100 * np.array([point.half_width for point in one.points.values()])
        style = styles[one.name]
        powers = [i for i, k in enumerate(ks) if k in powers_of_two(one.samples)]
        axis.plot(ks, means, markevery=powers or None, **style)
        if len(curves) <= BANDS:
            low, high = np.maximum(means - half, 0), np.minimum(means + half, 100)
            axis.fill_between(ks, low, high, color=style["color"], alpha=0.1, linewidth=0)
        ends.append(End(one.name, float(ks[-1]), float(means[-1])))
    for turn in turns:
        ring = {"markersize": 6, "fillstyle": "none", "markeredgewidth": 0.8, "zorder": 5}
        axis.plot(turn.place, 100 * turn.height, "o", color=INK if turn.clear else FAINT, **ring)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_locator(FixedLocator(powers_of_two(max(int(end.x) for end in ends))))
    axis.xaxis.set_major_formatter(lambda k, _: f"{k:g}")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.margins(x=0.03, y=0.04)
    return ends


def _words(title: str, curves: Sequence[Curve], turns: Sequence[Crossing]) -> str:
    def course(one: Curve) -> str:
        first, last = min(one.points), max(one.points)
        return f"{one.name} from {words.percent(one.points[first])} at k = {first}" + (
            f" to {words.percent(one.points[last])} at k = {last}" if last > first else ""
        )

    ordered = sorted(curves, key=lambda one: -one.points[max(one.points)].mean)
    text = f"Lines of pass@k against k{f' ({title})' if title else ''}, highest last value first: "
    return f"{text}{'; '.join(course(one) for one in ordered)}. {in_words(turns) or 'No crossing is marked.'}"
