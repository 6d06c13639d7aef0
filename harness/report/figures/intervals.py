"""Marks with intervals: points of several rows along a numeric axis, and one row a line of a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from harness.report.figures.labels import End, right_of
from harness.report.figures.style import FAINT, INK, SMALL

if TYPE_CHECKING:
    from harness.statistics.intervals import Estimate

DODGE = 0.022  # share of the axis by which neighbours stand apart, as far as there is room
LIST_LINE = 0.155  # inches from one row of a list to the next


def along(
    axis: Axes,
    lines: Mapping[str, Mapping[float, Estimate]],
    styles: Mapping[str, Mapping[str, object]],
    lowest: float,
    logarithmic: bool,
) -> list[End]:
    """For every row its estimates (times 100) at the numbers of the x axis, joined, with `bars` for the intervals.

    Rows stand side by side about the true place, by at most a third of the distance between places. Returns the ends.
    """
    places = sorted({place for line in lines.values() for place in line})
    positions = np.log10(places) if logarithmic else np.array(places)
    span = np.ptp(positions) or 1.0
    room = min(np.diff(positions), default=span) / 3
    step = min(DODGE * span, room / max(len(lines) - 1, 1))
    ends = []
    for rank, (name, line) in enumerate(lines.items()):
        shift = step * (rank - (len(lines) - 1) / 2)
        x = [place * 10**shift if logarithmic else place + shift for place in sorted(line)]
        estimates = [line[place] for place in sorted(line)]
        means = [100 * estimate.mean for estimate in estimates]
        axis.plot(x, means, label=name, **styles[name])
        half, color = bars(estimates, lowest).tolist(), styles[name]["color"]
        axis.errorbar(x, means, half, fmt="none", ecolor=color, elinewidth=0.7, alpha=0.7)
        ends.append(End(name, x[-1], means[-1]))
    if logarithmic:
        axis.set_xscale("log")
        edge = 10 ** (0.06 * span + step * len(lines) / 2)
        axis.set_xlim(places[0] / edge, places[-1] * edge)
    else:
        edge = 0.06 * span + step * len(lines) / 2
        axis.set_xlim(places[0] - edge, places[-1] + edge)
    return ends


def bars(estimates: Sequence[Estimate], lowest: float) -> np.ndarray:
    """Lengths of the bars below and above each estimate times 100, shape [2, estimates]; 0 where no spread is known.

    They end where values end, at `lowest` (0 for scores, -100 for differences) and 100: Student's t at few seeds would
    go on.
    """
    means = 100 * np.array([estimate.mean for estimate in estimates])
    half = 100 * np.nan_to_num([estimate.half_width for estimate in estimates])
    return np.stack([means - np.maximum(means - half, lowest), np.minimum(means + half, 100) - means])


def list_axis(axis: Axes, names: Sequence[str], labelled: bool) -> None:
    """Rows downwards at 0, 1, 2 ...; names on the left where `labelled`."""
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_yticks(range(len(names)), names if labelled else [""] * len(names))
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.spines["left"].set_visible(False)


def number_beside(axis: Axes, line: float, text: str, strong: bool = False) -> None:
    """A number to the right of the list, aligned with the others; a minus is as long as on the axis."""
    share = (axis.get_ylim()[0] - line) / (axis.get_ylim()[0] - axis.get_ylim()[1])
    axis.text(0.32, share, text.replace("-", "\u2212"), transform=right_of(axis), ha="right", va="center",
              fontsize=SMALL - 0.5, color=INK if strong else FAINT)  # fmt: skip
