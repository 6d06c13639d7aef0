"""Score against the size of the model, a line a row, and below it the difference to the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from harness.report.figures import data, words
from harness.report.figures.intervals import along
from harness.report.figures.labels import height_for, name_ends
from harness.report.figures.layout import finish, sheet
from harness.report.figures.style import WIDTH, Drawn, looks
from harness.report.grid import check_alike, size_of, suites_shared
from harness.report.options import place, read

if TYPE_CHECKING:
    from harness.report.document import Source
    from harness.report.spec import Item
    from harness.statistics.intervals import Estimate

PANEL = 1.8  # inches, at least
UNITS = ((1e9, 1e9, "B"), (1e5, 1e6, "M"), (1e3, 1e3, "K"), (0.0, 1.0, ""))  # from which size on, in what, its name


def draw(sources: Sequence[Source], item: Item) -> Drawn:
    """Scores of the last evaluation, mean over suites; every source is one size, rows are joined by their names.

    Options: split; suites, default all that the sources share; rows; width; parameters = a table model -> number of
    parameters, for models whose config.json is not at hand. Intervals are those of each comparison; rows stand side by
    side about their size. The second panel is left out where no source has a baseline. ValueError for fewer than two
    sizes, and for sources that differ in more than the model.
    """
    options = read(item, {"split": "eval", "suites": [], "rows": [], "parameters": {}, "width": "single"})
    width = data.width_of(item, options)
    sizes = {size_of(source, options["parameters"]): source.name for source in sources}
    if len(sizes) < max(2, len(sources)):
        raise ValueError(f"{place(item)} needs two or more sources, each of another model size.")
    forced = check_alike(sources, models_differ=True)
    suites = suites_shared(sources, options["split"], options["suites"])
    of = {name: size for size, name in sizes.items()}
    scores: dict[str, dict[float, Estimate]] = {}
    gaps: dict[str, dict[float, Estimate]] = {}
    for source, rows in data.select(data.restrict(sources, options["split"], suites), item, options["rows"]):
        for name, row in rows.items():
            found = row.scores[options["split"]]
            scores.setdefault(name, {})[of[source.name]] = found.mean
            if found.difference is not None:
                gaps.setdefault(name, {})[of[source.name]] = found.difference
    styles = looks(scores)
    panels = [scores, gaps] if gaps else [scores]
    height = height_for(len(scores), PANEL)
    page = sheet(width, len(panels), 1 if width == WIDTH else 2, height)
    baselines = list(dict.fromkeys(s.comparison.baseline for s in sources if s.comparison.baseline))
    labels = ("score (%)", f"minus {words.listed(baselines)} (points)" if baselines else "")
    for axis, lines, label in zip(page.axes, panels, labels, strict=False):
        if lines is gaps:
            axis.axhline(0, color="#555555", linewidth=0.8, zorder=1, label="_zero")
        ends = along(axis, lines, styles, -100 if lines is gaps else 0, logarithmic=True)
        _sizes(axis, sorted({size for line in scores.values() for size in line}))
        axis.set_ylabel(label)
        name_ends(axis, ends, styles, height)
    if width == WIDTH and gaps:
        page.axes[0].set_xlabel("")
    note = f"bars: {100 * sources[0].comparison.level:g}% intervals"
    return Drawn(finish(page, sources, note=note, forced=forced), _words(scores, gaps, baselines))


def _sizes(axis: Axes, sizes: Sequence[float]) -> None:
    axis.xaxis.set_major_locator(FixedLocator(sizes))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(lambda size, _: _shown(size))
    axis.set_xlabel("parameters of the model")


def _shown(size: float) -> str:
    _, scale, unit = next(entry for entry in UNITS if entry[0] <= size)
    number = size / scale
    return f"{number:.0f}{unit}" if number >= 100 else f"{number:.2g}{unit}"


def _words(
    scores: Mapping[str, Mapping[float, Estimate]],
    gaps: Mapping[str, Mapping[float, Estimate]],
    baselines: Sequence[str],
) -> str:
    parts = []
    for size in sorted({size for line in scores.values() for size in line}):
        here = {name: line[size] for name, line in scores.items() if size in line}
        text = f"At {_shown(size)}: {words.extremes(here)}"
        apart = {name: line[size] for name, line in gaps.items() if size in line}
        if apart:
            best = max(apart, key=lambda name: apart[name].mean)
            text += f"; largest difference to {words.listed(baselines)}: {best} ({words.points(apart[best])})"
        parts.append(text + ".")
    return "Score against the size of the model. " + " ".join(parts)
