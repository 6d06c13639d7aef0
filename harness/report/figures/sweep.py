"""Metrics against the value of one setting, with intervals, the best value and the default.

Layout: GFT (arXiv 2604.14258), Fig. 6.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from matplotlib.transforms import ScaledTranslation

from harness.report.figures import data, words
from harness.report.figures.layout import finish, sheet
from harness.report.figures.style import FAINT, SMALL, WIDTH, Drawn, looks
from harness.report.tables.sweep import Line, Point, Sweep, against_default, is_score, sweep, title_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist

    from harness.report.document import Source
    from harness.report.spec import Item

PANEL = 1.35  # inches
WIDE = 20  # ratio of the largest to the smallest value from which a positive axis is logarithmic
TICKS = 7  # values up to which each has a tick
ROOM = 50  # characters of all values side by side
DODGE = 4.0  # points between lines


def draw(sources: Sequence[Source], item: Item) -> Drawn:
    """One panel a metric, one line a strategy, of one source; options and errors: `tables.sweep.sweep`, and width.

    A star is the best value of the first metric, a dotted line the default. Values that are not all numbers stand at
    equal distances.
    """
    if len(sources) != 1:
        raise ValueError(f"A figure of a sweep shows one source, but {item.name} has {len(sources)}; name one.")
    found, options = sweep(sources[0].comparison, item, {"width": "single"})
    width = data.width_of(item, options)
    styles = looks(line.label for line in found.lines)
    page = sheet(width, len(found.metrics), 1 if width == WIDTH else 2, PANEL)
    handles: dict[str, Artist] = {}
    for i, (axis, metric) in enumerate(zip(page.axes, found.metrics, strict=True)):
        handles |= _panel(axis, found, metric, styles)
        last = i + page.columns >= len(page.axes)
        axis.set_xlabel(found.name if last else "")
        axis.tick_params(labelbottom=last)
    note = f"bars: {100 * found.level:g}% interval"
    if any(line.best is not None for line in found.lines):
        note += "; star: best"
    legend = list(handles.values()) if len(found.lines) > 1 else []
    return Drawn(finish(page, sources, legend, note), " ".join(_words(line, found) for line in found.lines))


def _panel(axis: Axes, found: Sweep, metric: str, styles: Mapping[str, Mapping[str, object]]) -> dict[str, Artist]:
    handles = {}
    scale = 100 if is_score(metric) else 1
    for rank, line in enumerate(found.lines):
        # side by side, so that no bar covers another
        aside = ScaledTranslation(DODGE * (rank - (len(found.lines) - 1) / 2) / 72, 0, axis.figure.dpi_scale_trans)
        moved = axis.transData + aside
        points = [point for point in line.points if metric in point.metrics]
        x = [_place(found, point) for point in points]
        means = scale * np.array([point.metrics[metric].mean for point in points])
        half = scale * np.nan_to_num([point.metrics[metric].half_width for point in points])
        style = styles[line.label]
        axis.errorbar(x, means, half, fmt="none", ecolor=style["color"], elinewidth=0.8, capsize=2, transform=moved)
        (handles[line.label],) = axis.plot(x, means, label=line.label, transform=moved, **style)
        # what is moved aside does not count for the limits by itself
        axis.update_datalim(np.column_stack([[*x, *x], [*(means - half), *(means + half)]]))
        if metric == found.metrics[0] and line.best is not None:
            place = (_place(found, line.best), scale * line.best.metrics[metric].mean)
            star = {"markersize": 9, "markeredgecolor": "white", "markeredgewidth": 0.6, "zorder": 5}
            axis.plot(*place, "*", color=style["color"], transform=moved, **star)
    axis.margins(x=0.08)
    _ticks(axis, found)
    axis.autoscale_view()
    for place in sorted({_place(found, point) for line in found.lines for point in line.points if point.default}):
        axis.axvline(place, color=FAINT, linewidth=0.8, linestyle=":", zorder=0)
        if metric == found.metrics[0]:
            top = {"xycoords": axis.get_xaxis_transform(), "textcoords": "offset points", "ha": "center"}
            axis.annotate("default", (place, 1), (0, 1.5), color=FAINT, fontsize=SMALL, **top)
    axis.set_ylabel(title_of(metric))
    return handles


def _place(found: Sweep, point: Point) -> float:
    return point.number if found.numeric else float(found.values.index(point.value))


def _ticks(axis: Axes, found: Sweep) -> None:
    """At the values, where there is room for all."""
    if not found.numeric:
        upright = sum(len(value) + 2 for value in found.values) > ROOM
        axis.set_xticks(range(len(found.values)), found.values, rotation=90 if upright else 0)
        return
    numbers = sorted({point.number for line in found.lines for point in line.points})
    if numbers[0] > 0 and numbers[-1] >= WIDE * numbers[0]:
        axis.set_xscale("log")
        axis.xaxis.set_minor_locator(NullLocator())
    if len(numbers) <= TICKS:
        axis.set_xticks(numbers, [f"{number:g}" for number in numbers])


def _words(line: Line, found: Sweep) -> str:
    parts = []
    for metric in found.metrics:
        values = [
            f"{_value(point, metric)} at {point.value}" for point in line.points if metric in point.metrics
        ]  # fmt: skip
        parts.append(f"{title_of(metric).removesuffix(' (%)')} {', '.join(values)}")
    text = f"{line.label} against {found.name}: {'; '.join(parts)}."
    default = next((point for point in line.points if point.default), None)
    if line.best is not None:
        text += f" Best at {line.best.value}{' (the default)' if line.best is default else ''}."
    if default is not None and line.best is not default:
        gap = against_default(line, found)
        text += f" Default: {default.value}" + (f"; best minus default {words.points(gap)}." if gap else ".")
    return text


def _value(point: Point, metric: str) -> str:
    estimate = point.metrics[metric]
    if is_score(metric):
        return words.percent(estimate)
    half = "" if math.isnan(estimate.half_width) else f" +/- {estimate.half_width:.2g}"
    return f"{estimate.mean:.3g}{half}"
