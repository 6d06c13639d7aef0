"""Figures of a comparison: learning curves against cost, controller signals, training dynamics. PNG and PDF."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from harness.report.figures.labels import spread
from harness.report.figures.style import COLORS as COLORS
from harness.report.figures.style import STYLE as STYLE
from harness.report.figures.style import looks

if TYPE_CHECKING:
    from harness.compare import Comparison
    from harness.compare_load import Run
    from harness.compare_rows import Row

DPI = 150
LONGEST = 40  # characters of a name
DRAWN = 16  # settings; of more the FEW best are drawn, without their seeds
FEW = 8
THIN = 8  # seeds
LEFT, PANEL, ABOVE, BELOW = 0.72, 2.9, 0.3, 0.5  # inches: of a panel and around it
LINE = 0.135  # inches from one name to the next
SAMPLE = (0.14, 0.4)  # inches to the right of a panel: of the sample of a line before its name
FAR = 0.6  # share of the panel: an end before it is not tied to its name, which would cross the panel
METADATA = {"pdf": {"CreationDate": None, "Producer": None}, "png": {"Software": None}}
COSTS = (("flops", "FLOPs"), ("generated_tokens", "generated tokens"), ("updates", "optimiser updates"))
SIGNALS = (
    ("mu", "mixing weight mu", None),
    ("mu_raw", "raw estimate of mu", None),
    ("prior", "prior of mu", None),
    ("alpha", "alpha", None),
    ("sigma_r2", "sigma_r^2 (RL noise)", "log"),
    ("sigma_s2", "sigma_s^2 (SFT noise)", "log"),
    ("delta_g2", "delta_g^2 (gradient gap)", "log"),
)
DYNAMICS = (
    ("effective_mix", "effective mix (demo share)", None),
    ("entropy", "entropy (nats per token)", None),
    ("kl", "KL to the start policy (nats)", None),
    ("response_length", "response length (tokens)", None),
    ("truncated", "truncated share", None),
    ("grad_norm", "gradient norm", "log"),
)


def draw_figures(comparison: Comparison) -> dict[str, Figure]:
    """Every figure that has data, laid out, marked where the comparison was forced or costs are unequal.

    Of more than `DRAWN` settings those with the highest mean are drawn, and the figure says so.
    """
    limit = FEW if len(comparison.rows) > DRAWN else DRAWN
    notices = [*comparison.unequal, *([sentence] if (sentence := comparison.left_out(limit)) else [])]
    seeds = THIN if len(comparison.rows) <= DRAWN else 0
    sheet = Sheet(replace(comparison, rows=comparison.shown(limit)), notices, seeds)
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE}):
        drawers = {"learning_curves": _learning_curves, "controller": _controller, "dynamics": _dynamics}
        drawn = {name: draw(sheet) for name, draw in drawers.items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def save(figures: Mapping[str, Figure], out_dir: Path) -> Callable[[], list[Path]]:
    """Begins to write every figure as PNG and PDF, without dates or versions inside; the call ends it: the paths.

    It takes seconds, so that processes of their own do it, if there are cores for them, while the caller goes on.
    """
    # one process a kind: what a kind needs is imported once
    parts = [[(figure, out_dir / f"{name}.{suffix}") for name, figure in figures.items()] for suffix in METADATA]
    jobs = [job for part in parts for job in part]
    alone = len(os.sched_getaffinity(0)) == 1
    workers = [] if alone else [get_context("fork").Process(target=_save, args=(part,)) for part in parts if part]
    for worker in workers:
        worker.start()

    def finish() -> list[Path]:
        for worker in workers:
            worker.join()
        if not workers or any(worker.exitcode for worker in workers):
            _save(jobs)  # here, where what is wrong is seen
        return [path for _, path in jobs]

    return finish


def _save(jobs: Sequence[tuple[Figure, Path]]) -> None:
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE}):
        for figure, path in jobs:
            fast = {"pil_kwargs": {"compress_level": 1}} if path.suffix == ".png" else {}
            figure.savefig(path, dpi=DPI, metadata=METADATA[path.suffix[1:]], **fast)


class Sheet:
    """What the figures of a comparison have in common: the look of each row, its name's room, and what stands above."""

    def __init__(self, comparison: Comparison, notices: Sequence[str], seeds: int) -> None:
        self.comparison = comparison
        self.seeds = seeds  # of a setting with a line of their own
        self.rows = comparison.rows
        self.looks = looks(row.label for row in comparison.rows)
        self.names = {row.label: textwrap.shorten(row.label, LONGEST, placeholder="...") for row in comparison.rows}
        self.room = 0.65 + 0.062 * max(len(name) for name in self.names.values())  # inches beside a panel
        self.height = max(2.2, 0.2 + LINE * len(comparison.rows))
        parts = ["NOT COMPARABLE (forced): " + " ".join(comparison.forced)] if comparison.forced else []
        parts += [" ".join(notices)] if notices else []
        self.head = [line for part in parts for line in textwrap.wrap(part, int(2 * self.width * 15))]

    @property
    def width(self) -> float:
        """Of a panel with all around it, in inches."""
        return LEFT + PANEL + self.room

    def figure(self, panels: int) -> tuple[Figure, list[Axes]]:
        """Panels in two columns, each with room for the names of all rows beside it.

        Their places are known, so that no solver has to look for them.
        """
        lines, tall, top = -(-panels // 2), self.height + ABOVE + BELOW, 0.17 * len(self.head) + 0.05
        across, along = 2 * self.width, tall * lines + top
        figure = Figure(figsize=(across, along), dpi=DPI)
        FigureCanvasAgg(figure)
        if self.head:
            strong = {"color": "#b00000", "fontweight": "bold"} if self.comparison.forced else {"color": "#7a4a00"}
            figure.suptitle("\n".join(self.head), y=1 - 0.05 / along, va="top", fontsize=8, **strong)
        axes = []
        for number in range(panels):
            line, column = divmod(number, 2)
            x, y = column * self.width + LEFT, along - top - (line + 1) * tall + BELOW
            axes.append(figure.add_axes((x / across, y / along, PANEL / across, self.height / along)))
        return figure, axes


def _learning_curves(sheet: Sheet) -> Figure | None:
    comparison = sheet.comparison
    costs = [
        (key, name) for key, name in COSTS if any(key in point.ledger for row in comparison.rows for point in row.curve)
    ]
    rewards = any("reward" in run.steps[0] for row in comparison.rows for run in row.runs)
    if not costs and not rewards:
        return None
    figure, axes = sheet.figure(len(costs) + rewards)
    share = f"{100 * comparison.level:g}%"
    for axis, (key, name) in zip(axes, costs, strict=False):
        ends = []
        for row in comparison.rows:
            points = [point for point in row.curve if key in point.ledger]
            if not points:
                continue
            style = sheet.looks[row.label]
            x = np.array([point.ledger[key] for point in points])
            y = 100 * np.array([point.score.mean for point in points])
            half = 100 * np.array([point.score.half_width for point in points])
            axis.fill_between(x, y - half, y + half, color=style["color"], alpha=0.08, linewidth=0)
            axis.plot(x, y, linewidth=1.5, markersize=3, **style)
            ends.append((row, x[-1], y[-1]))
        axis.set(xlabel=name, ylabel="avg@k, mean over suites (%)")
        axis.set_title(f"Score against {name} (band: {share} interval)", loc="left")
        _finish(axis, sheet, ends)
    if rewards:
        _steps(axes[-1], sheet, comparison.rows, "reward", None)
        axes[-1].set(xlabel="optimiser updates", ylabel="mean reward")
        axes[-1].set_title("Training reward (thin: seeds, bold: mean)", loc="left")
    return figure


def _controller(sheet: Sheet) -> Figure | None:
    rows = [row for row in sheet.rows if any(_known(run, "mu") for run in row.runs)]
    return _signal_grid(sheet, rows, SIGNALS)


def _dynamics(sheet: Sheet) -> Figure | None:
    return _signal_grid(sheet, sheet.rows, DYNAMICS)


def _signal_grid(sheet: Sheet, rows: Sequence[Row], signals: Sequence[tuple[str, str, str | None]]) -> Figure | None:
    used = [signal for signal in signals if any(_known(run, signal[0]) for row in rows for run in row.runs)]
    if not used:
        return None
    figure, axes = sheet.figure(len(used))
    for axis, (key, name, scale) in zip(axes, used, strict=True):
        _steps(axis, sheet, rows, key, scale)
        axis.set(xlabel="optimiser updates", ylabel=name)
    return figure


def _known(run: Run, key: str) -> bool:
    return len(run.steps[0].known(key)[0]) > 0


def _steps(axis: Axes, sheet: Sheet, rows: Sequence[Row], key: str, scale: str | None) -> None:
    """One thin line a seed, of the first ones, and a bold mean over the steps that all seeds have."""
    ends, seen = [], []
    for row in rows:
        series = [run.steps[0].known(key) for run in row.runs if _known(run, key)]
        if not series:
            continue
        seen += [values for _, values in series]
        style = sheet.looks[row.label]
        if len(series) > 1 and sheet.seeds:
            thin = LineCollection(
                [np.column_stack(pair) for pair in series[: sheet.seeds]],
                colors=style["color"],
                linestyles=[style["linestyle"]],
                linewidths=0.5,
                alpha=0.35,
            )
            axis.add_collection(thin)
        shared = reduce(np.intersect1d, [steps for steps, _ in series])
        if not len(shared):
            continue
        mean = np.mean([values[np.isin(steps, shared)] for steps, values in series], axis=0)
        axis.plot(shared, mean, linewidth=1.6, markersize=3, markevery=max(1, len(shared) // 6), **style)
        ends.append((row, shared[-1], mean[-1]))
    values = np.concatenate(seen)
    if scale == "log" and values.min() > 0 and values.max() > 20 * values.min():
        axis.set_yscale("log")
    _finish(axis, sheet, ends)


def _finish(axis: Axes, sheet: Sheet, ends: Sequence[tuple[Row, float, float]]) -> None:
    """To the right of the panel: for every line a sample and its name, tied to its end unless that is far away."""
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.margins(x=0.02)
    axis.autoscale_view()
    to_share = axis.transData + axis.transAxes.inverted()
    shares = [to_share.transform((x, y)) for _, x, y in ends]
    order = sorted(range(len(ends)), key=lambda i: (float(shares[i][1]), i))
    gap = min(1.0 / max(len(ends), 1), LINE / sheet.height)
    heights = spread([float(shares[i][1]) for i in order], gap)
    ties, colors = [], []
    begin, end = (1 + inches / PANEL for inches in SAMPLE)
    for i, height in zip(order, heights, strict=True):
        label = ends[i][0].label
        style = sheet.looks[label]
        x = [begin, (begin + end) / 2, end]
        sample = Line2D(x, [height] * 3, transform=axis.transAxes, clip_on=False, markevery=[1], markersize=3, **style)
        axis.add_artist(sample)
        axis.text(end + 0.02, height, sheet.names[label], va="center", fontsize=7, transform=axis.transAxes)
        if shares[i][0] >= FAR:
            ties.append([tuple(shares[i]), (begin - 0.01, height)])
            colors.append(style["color"])
    axis.add_artist(
        LineCollection(ties, colors=colors, linewidths=0.5, alpha=0.6, transform=axis.transAxes, clip_on=False)
    )
