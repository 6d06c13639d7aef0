"""Score against the level of a noise in the training data, a line a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.ticker import FixedLocator

from harness.report.figures import data, words
from harness.report.figures.intervals import along
from harness.report.figures.labels import height_for, name_ends
from harness.report.figures.layout import finish, sheet
from harness.report.figures.style import Drawn, looks
from harness.report.grid import check_alike, suites_shared
from harness.report.options import place, read
from harness.report.tables.noise import noise_of

if TYPE_CHECKING:
    from harness.report.document import Source
    from harness.report.spec import Item
    from harness.statistics.intervals import Estimate

PANEL = 1.9  # inches, at least
TITLES = {"data.demo_noise": "wrong demonstrations (%)", "data.reward_noise": "flipped rewards (%)"}


def draw(sources: Sequence[Source], item: Item) -> Drawn:
    """Scores of the last evaluation, mean over suites; rows of all sources are joined by strategy or arm.

    Options: key = dotted setting that holds the level in [0, 1]; split; suites, default all that the sources share;
    rows; width. The clean rows may be in a source of their own. ValueError for a setting that is no number, two rows of
    a name at one level, no level above zero, and sources that are not comparable with each other.
    """
    options = read(item, {"key": "data.demo_noise", "split": "eval", "suites": [], "rows": [], "width": "single"})
    width, key = data.width_of(item, options), options["key"]
    forced = check_alike(sources, models_differ=False)
    suites = suites_shared(sources, options["split"], options["suites"])
    lines: dict[str, dict[float, Estimate]] = {}
    labels: dict[tuple[str, float], str] = {}
    for _, rows in data.select(data.restrict(sources, options["split"], suites), item, options["rows"]):
        for row in rows.values():
            level = noise_of(row, key)
            if level is None:
                value = row.settings.get(key, "unset")
                raise ValueError(f"The setting {key} of {row.label} is {value}, which is no level of noise.")
            if (row.name, level) in labels:
                raise ValueError(
                    f"{place(item)}: two rows of {row.name} have {key} = {level:g}: {labels[row.name, level]} and "
                    f"{row.label}; choose with rows, or with the strategies of the sources."
                )
            labels[row.name, level] = row.label
            lines.setdefault(row.name, {})[level] = row.scores[options["split"]].mean
    if not any(level > 0 for line in lines.values() for level in line):
        raise ValueError(f"{place(item)}: no row has a {key} above zero.")
    levels = sorted({level for line in lines.values() for level in line})
    styles = looks(lines)
    height = height_for(len(lines), PANEL)
    page = sheet(width, 1, 1, height)
    axis = page.axes[0]
    shown = {name: {100 * level: line[level] for level in line} for name, line in lines.items()}
    ends = along(axis, shown, styles, 0, logarithmic=False)
    axis.xaxis.set_major_locator(FixedLocator([100 * level for level in levels]))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_xlabel(TITLES.get(key, f"{key.rpartition('.')[2].replace('_', ' ')} (%)"))
    axis.set_ylabel("score (%)")
    name_ends(axis, ends, styles, height)
    note = f"bars: {100 * sources[0].comparison.level:g}% intervals"
    return Drawn(finish(page, sources, note=note, forced=forced), _words(lines, levels, key))


def _words(lines: Mapping[str, Mapping[float, Estimate]], levels: Sequence[float], key: str) -> str:
    parts = []
    for level in levels:
        here = {name: line[level] for name, line in lines.items() if level in line}
        parts.append(f"At {100 * level:g}%: {words.extremes(here)}.")
    losses = {name: line[max(line)].mean - line[min(line)].mean for name, line in lines.items() if len(line) > 1}
    if losses:
        least = max(losses, key=losses.__getitem__)
        parts.append(f"From the least to the most noise {least} changes best ({100 * losses[least]:+.1f} points).")
    return f"Score against {key}. " + " ".join(parts)
