"""Performance profiles: the share of seeds and suites in which a row scores above a threshold.

Source: Dolan and More 2002; for runs of reinforcement learning, with bands, Agarwal et al. 2021 (arXiv 2108.13264).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from harness.report.contrasts import matrices
from harness.report.figures import data, words
from harness.report.figures.labels import short
from harness.report.figures.layout import finish, sheet
from harness.report.figures.style import WIDTH, Drawn, looks
from harness.report.options import choice, read
from harness.report.problems import suites_of
from harness.statistics.aggregates import performance_profile
from harness.statistics.resampling import jackknife_interval

if TYPE_CHECKING:
    from harness.compare_rows import Row
    from harness.report.document import Source
    from harness.report.spec import Item

PANEL = 1.9  # inches
STEPS = 200  # thresholds
HEIGHTS = (0.92, 0.72, 0.5, 0.28)  # shares about which a line has a marker
BANDS = 5  # lines up to which each has its band; more bands hide each other


def draw(sources: Sequence[Source], item: Item) -> Drawn:
    """One panel a source, one line a row: share of seed x suite scores above each threshold, higher is better.

    Options: split; suites (default all); rows; bands = "auto", for at most five rows, "on" or "off"; width. The band is
    the jackknife's interval over seeds, cut off at 0 and 1. ValueError for an unknown split or suite.
    """
    options = read(item, {"split": "eval", "suites": [], "rows": [], "bands": "auto", "width": "single"})
    width = data.width_of(item, options)
    bands = choice(item, "bands", options["bands"], ("auto", "on", "off"))
    panels = []
    for source, rows in data.select(sources, item, options["rows"]):
        suites = suites_of(source.comparison, options["split"], options["suites"])
        panels.append((source, {name: table(row, options["split"], suites) for name, row in rows.items()}))
    styles = looks(name for _, tables in panels for name in tables)
    page = sheet(width, len(panels), 1 if width == WIDTH else min(3, len(panels)), PANEL)
    drawn = bands == "on" or (bands == "auto" and len(styles) <= BANDS)
    told = []
    for axis, (source, tables) in zip(page.axes, panels, strict=True):
        _panel(axis, tables, styles, source.comparison.level if drawn else None)
        axis.set(xlabel="score threshold (%)", ylabel="runs and suites above (%)")
        axis.set_title(words.titled(source, sources), loc="left")
        told.append(_words(words.titled(source, sources), tables))
    handles = [Line2D([], [], label=short(name), **style) for name, style in styles.items()]
    note = f"bands: {100 * sources[0].comparison.level:g}% intervals over seeds" if drawn else ""
    return Drawn(finish(page, sources, handles, note), " ".join(told))


def table(row: Row, split: str, suites: Sequence[str]) -> np.ndarray:
    """Mean score of every run on every suite, shape [seeds, suites], over the problems that all seeds have scored."""
    strata = matrices([row], split, suites)
    if strata is None:
        raise ValueError(f"The seeds of {row.label} share no scored problem of some suite ({split}); grade them.")
    return np.stack([matrix.mean(axis=1) for matrix in strata[0]], axis=1)


def _panel(
    axis: Axes,
    tables: Mapping[str, np.ndarray],
    styles: Mapping[str, Mapping[str, object]],
    level: float | None,
) -> None:
    least, most = (end([end(scores) for scores in tables.values()]) for end in (np.min, np.max))
    thresholds = np.linspace(max(0.0, least - 0.02), min(1.0, most + 0.02), STEPS + 1)
    for rank, (name, scores) in enumerate(tables.items()):
        share = performance_profile(scores, thresholds)
        # markers on the slope, at heights that differ from row to row
        heights = np.array(HEIGHTS) - 0.16 * rank / len(tables)
        marked = sorted({int(np.argmax(share <= height)) for height in heights})
        axis.plot(100 * thresholds, 100 * share, label=name, linewidth=1.0, drawstyle="steps-post", markevery=marked,
                  **styles[name])  # fmt: skip
        if level is not None and len(scores) > 1:
            _, half = jackknife_interval(lambda part: performance_profile(part, thresholds), scores, level=level)
            half = np.nan_to_num(half)
            axis.fill_between(100 * thresholds, 100 * np.clip(share - half, 0, 1), 100 * np.clip(share + half, 0, 1),
                              color=styles[name]["color"], alpha=0.12, linewidth=0, step="post")  # fmt: skip
    axis.set(ylim=(-2, 103), yticks=(0, 25, 50, 75, 100))
    axis.margins(x=0.01)


def _words(title: str, tables: Mapping[str, np.ndarray]) -> str:
    medians = {name: float(np.median(scores)) for name, scores in tables.items()}
    ordered = sorted(medians, key=lambda name: -medians[name])
    parts = "; ".join(f"{name} {100 * medians[name]:.1f}%" for name in ordered)
    return (
        f"Performance profiles{f' ({title})' if title else ''}: share of seeds and suites above each score. Medians, "
        f"highest first: {parts}."
    )
