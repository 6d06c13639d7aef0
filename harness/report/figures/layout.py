"""Panels of exact height, as wide as their names leave room for: the figure grows downwards, and nothing is covered."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from harness.report.figures.style import DOUBLE, DPI, FAINT, SMALL, WIDTH, stamp, unequal

if TYPE_CHECKING:
    from matplotlib.artist import Artist

    from harness.report.document import Source

PAD, GAP = 0.04, 0.1  # inches: at the edges, and between panels
NOTE = 20  # characters of small print in an inch
PASSES = 3  # ticks depend on the width of a panel, which depends on ticks
WIDTHS = {"single": WIDTH, "double": DOUBLE}


@dataclass(frozen=True)
class Sheet:
    """A figure whose `axes` fill lines of `columns` panels from the left; `height` is that of a panel in inches."""

    figure: Figure
    axes: list[Axes]
    columns: int
    height: float


def sheet(width: float, panels: int, columns: int, height: float) -> Sheet:
    """Panels for a figure `width` inches wide; `finish` gives them their places."""
    columns = min(columns, panels)
    figure = Figure(figsize=(width, height * -(-panels // columns)), dpi=DPI)
    FigureCanvasAgg(figure)
    rough = 0.7 / columns
    axes = [figure.add_axes((i % columns / columns, 0.1, rough, 0.8), label=str(i)) for i in range(panels)]
    return Sheet(figure, axes, columns, height)


def finish(
    page: Sheet,
    sources: Sequence[Source],
    handles: Sequence[Artist] = (),
    note: str = "",
    columns: int = 8,
    forced: Sequence[str] = (),
) -> Figure:
    """Place the panels, a legend of `handles` below them, and small print below that: `note`, and unequal costs.

    The legend has as many columns as fit, at most `columns`. Above all stands why the runs are not comparable, where a
    source, or `forced`, says so.
    """
    figure = page.figure
    width = figure.get_figwidth()
    stamp(figure, sources, (), forced)
    above = [figure._suptitle] if figure._suptitle else []
    below: list[Legend | Text] = [_legend(figure, handles, columns)] if handles else []
    lines = [line for text in (note, *unequal(sources)) for line in textwrap.wrap(text, int(width * NOTE))]
    if lines:
        below.append(figure.text(0, 0, "\n".join(lines), fontsize=SMALL - 0.5, color=FAINT, va="bottom"))
    before: list[float] = []
    for _ in range(PASSES):
        lines = -(-len(page.axes) // page.columns)
        left, right = np.zeros(page.columns), np.zeros(page.columns)
        top, bottom = np.zeros(lines), np.zeros(lines)
        for i, axis in enumerate(page.axes):
            line, column = divmod(i, page.columns)
            inner = axis.get_window_extent()
            outer = axis.get_tightbbox(figure.canvas.get_renderer())
            sides = np.array([inner.x0 - outer.x0, outer.x1 - inner.x1, inner.y0 - outer.y0, outer.y1 - inner.y1])
            for room, place, side in zip((left, right, bottom, top), (column, column, line, line), sides, strict=True):
                room[place] = max(room[place], side / DPI)
        inside = (width - 2 * PAD - GAP * (page.columns - 1) - left.sum() - right.sum()) / page.columns
        rooms = [*left, *right, *bottom, *top]
        if before and np.allclose(rooms, before, atol=0.004):
            break
        before = rooms
        assert inside > 0.3, "names leave no room for panels: shorten them"
        head, foot = (sum(_height(figure, part) + PAD for part in parts) for parts in (above, below))
        body = top.sum() + bottom.sum() + page.height * lines + GAP * (lines - 1)
        height = head + foot + body + 2 * PAD
        figure.set_size_inches(width, height)
        y = height - PAD - head
        for line in range(lines):
            y -= top[line] + page.height
            x = PAD
            for column in range(page.columns):
                x += left[column]
                if line * page.columns + column < len(page.axes):
                    place = (x / width, y / height, inside / width, page.height / height)
                    page.axes[line * page.columns + column].set_position(place)
                x += inside + right[column] + GAP
            y -= bottom[line] + GAP
        edge = PAD
        for part in reversed(below):
            if isinstance(part, Legend):
                part.set_bbox_to_anchor((0.5, edge / height), transform=figure.transFigure)
            else:
                part.set_position((PAD / width, edge / height))
            edge += _height(figure, part) + PAD
        for part in above:
            part.set_position((0.5, 1 - PAD / height))
    return figure


def _legend(figure: Figure, handles: Sequence[Artist], most: int) -> Legend:
    """With as many columns as fit: the widest name tells how many are sure to, and two more may."""
    make = partial(figure.legend, handles=list(handles), loc="lower center", borderaxespad=0, borderpad=0.1)

    def inches(legend: Legend) -> float:
        return float(legend.get_window_extent(figure.canvas.get_renderer()).width) / DPI

    room = figure.get_figwidth() - 2 * PAD
    legend = make(ncols=1)
    sure = int(room / inches(legend))
    for columns in range(min(len(handles), most, sure + 2), 1, -1):
        wider = make(ncols=columns)
        if inches(wider) <= room:
            legend.remove()
            return wider
        wider.remove()
    return legend


def _height(figure: Figure, part: Legend | Text) -> float:
    return float(part.get_window_extent(figure.canvas.get_renderer()).height) / DPI
