"""Names beside the ends of lines, spread so that none covers another."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation, Transform, blended_transform_factory

from harness.report.figures.style import SMALL

LINE = 1.22 * SMALL / 72  # inches from one name to the next
LONGEST = 24  # characters of a name
SAMPLE, TEXT = (0.09, 0.33), 0.38  # inches from the right edge: the sample of the line, and the name
FAR = 0.6  # share of the panel beyond which a line's end is tied to its name


class End(NamedTuple):
    """Where a line ends, in the units of the axes."""

    name: str
    x: float
    y: float


def short(name: str) -> str:
    """The name, cut to the room that it has."""
    return name if len(name) <= LONGEST else textwrap.shorten(name, LONGEST, placeholder="...") or name[:LONGEST]


def height_for(names: int, least: float) -> float:
    """Inches of a panel with room for so many names beside it."""
    return max(least, LINE * names)


def name_ends(axis: Axes, ends: Sequence[End], styles: Mapping[str, Mapping[str, object]], height: float) -> None:
    """To the right of a panel `height` inches high: for every line a sample and its name, tied to its end.

    The limits of the axes must be final. Ends far from the right edge have no tie, which would cross the panel.
    """
    axis.set(xlim=axis.get_xlim(), ylim=axis.get_ylim())
    to_share = axis.transData + axis.transAxes.inverted()
    placed = sorted((*reversed(to_share.transform((end.x, end.y))), i) for i, end in enumerate(ends))
    heights = spread([place[0] for place in placed], LINE / height)
    beside = right_of(axis)
    for (_, across, i), y in zip(placed, heights, strict=True):
        end, style = ends[i], styles[ends[i].name]
        middle = sum(SAMPLE) / 2
        x = [SAMPLE[0], middle, SAMPLE[1]]
        sample = Line2D(x, [y] * 3, transform=beside, clip_on=False, markevery=[1], label="_sample", **style)
        axis.add_artist(sample)
        axis.text(TEXT, y, short(end.name), transform=beside, va="center", fontsize=SMALL)
        if across >= FAR:
            tie = {"arrowstyle": "-", "linewidth": 0.4, "color": style["color"], "shrinkA": 0, "shrinkB": 1.5}
            axis.annotate("", (end.x, end.y), (SAMPLE[0] - 0.02, y), textcoords=beside, arrowprops=tie,
                          annotation_clip=False)  # fmt: skip


def right_of(axis: Axes, edge: float = 1.0) -> Transform:
    """Coordinates (inches to the right of the panel's right edge, share of its height); `edge` 0: its left edge."""
    across = axis.figure.dpi_scale_trans + ScaledTranslation(edge, 0, axis.transAxes)
    return blended_transform_factory(across, axis.transAxes)


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Positions in [0, 1] at least `gap` apart, near the ascending `wanted`: least squares by pooling neighbours."""
    blocks: list[list[float]] = []
    for index, value in enumerate(wanted):
        blocks.append([value - index * gap, 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, m), (b, n) = blocks[-2:]
            blocks[-2:] = [[(a * m + b * n) / (m + n), m + n]]
    top = 1.0 - gap * (len(wanted) - 1)
    flat = [min(max(value, 0.0), max(top, 0.0)) for value, count in blocks for _ in range(int(count))]
    return [value + index * gap for index, value in enumerate(flat)]
