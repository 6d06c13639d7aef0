"""What a controller of the mixing weight saw and did: weight, prior and raw estimate, and its three noise proxies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from harness.report.figures import data, words
from harness.report.figures.layout import finish, sheet
from harness.report.figures.style import DASHES, WIDTH, Drawn, looks
from harness.report.options import choice, read

if TYPE_CHECKING:
    from harness.report.document import Source
    from harness.report.spec import Item

PANEL = 0.95  # inches
# signal -> its name and look; colour belongs to rows, so that of mu alone is the row's
WEIGHTS = {
    "mu": (r"mixing weight $\mu$", {"color": "#222222", "linestyle": "-", "linewidth": 1.8}),
    "mu_raw": (r"raw estimate of $\mu$", {"color": "#9a9a9a", "linestyle": DASHES[2], "linewidth": 1.3}),
    "prior": (r"prior of $\mu$", {"color": "#222222", "linestyle": DASHES[1], "linewidth": 0.9}),
}
PROXIES = {
    "sigma_r2": (r"$\sigma_r^2$", {"color": "#000000", "linestyle": "-", "marker": "o"}),
    "sigma_s2": (r"$\sigma_s^2$", {"color": "#5a5a5a", "linestyle": DASHES[1], "marker": "s"}),
    "delta_g2": (r"$\delta_g^2$", {"color": "#9a9a9a", "linestyle": DASHES[3], "marker": "^"}),
}


def draw(sources: Sequence[Source], item: Item) -> Drawn:
    """For every row two panels: mu with prior and raw estimate, and sigma_r2, sigma_s2 and delta_g2 (logarithmic).

    Means over seeds, see `data.course`; the band of mu is the range over seeds. Options: x = "updates", "flops",
    "generated_tokens" or "seconds"; rows = names, default every row that records a prior, a raw estimate or a proxy;
    width ("double" sets two rows side by side). ValueError where no chosen row records any of the six.
    """
    options = read(item, {"x": "updates", "rows": [], "width": "single"})
    x = choice(item, "x", options["x"], data.COSTS)
    width = data.width_of(item, options)
    needed = {*WEIGHTS, *PROXIES} if options["rows"] else {*WEIGHTS, *PROXIES} - {"mu"}
    panels = []
    for source, rows in data.select(sources, item, options["rows"]):
        for name, row in rows.items():
            courses = {signal: data.course(row.runs, signal, x) for signal in (*WEIGHTS, *PROXIES)}
            found = {signal: line for signal, line in courses.items() if line is not None}
            if needed & found.keys():
                panels.append((name, words.titled(source, sources), found))
    if not panels:
        raise ValueError(f"No run recorded {words.listed(sorted(needed))} against {data.COSTS[x]}.")
    styles = looks(name for name, _, _ in panels)
    columns = 2 if width == WIDTH else 4
    page = sheet(width, 2 * len(panels), columns, PANEL)
    limits = data.limits([line for _, _, found in panels for line in found.values()])
    used: dict[str, Line2D] = {}
    for i, (name, of, found) in enumerate(panels):
        left, right = page.axes[2 * i : 2 * i + 2]
        _weights(left, found, styles[name]["color"])
        _proxies(right, found)
        left.set_title(name + (f", {of}" if of else ""), loc="left", fontweight="bold")
        for axis in (left, right):
            axis.set_xlim(limits)
            data.cost_axis(axis, x, label=2 * i + columns >= 2 * len(panels))
    for signal, (label, style) in {**WEIGHTS, **PROXIES}.items():
        if any(signal in found for _, _, found in panels):
            used[signal] = Line2D([], [], label=label, **style)
    told = " ".join(_words(name + (f" ({of})" if of else ""), found) for name, of, found in panels)
    note = r"mean over seeds; band of $\mu$: lowest to highest seed"
    return Drawn(finish(page, sources, list(used.values()), note, columns=columns), told)


def _weights(axis: Axes, found: Mapping[str, data.Course], color: object) -> None:
    for signal, (_, style) in WEIGHTS.items():
        if signal in found:
            line = found[signal]
            own = {"color": color} if signal == "mu" else {}
            axis.plot(line.x, line.mean, label=signal, **style | own)
            if signal == "mu":
                axis.fill_between(line.x, line.low, line.high, color=color, alpha=0.2, linewidth=0)
    axis.set(ylim=(-0.03, 1.03), yticks=(0, 0.5, 1))


def _proxies(axis: Axes, found: Mapping[str, data.Course]) -> None:
    lines = {signal: found[signal] for signal in PROXIES if signal in found}
    if not lines:
        axis.set_axis_off()
        return
    for rank, (signal, line) in enumerate(lines.items()):
        every = max(1, len(line.x) // 4)
        axis.plot(line.x, line.mean, label=signal, markevery=(rank * every // 3, every), markersize=2.6, linewidth=1.0,
                  **PROXIES[signal][1])  # fmt: skip
    if min(line.mean.min() for line in lines.values()) > 0:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(numticks=5))
        axis.yaxis.set_minor_locator(NullLocator())
    axis.margins(y=0.08)


def _words(name: str, found: Mapping[str, data.Course]) -> str:
    parts = [
        f"{signal} from {line.mean[0]:.3g} to {line.mean[-1]:.3g}"
        + (f" (lowest {line.mean.min():.3g}, highest {line.mean.max():.3g})" if signal == "mu" else "")
        for signal, line in sorted(found.items())
    ]
    return f"{name}: {', '.join(parts)}."
