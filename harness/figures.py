"""Figures of a comparison: learning curves against cost, controller signals, training dynamics. PNG and PDF."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter

if TYPE_CHECKING:
    from harness.compare import Comparison
    from harness.compare_rows import Row

# Okabe and Ito's palette with grey for yellow, which is too pale on white; a second round takes another dash.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8A8A8A")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
MARKERS = "osD^vPX"
DPI = 150
LONGEST = 40  # characters of a name
LEAD = {"arrowstyle": "-", "linewidth": 0.5, "alpha": 0.6, "shrinkA": 1, "shrinkB": 2, "relpos": (0, 0.5)}
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "pdf.fonttype": 42,
}
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
    """Every figure that has data, laid out and marked where the comparison was forced."""
    figures = {}
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE}):
        for name, draw in (("learning_curves", _learning_curves), ("controller", _controller), ("dynamics", _dynamics)):
            figure = draw(comparison)
            if figure is None:
                continue
            _stamp(figure, comparison)
            # The layout is slow and would be solved again for every file; the pads absorb other text metrics in PDF.
            figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
            figures[name] = figure
    return figures


def write_figures(comparison: Comparison, out_dir: Path) -> list[Path]:
    """Write every figure as PNG and PDF, without dates or versions inside; return the paths."""
    paths = []
    for name, figure in draw_figures(comparison).items():
        with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE}):
            for suffix, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None, "Producer": None})):
                paths.append(out_dir / f"{name}.{suffix}")
                figure.savefig(paths[-1], dpi=DPI, metadata=metadata)
    return paths


def _figure(panels: int, rows: Sequence[Row]) -> tuple[Figure, list[Axes]]:
    """Panels in two columns, with room for the names of all rows beside each."""
    lines = -(-panels // 2)
    width = 3.5 + 0.058 * min(LONGEST, max(len(row.label) for row in rows))
    height = max(2.9, 0.9 + 0.17 * len(rows))
    figure = Figure(figsize=(2 * width, height * lines + 0.3), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(lines, 2, i + 1) for i in range(panels)]


def _style(comparison: Comparison, row: Row) -> dict[str, object]:
    """The same colour, dash and marker for a row in every figure."""
    index = comparison.rows.index(row)
    turn, place = divmod(index, len(COLORS))
    return {"color": COLORS[place], "linestyle": DASHES[turn % len(DASHES)], "marker": MARKERS[index % len(MARKERS)]}


def _stamp(figure: Figure, comparison: Comparison) -> None:
    if comparison.forced:
        text = "NOT COMPARABLE (forced): " + " ".join(comparison.forced)
        width = int(figure.get_figwidth() * 15)
        figure.suptitle("\n".join(textwrap.wrap(text, width)), color="#b00000", fontsize=8, fontweight="bold")


def _learning_curves(comparison: Comparison) -> Figure | None:
    costs = [
        (key, name) for key, name in COSTS if any(key in point.ledger for row in comparison.rows for point in row.curve)
    ]
    rewards = any("reward" in run.metrics for row in comparison.rows for run in row.runs)
    if not costs and not rewards:
        return None
    figure, axes = _figure(len(costs) + rewards, comparison.rows)
    share = f"{100 * comparison.level:g}%"
    for axis, (key, name) in zip(axes, costs, strict=False):
        ends = []
        for row in comparison.rows:
            points = [point for point in row.curve if key in point.ledger]
            if not points:
                continue
            style = _style(comparison, row)
            x = np.array([point.ledger[key] for point in points])
            y = 100 * np.array([point.score.mean for point in points])
            half = 100 * np.array([point.score.half_width for point in points])
            axis.fill_between(x, y - half, y + half, color=style["color"], alpha=0.08, linewidth=0)
            axis.plot(x, y, linewidth=1.5, markersize=3, **style)
            ends.append((row, x[-1], y[-1]))
        axis.set(xlabel=name, ylabel="avg@k, mean over suites (%)")
        axis.set_title(f"Score against {name} (band: {share} interval)", loc="left")
        _finish(axis, comparison, ends)
    if rewards:
        _steps(axes[-1], comparison, comparison.rows, "reward", None)
        axes[-1].set(xlabel="optimiser updates", ylabel="mean reward")
        axes[-1].set_title("Training reward (thin: seeds, bold: mean)", loc="left")
    return figure


def _controller(comparison: Comparison) -> Figure | None:
    rows = [row for row in comparison.rows if any(_known(run.metrics, "mu") for run in row.runs)]
    return _signal_grid(comparison, rows, SIGNALS)


def _dynamics(comparison: Comparison) -> Figure | None:
    return _signal_grid(comparison, comparison.rows, DYNAMICS)


def _signal_grid(
    comparison: Comparison, rows: Sequence[Row], signals: Sequence[tuple[str, str, str | None]]
) -> Figure | None:
    used = [signal for signal in signals if any(_known(run.metrics, signal[0]) for row in rows for run in row.runs)]
    if not used:
        return None
    figure, axes = _figure(len(used), rows)
    for axis, (key, name, scale) in zip(axes, used, strict=True):
        _steps(axis, comparison, rows, key, scale)
        axis.set(xlabel="optimiser updates", ylabel=name)
    return figure


def _known(metrics: pd.DataFrame, key: str) -> bool:
    return key in metrics and bool(metrics[key].notna().any())


def _steps(axis: Axes, comparison: Comparison, rows: Sequence[Row], key: str, scale: str | None) -> None:
    """One thin line a seed and a bold mean over the steps that all seeds have."""
    ends = []
    for row in rows:
        series = [run.metrics[key].dropna() for run in row.runs if _known(run.metrics, key)]
        if not series:
            continue
        style = _style(comparison, row) | {"marker": None}
        if len(series) > 1:
            for values in series:
                axis.plot(values.index, values, linewidth=0.5, alpha=0.35, **style)
        mean = pd.concat(series, axis=1, join="inner").mean(axis=1)
        if mean.empty:
            continue
        axis.plot(mean.index, mean, linewidth=1.6, **style)
        ends.append((row, mean.index[-1], mean.iloc[-1]))
    values = np.concatenate([line.get_ydata() for line in axis.lines])
    if scale == "log" and values.min() > 0 and values.max() > 20 * values.min():
        axis.set_yscale("log")
    _finish(axis, comparison, ends)


def _finish(axis: Axes, comparison: Comparison, ends: Sequence[tuple[Row, float, float]]) -> None:
    """Name each line: at the right edge, spread against overlap, or beside its end where it ends early."""
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.margins(x=0.02)
    axis.autoscale_view()
    to_share = axis.transData + axis.transAxes.inverted()
    shares = [to_share.transform((x, y)) for _, x, y in ends]
    halo = [withStroke(linewidth=2, foreground="white")]
    late = sorted((float(share[1]), i) for i, share in enumerate(shares) if share[0] >= 0.75)
    gap = min(1.0 / max(len(late), 1), 0.17 * axis.get_gridspec().nrows / axis.figure.get_figheight())
    heights = dict(zip((i for _, i in late), _spread([height for height, _ in late], gap), strict=True))
    for i, (row, x, y) in enumerate(ends):
        color = _style(comparison, row)["color"]
        text = textwrap.shorten(row.label, LONGEST, placeholder="...")
        common = {"va": "center", "fontsize": 7, "color": color, "annotation_clip": False}
        if i in heights:
            place = (1.05, heights[i])
            axis.annotate(text, (x, y), place, textcoords=axis.transAxes, arrowprops={**LEAD, "color": color}, **common)
        else:
            axis.annotate(text, (x, y), (6, 0), textcoords="offset points", path_effects=halo, **common)


def _spread(wanted: Sequence[float], gap: float) -> list[float]:
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
