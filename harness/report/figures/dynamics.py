"""Training dynamics: a grid of metrics against what was spent, one line a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from harness.report.figures import data, words
from harness.report.figures.labels import short
from harness.report.figures.layout import finish, sheet
from harness.report.figures.style import SMALL, WIDTH, Drawn, looks
from harness.report.options import choice, read

if TYPE_CHECKING:
    from harness.report.document import Source
    from harness.report.spec import Item

PANEL = 1.05  # inches
BANDS = 5  # lines up to which each has its band; more bands hide each other
WIDE = 20  # ratio of largest to smallest value from which a positive axis is logarithmic
METRICS = {
    "entropy": "entropy (nats)",
    "response_length": "response length",
    "kl": "KL to the start (nats)",
    "effective_mix": "demonstration share",
    "grad_norm": "gradient norm",
    "truncated": "truncated share",
    "reward": "training reward",
    "no_answer": "share without answer",
    "groups_none_correct": "groups all wrong",
    "groups_all_correct": "groups all right",
    "mismatch": "engine mismatch (nats)",
    "learning_rate": "learning rate",
    "loss": "loss",
    "mu": "mixing weight",
}
DEFAULT = ("entropy", "response_length", "kl", "effective_mix", "grad_norm", "truncated")


def draw(sources: Sequence[Source], item: Item) -> Drawn:
    """One panel a metric (and source), one line a row: the mean over seeds, see `data.course`.

    Options: metrics = columns of metrics.jsonl, default those of entropy, response_length, kl, effective_mix, grad_norm
    and truncated that some run has; x = "flops", "generated_tokens", "updates" or "seconds"; rows; width. The band is
    the range over seeds, drawn for at most five rows. ValueError for a metric asked for that no run recorded.
    """
    options = read(item, {"metrics": [], "x": "flops", "rows": [], "width": "single"})
    x = choice(item, "x", options["x"], data.COSTS)
    width = data.width_of(item, options)
    chosen = data.select(sources, item, options["rows"])
    panels = []
    for metric in [str(name) for name in options["metrics"]] or DEFAULT:
        found = []
        for source, rows in chosen:
            courses = {name: data.course(row.runs, metric, x) for name, row in rows.items()}
            lines = {name: line for name, line in courses.items() if line is not None}
            if lines:
                found.append((source, metric, lines))
        if not found and options["metrics"]:
            raise ValueError(f"No run of {item.name} recorded the metric {metric!r} against {data.COSTS[x]}.")
        panels += found
    if not panels:
        raise ValueError(f"No run recorded any of {', '.join(DEFAULT)} against {data.COSTS[x]}.")
    styles = looks(name for _, _, lines in panels for name in lines)
    columns = 2 if width == WIDTH else 3
    page = sheet(width, len(panels), columns, PANEL)
    limits = data.limits([line for _, _, lines in panels for line in lines.values()])
    for i, (axis, (source, metric, lines)) in enumerate(zip(page.axes, panels, strict=True)):
        _panel(axis, lines, styles)
        axis.set_xlim(limits)
        data.cost_axis(axis, x, label=i + columns >= len(panels))
        axis.set_title(_title(metric, words.titled(source, sources)), loc="left", fontsize=SMALL + 0.5)
    handles = [Line2D([], [], label=short(name), **style) for name, style in styles.items()]
    note = "band: lowest to highest seed" if all(len(lines) <= BANDS for _, _, lines in panels) else ""
    told = " ".join(_words(metric, words.titled(source, sources), lines) for source, metric, lines in panels)
    return Drawn(finish(page, sources, handles, note), f"Mean over seeds against {data.COSTS[x]}. {told}")


def _panel(axis: Axes, lines: Mapping[str, data.Course], styles: Mapping[str, Mapping[str, object]]) -> None:
    for rank, (name, line) in enumerate(lines.items()):
        if len(lines) <= BANDS:
            axis.fill_between(line.x, line.low, line.high, color=styles[name]["color"], alpha=0.12, linewidth=0)
        every = max(1, len(line.x) // 3)
        axis.plot(line.x, line.mean, label=name, linewidth=1.0, markersize=2.6, markevery=(rank % every, every),
                  **styles[name])  # fmt: skip
    lowest, highest = min(line.mean.min() for line in lines.values()), max(line.mean.max() for line in lines.values())
    if lowest > 0 and highest > WIDE * lowest:
        axis.set_yscale("log")
    axis.margins(y=0.06)


def _title(metric: str, source: str) -> str:
    return METRICS.get(metric, metric.replace("_", " ")) + (f", {source}" if source else "")


def _words(metric: str, title: str, lines: Mapping[str, data.Course]) -> str:
    ends = {name: line.mean[-1] for name, line in lines.items()}
    high, low = max(ends, key=ends.__getitem__), min(ends, key=ends.__getitem__)
    name = _title(metric, title)
    if high == low:
        return f"{name}: {high} ends at {ends[high]:.3g}."
    return f"{name}: at the end highest for {high} ({ends[high]:.3g}), lowest for {low} ({ends[low]:.3g})."
