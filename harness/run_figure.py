"""The figure of one run: scores over the budget, and what the training metrics did meanwhile."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.figures import COLORS, DPI, SIGNALS, STYLE
from harness.run_report import evaluations
from harness.store import RunDir, read_lines

# panel title -> metrics drawn together; a panel without data is left out
PANELS = (
    ("Training reward", "mean reward", ("reward", "probe_reward")),
    ("KL to the start policy", "nats per token", ("kl",)),
    ("Entropy", "nats per token", ("entropy",)),
    ("Response length", "tokens", ("response_length",)),
    ("Mixing weight", "share of SFT", ("mu", "mu_raw", "prior", "effective_mix")),
)
PROXIES = ("sigma_r2", "sigma_s2", "delta_g2")


def write(run: RunDir, title: str) -> Path | None:
    """Draws figure.png into the run directory and returns its path; None without metrics."""
    metrics = read_lines(run.metrics)
    if not metrics:
        return None
    series = {
        name: [(row["step"], row[name]) for row in metrics if isinstance(row.get(name), int | float)]
        for _, _, names in PANELS
        for name in names
    }
    series |= {name: [(row["step"], row[name]) for row in metrics if (row.get(name) or 0) > 0] for name in PROXIES}
    # the mix is drawn for comparison with mu; a method without a weight of its own shows it alone
    panels = [(name, label, [n for n in names if series[n]]) for name, label, names in PANELS]
    panels = [panel for panel in panels if panel[2]]
    proxies = [name for name in PROXIES if series[name]]
    count = 1 + len(panels) + bool(proxies)
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE}):
        figure = Figure(figsize=(10, 2.6 * -(-count // 3) + 0.4), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, fontsize=9)
        axes = [figure.add_subplot(-(-count // 3), 3, i + 1) for i in range(count)]
        _scores(axes[0], run)
        for axis, (name, label, names) in zip(axes[1:], panels, strict=False):
            _lines(axis, {n: series[n] for n in names})
            axis.set(xlabel="optimiser step", ylabel=label)
            axis.set_title(name, loc="left")
        if proxies:
            labels = {key: label for key, label, _ in SIGNALS}
            _lines(axes[-1], {labels[name]: series[name] for name in proxies})
            axes[-1].set(xlabel="optimiser step", yscale="log")
            axes[-1].set_title("What the controller sees", loc="left")
        for axis in axes:
            axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        path = run.path / "figure.png"
        figure.savefig(path, dpi=DPI, metadata={"Software": None})
    return path


def _scores(axis: Axes, run: RunDir) -> None:
    """avg@k of each suite with one standard error, over the steps of its evaluations."""
    found = evaluations(run)
    suites = list(dict.fromkeys(suite for summaries in found.values() for suite in summaries))
    for i, suite in enumerate(suites):
        points = [summaries[suite] for summaries in found.values() if suite in summaries]
        points = [point for point in points if point.get("avg_at_k") is not None]
        axis.errorbar(
            [point["at"]["step"] for point in points],
            [100 * point["avg_at_k"] for point in points],
            [100 * (point["se"] or 0.0) for point in points],
            color=COLORS[i % len(COLORS)],
            marker="o",
            markersize=3,
            linewidth=1.3,
            capsize=2,
            label=suite,
        )
    axis.set(xlabel="optimiser step", ylabel="avg@k (%)")
    axis.set_title("Scores (bars: standard error)", loc="left")
    axis.set_ylim(0, max(5.0, axis.get_ylim()[1]))
    if suites:
        axis.legend(fontsize=7, frameon=False)


def _lines(axis: Axes, series: dict[str, list[tuple[int, float]]]) -> None:
    for i, (name, points) in enumerate(series.items()):
        style = {"marker": "o", "markersize": 2} if len(points) < 15 else {}
        axis.plot(*zip(*points, strict=True), color=COLORS[i % len(COLORS)], linewidth=1.2, label=name, **style)
    if len(series) > 1:
        axis.legend(fontsize=7, frameon=False)
