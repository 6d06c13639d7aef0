"""The figure of a validation: coverage and false rejections at the fewest seeds by method, and power by difference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.figures import COLORS, DPI, STYLE
from harness.statistics.rivals import METHODS
from harness.statistics.validation import DIFFERENCES, POOLED, STRATEGIES, Record

LOOK = {
    "calibrated": (COLORS[0], "o"),
    "satterthwaite": (COLORS[1], "s"),
    "seeds alone": (COLORS[5], "^"),
    "problems alone": (COLORS[7], "v"),
    POOLED: (COLORS[2], "D"),
}
PANELS = (
    ("difference", "coverage of a difference (%)", (93, 97), (60, 100), tuple(METHODS)),
    ("identical", "identical called different (%)", (3.5, 6.5), (0, 20), tuple(METHODS)),
    ("family error", f"any of {STRATEGIES} after Holm (%)", (0, 5), (0, 20), ("calibrated", "satterthwaite", POOLED)),
)
DASHES = ((0, (1.2, 1.2)), (0, (5, 1.5)), "-")
DODGE = 0.16


def write(records: Sequence[Record], path: Path) -> Path:
    """Draw and save as PNG, without date or version inside."""
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE}):
        draw(records).savefig(path, dpi=DPI, metadata={"Software": None})
    return path


def draw(records: Sequence[Record]) -> Figure:
    """Three panels of error rates at the fewest seeds, and one of power for each world in which it was measured."""
    powered = list(dict.fromkeys(record.world for record in records if record.study.startswith("power")))
    columns = max(len(PANELS), len(powered))
    figure = Figure(figsize=(2.6 * columns, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.1, 1))
    for axes, panel in zip(top.subplots(1, len(PANELS)), PANELS, strict=True):
        _rates(axes, records, *panel)
    lines = [Line2D([], [], color=c, marker=m, linestyle="none", label=name) for name, (c, m) in LOOK.items()]
    top.legend(handles=lines, loc="outside lower center", ncols=len(LOOK), frameon=False)
    if powered:
        for axes, world in zip(bottom.subplots(1, len(powered), squeeze=False)[0], powered, strict=True):
            _power(axes, records, world)
        bottom.legend(handles=_power_legend(records), loc="outside lower center", ncols=6, frameon=False)
    return figure


def _rates(
    axes: Axes,
    records: Sequence[Record],
    study: str,
    label: str,
    band: tuple[float, float],
    limits: tuple[float, float],
    methods: Sequence[str],
) -> None:
    mine = [record for record in records if record.study == study]
    if not mine:
        axes.set_axis_off()
        return
    fewest = min(record.seeds for record in mine)
    worlds = list(dict.fromkeys(record.world for record in mine))
    low, high = limits
    axes.axhspan(*band, color="#e4e4e4", zorder=0, linewidth=0)
    for rank, method in enumerate(methods):
        color, marker = LOOK[method]
        for record in mine:
            if record.method != method or record.seeds != fewest:
                continue
            x = worlds.index(record.world) + DODGE * (rank - (len(methods) - 1) / 2)
            value = 100 * record.value
            if low <= value <= high:
                axes.errorbar(x, value, 196 * record.error, color=color, marker=marker, markersize=4, elinewidth=0.8)
            else:  # beyond the axis: an arrow with the number
                edge, turn = (high, 90) if value > high else (low, -90)
                inward = -1 if value > high else 1
                axes.plot(x, edge, color=color, marker=(3, 0, turn - 90), markersize=5, clip_on=False)
                place = (x, edge + inward * 0.035 * (high - low))
                align = "top" if inward < 0 else "bottom"
                axes.annotate(f"{value:.0f}", place, ha="center", va=align, fontsize=6, color=color)
    axes.set_ylim(low, high)
    axes.set_xticks(range(len(worlds)), worlds, rotation=40, ha="right", rotation_mode="anchor")
    axes.grid(axis="x", visible=False)
    axes.set_title(f"{label}, {fewest} seeds", loc="left")


def _power(axes: Axes, records: Sequence[Record], world: str) -> None:
    cells = {(r.study, r.method, r.seeds): 100 * r.value for r in records if r.world == world}
    counts = sorted({record.seeds for record in records if record.study.startswith("power")})
    x = 100 * np.array(DIFFERENCES)
    for study, method in (("power", "calibrated"), ("family power", "calibrated"), ("family power", POOLED)):
        for dash, count in zip(DASHES, counts, strict=False):
            values = [cells[f"{study} {point:.0f}", method, count] for point in x]
            color, marker = LOOK[method]
            filled = "white" if study == "power" else color
            axes.plot(x, values, color=color, marker=marker, linestyle=dash, markersize=3.5, markerfacecolor=filled)
    axes.axhline(80, color="#888888", linewidth=0.6)
    axes.set_ylim(0, 101)
    axes.set_xticks(x)
    axes.set_xlabel("true difference (points)")
    axes.set_title(f"power (%), {world}", loc="left")


def _power_legend(records: Sequence[Record]) -> list[Line2D]:
    def line(method: str, label: str, filled: bool) -> Line2D:
        color, marker = LOOK[method]
        face = color if filled else "white"
        return Line2D([], [], color=color, marker=marker, markersize=3.5, markerfacecolor=face, label=label)

    counts = sorted({record.seeds for record in records if record.study.startswith("power")})
    dashes = [
        Line2D([], [], color="black", linestyle=dash, label=f"{count} seeds")
        for dash, count in zip(DASHES, counts, strict=False)
    ]
    return [
        line("calibrated", "calibrated, alone", False),
        line("calibrated", "calibrated, Holm", True),
        line(POOLED, "pooled, Holm", True),
        *dashes,
    ]
