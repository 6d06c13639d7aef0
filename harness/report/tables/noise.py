"""Score against a level of noise: the loss against the clean cell, its slope, and how the order changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.compare_checks import cost_warnings
from harness.compare_rows import Row
from harness.report.contrasts import adjusted, contrast, slope_weights
from harness.report.document import Source
from harness.report.grid import check_alike, suites_shared
from harness.report.options import place, read
from harness.report.spec import Item
from harness.report.tables.layout import FORCED, all_notes, named, restricted
from harness.statistics.intervals import Estimate
from harness.table_formats import Cell, Column, Table
from harness.tables import LABEL, estimate_cell

OPTIONS = {"key": str, "split": "eval", "suites": []}
STEP = 0.1  # of noise, for slopes


def build(sources: Sequence[Source], item: Item) -> Table:
    """One line a strategy that was run at two or more levels, levels ascending; rows of all sources are pooled.

    Options: key, the setting that is the level of noise, such as "data.demo_noise"; split; suites, default all that
    the sources share. The clean cell is the lowest level that the strategy has. Raises ValueError for a setting that
    rows lack or that is no number, two rows of a strategy at one level, fewer than two levels, or sources that are not
    comparable with each other.
    """
    options = read(item, OPTIONS)
    split, key = options["split"], options["key"]
    reasons = check_alike(sources, models_differ=False)
    suites = suites_shared(sources, split, options["suites"])
    comparisons = [restricted(source.comparison, split, suites) for source in sources]
    cells = _cells([row for comparison in comparisons for row in comparison.rows], key, item)
    single = [name for name, found in cells.items() if len(found) < 2]
    cells = {name: found for name, found in cells.items() if len(found) > 1}
    levels = sorted({level for found in cells.values() for level in found})
    if not cells:
        raise ValueError(f"{place(item)}: no strategy was run at two levels of {key}.")

    level, baseline = comparisons[0].level, comparisons[0].baseline
    slopes = [_slope(found, {}, split, suites, level) for found in cells.values()]
    base = cells.get(baseline or "", {})
    against = [
        _slope(found, base, split, suites, level) if found is not base and base else None for found in cells.values()
    ]
    ranks = _ranks(cells, levels, split)
    lines = []
    for (name, found), slope, gap, p in zip(cells.items(), slopes, against, adjusted(against), strict=True):
        line = [Cell(name), *(estimate_cell(found[at].scores[split].mean if at in found else None) for at in levels)]
        line += [estimate_cell(_loss(found, at, split, suites, level)) for at in levels[1:]]
        line += [estimate_cell(slope), estimate_cell(gap, p)]
        lines.append([*line, *(Cell(ranks[at].get(name)) for at in levels)])
    notes = all_notes(comparisons, lines, _first(key, level, split, suites))
    missing = [f"{name} at {at:g}" for name, found in cells.items() for at in levels if at not in found]
    notes += [f"Not run: {', '.join(missing)}."] if missing else []
    notes += [f"At one level only, not shown: {', '.join(single)}."] if single else []
    notes += cost_warnings([row for found in cells.values() for row in found.values()])
    notes += [f"{FORCED} {reason}" for reason in reasons]
    return named(Table("noise", f"Score against {key}", _columns(levels, baseline), lines, notes), item)


def noise_of(row: Row, key: str) -> float | None:
    """The row's level of noise; None where it has no such setting or it is no number."""
    try:
        return float(row.settings[key])
    except (KeyError, ValueError):
        return None


def _cells(rows: Sequence[Row], key: str, item: Item) -> dict[str, dict[float, Row]]:
    """Strategy or arm -> level -> row, levels ascending."""
    found: dict[str, dict[float, Row]] = {}
    for row in rows:
        at = noise_of(row, key)
        if at is None:
            value = row.settings.get(key, "unset")
            raise ValueError(f"{place(item)}: the setting {key} of {row.label} is {value}, which is no level of noise.")
        if at in found.setdefault(row.name, {}):
            raise ValueError(
                f"{place(item)}: two rows of {row.name} have {key} = {at:g}: {found[row.name][at].label} and "
                f"{row.label}; choose with strategies or sources."
            )
        found[row.name][at] = row
    return {name: dict(sorted(of_name.items())) for name, of_name in sorted(found.items())}


def _loss(found: Mapping[float, Row], at: float, split: str, suites: Sequence[str], level: float) -> Estimate | None:
    clean = min(found)
    if at == clean or at not in found:
        return None
    return contrast([found[at], found[clean]], [1.0, -1.0], split, suites, level)


def _slope(
    found: Mapping[float, Row], base: Mapping[float, Row], split: str, suites: Sequence[str], level: float
) -> Estimate | None:
    """Change of the score for `STEP` of noise, minus that of `base` over the levels that both have."""
    levels = [at for at in found if not base or at in base]
    if len(levels) < 2:
        return None
    weights = [STEP * weight for weight in slope_weights(levels)]
    rows = [found[at] for at in levels] + ([base[at] for at in levels] if base else [])
    return contrast(rows, weights + ([-weight for weight in weights] if base else []), split, suites, level)


def _ranks(
    cells: Mapping[str, Mapping[float, Row]], levels: Sequence[float], split: str
) -> dict[float, dict[str, float]]:
    """Rank of every strategy at each level by mean score, 1 the best; equal scores share the mean of their ranks."""
    ranks: dict[float, dict[str, float]] = {}
    for at in levels:
        scores = {name: found[at].scores[split].mean.mean for name, found in cells.items() if at in found}
        ranks[at] = {
            name: 1 + sum(other > score for other in scores.values()) + (list(scores.values()).count(score) - 1) / 2
            for name, score in scores.items()
        }
    return ranks


def _columns(levels: Sequence[float], baseline: str | None) -> list[Column]:
    columns = [LABEL, *(Column(f"score_{at:g}", f"noise {at:g}", "percent") for at in levels)]
    columns += [Column(f"loss_{at:g}", f"change at {at:g}", "signed") for at in levels[1:]]
    columns += [Column("slope", "slope", "signed"), Column("slope_difference", f"slope minus {baseline}", "signed")]
    return [*columns, *(Column(f"rank_{at:g}", f"rank at {at:g}", "number") for at in levels)]


def _first(key: str, level: float, split: str, suites: Sequence[str]) -> str:
    where = "" if split == "eval" else f" of the split {split}"
    return (
        f"avg@k{where} in percent at the last evaluation, mean over {', '.join(suites)}, +/- half-width of the "
        f"{100 * level:g}% interval over seeds and problems; noise is {key}. Change: against the strategy's lowest "
        f"level, paired by seed and problem. Slope: least squares over the levels, in points for {100 * STEP:g} points "
        "of noise, formed for every seed and problem; its difference to the baseline's is paired too, p by Holm over "
        "the strategies. Rank: by mean score among these strategies."
    )
