"""The figure of the testbed, one column wide: per scenario the courses of mu, regrets, and suboptimality."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from harness.figures import COLORS, STYLE
from harness.testbed.arms import ORACLE, SCHEDULE
from harness.testbed.measures import Result

if TYPE_CHECKING:
    from harness.testbed.output import Outcome

# inches: width of a column of text, distance and height of panels, room above them, below them, and of a legend's line
WIDTH, ROW, PANEL, ABOVE, BELOW, LINE = 3.5, 1.27, 0.92, 0.2, 0.12, 0.12
COLUMNS = ((0.33, 0.95), (2.02, 0.65), (2.79, 0.65))  # left edge and width
LEGEND_COLUMNS = 3
LONGEST = 17  # characters of a label
DPI = 300
SMALL = {**STYLE, "font.size": 6, "axes.titlesize": 6.5, "axes.labelsize": 6, "xtick.labelsize": 5.5,
         "ytick.labelsize": 5.5, "axes.linewidth": 0.5, "xtick.major.width": 0.5, "ytick.major.width": 0.5,
         "xtick.major.size": 2, "ytick.major.size": 2, "hatch.linewidth": 0.5, "svg.hashsalt": "testbed",
         "grid.linewidth": 0.4}  # fmt: skip
DASHES = (
    "-", (0, (4, 1)), (0, (1, 0.8)), (0, (5, 1, 1, 1)),
    (0, (9, 2)), (0, (2.5, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)),
)  # fmt: skip
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\")
SHADES = (1.0, 0.68, 0.42)  # of the colour: 1 as it is, 0 black
WHISKER = {"elinewidth": 0.7, "ecolor": "black", "capsize": 1.2, "capthick": 0.6}
REFERENCE_LINES = {
    ORACLE: {"color": "#aaaaaa", "linewidth": 2.6, "zorder": 1.5},
    SCHEDULE: {"color": "#444444", "linewidth": 1.0, "linestyle": (0, (1, 1)), "zorder": 1.6},
}
BEST_FIXED = {"color": "#444444", "linewidth": 0.8, "linestyle": (0, (6, 2)), "zorder": 1.6}


def write(outcome: Outcome, out: Path) -> list[Path]:
    """testbed.png and testbed.svg, without dates or versions inside."""
    paths = []
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **SMALL}):
        figure = draw(outcome)
        for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
            paths.append(out / f"testbed.{suffix}")
            figure.savefig(paths[-1], dpi=DPI, metadata=metadata)
    return paths


def draw(outcome: Outcome) -> Figure:
    """One row a scenario."""
    names = outcome.drawn
    styles = _styles(outcome, names)
    rows = len(outcome.results)
    handles = [Line2D([], [], label=label, **style) for label, style in _legend(names, styles).items()]
    legend = BELOW + LINE * -(-len(handles) // LEGEND_COLUMNS)
    height = ROW * rows + legend + ABOVE
    # placed by hand: the solver of matplotlib's own layout differs in its last digits from run to run
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    FigureCanvasAgg(figure)
    for i, result in enumerate(outcome.results):
        bottom = height - ABOVE - ROW * i - PANEL
        courses, regrets, losses = (
            figure.add_axes((left / WIDTH, bottom / height, width / WIDTH, PANEL / height)) for left, width in COLUMNS
        )
        _courses(courses, result, names, styles)
        _bars(regrets, result, names, styles, "regret")
        _bars(losses, result, names, styles, "mean_j")
        courses.set_title(result.trace.scenario.name.replace("_", " "), loc="left", fontweight="bold")
        if i == 0:
            regrets.set_title("gradient error", loc="left")
            losses.set_title("mean J", loc="left")
        if i == rows - 1:
            courses.set_xlabel("optimiser step")
            regrets.set_xlabel(r"$E(\mu)-E(\mu^*)$")
            losses.set_xlabel("less is better")
    figure.legend(
        handles=handles, loc="lower center", ncols=LEGEND_COLUMNS, frameon=False, handlelength=2.6, fontsize=5.8,
        borderaxespad=0.2,
    )  # fmt: skip
    return figure


def _legend(names: Sequence[str], styles: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    arms = {
        name: {"color": styles[name]["color"], "linestyle": styles[name]["dash"], "linewidth": 1.2} for name in names
    }
    labels = {ORACLE: r"oracle $\mu^*$ (least error)", SCHEDULE: "best schedule (least J)"}
    return {
        **{labels[name]: style for name, style in REFERENCE_LINES.items()},
        "best fixed in hindsight": BEST_FIXED,
        **arms,
    }


def _styles(outcome: Outcome, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """One colour a strategy; arms of one strategy differ in its shade, in dash and hatch."""
    of = {arm.name: arm.strategy for arm in outcome.arms}
    strategies = list(dict.fromkeys(of[name] for name in names))
    styles: dict[str, dict[str, Any]] = {}
    for name in names:
        place = strategies.index(of[name])
        turn = sum(of[other] == of[name] for other in styles)
        styles[name] = {
            "color": tuple(SHADES[turn % len(SHADES)] * part for part in to_rgb(COLORS[place % len(COLORS)])),
            "dash": DASHES[len(styles) % len(DASHES)],
            "hatch": HATCHES[turn % len(HATCHES)],
        }
    return styles


def _courses(axis: Axes, result: Result, names: Sequence[str], styles: dict[str, dict[str, Any]]) -> None:
    """Mean mu over seeds, and what it should be: mu* at the oracle's own theta, and the best schedule."""
    trace = result.trace
    steps = np.arange(1, len(trace.mu) + 1)
    for name, style in REFERENCE_LINES.items():
        axis.plot(steps, trace.mu[:, :, trace.of(name)].mean(1), **style)
    for name in names:
        course = trace.mu[:, :, trace.of(name)].mean(1)
        axis.plot(steps, course, color=styles[name]["color"], linestyle=styles[name]["dash"], linewidth=1.0)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=3))
    axis.set(ylim=(-0.03, 1.03), yticks=(0.0, 0.5, 1.0), xlim=(1, len(steps)))
    axis.set_ylabel(r"$\mu$", rotation=0, labelpad=-2, y=0.72)


def _bars(axis: Axes, result: Result, names: Sequence[str], styles: dict[str, dict[str, Any]], key: str) -> None:
    """A bar an arm with its 95% interval; lines at the references."""
    for place, name in enumerate(names):
        interval = result.intervals[name, key]
        half = None if np.isnan(interval.half_width) else interval.half_width
        axis.barh(
            place, interval.mean, height=0.72, color=styles[name]["color"], hatch=styles[name]["hatch"],
            edgecolor="white", linewidth=0, xerr=half, error_kw=WHISKER,
        )  # fmt: skip
    axis.axvline(result.intervals[result.best_fixed[key], key].mean, **BEST_FIXED)
    if key == "mean_j":
        for name, style in REFERENCE_LINES.items():
            thin = {"linewidth": min(style["linewidth"], 1.4)}
            axis.axvline(result.intervals[name, key].mean, **style | thin)
    axis.set(ylim=(len(names) - 0.4, -0.6), yticks=range(len(names)), xlim=(0, None))
    axis.set_yticklabels([shorten(name) for name in names] if key == "regret" else [])
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.xaxis.set_major_locator(MaxNLocator(nbins=2, steps=(1, 2, 5, 10)))


def shorten(name: str) -> str:
    """The name, cut to the room that a label has."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 2]}.."
