"""The table of a tuning: tuned and default side by side, what was chosen, and what the search cost and showed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.settings import toml_value
from harness.statistics.family import holm_family
from harness.table_formats import DAGGER, Cell, Column, Table, latex_table, markdown_table, write_csv
from harness.tune import common_spec
from harness.tune_record import Found, Report, path_for

if TYPE_CHECKING:
    from harness.statistics.intervals import Estimate

COLUMNS = [
    Column("strategy", "strategy", "text"),
    Column("default", "default %", "percent"),
    Column("tuned", "tuned %", "percent"),
    Column("difference", "tuned - default", "signed"),
    Column("chosen", "chosen", "text"),
    Column("default_setting", "default setting", "text"),
    Column("validation", "score of trials %", "percent"),
    Column("best_trial", "best trial %", "percent"),
    Column("median_trial", "median trial %", "percent"),
    Column("worst_trial", "worst trial %", "percent"),
    Column("failed", "failed trials", "count"),
    Column("pruned", "pruned trials", "count"),
    Column("flops", "FLOPs of trials", "scientific"),
    Column("saved_flops", "FLOPs saved", "scientific"),
]
SIGNIFICANT = 0.05
UNITS = {"updates": "updates", "generated_tokens": "generated tokens", "flops": "FLOPs", "seconds": "seconds"}
EDGE_MARK = {"low": "low edge", "high": "high edge"}


def table(report: Report) -> Table:
    """A row a strategy, in the order of the file."""
    tested = {found.strategy: found.difference.p_value for found in report.strategies if found.difference}
    adjusted = holm_family(report.tuning.strategies, tested)
    rows = [_row(found, adjusted[found.strategy]) for found in report.strategies]
    title = f"Tuned and default settings: {report.tuning.name}"
    return Table(f"{report.tuning.name}.tuning", title, COLUMNS, rows, _notes(report))


def _row(found: Found, p: float) -> list[Cell]:
    tuned, default = (found.settings[name].score for name in ("tuned", "default"))
    best = found.choice.best.cell
    chosen = f"default ({_values(best.parameters)})" if best.default else _values(best.parameters)
    if found.edges:
        chosen += "; " + ", ".join(f"{_short(key)} at the {EDGE_MARK[side]}" for key, side in found.edges.items())
    spread = found.spread
    return [
        Cell(found.strategy),
        _cell(default),
        _cell(tuned),
        _difference(found.difference, p),
        Cell(chosen),
        Cell(_values(found.default)),
        Cell(found.choice.score),
        Cell(spread["best"]),
        Cell(spread["median"]),
        Cell(spread["worst"]),
        Cell(float(sum(o.state == "failed" for o in found.outcomes))),
        Cell(float(sum(o.state == "pruned" for o in found.outcomes))),
        Cell(found.flops),
        Cell(found.saved),
    ]


def _cell(estimate: Estimate | None) -> Cell:
    if estimate is None:
        return Cell()
    return Cell(estimate.mean, estimate, mark=DAGGER if estimate.problems_only else "")


def _difference(estimate: Estimate | None, p: float) -> Cell:
    """`p`: adjusted; NaN where there is none."""
    if estimate is None:
        return Cell()
    mark = DAGGER if estimate.problems_only else ""
    return Cell(estimate.mean, estimate, p, mark + ("*" if p < SIGNIFICANT else ""))


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{_short(key)} {'none' if value is None else toml_value(value)}" for key, value in values.items())


def _short(key: str) -> str:
    return key.rpartition(".")[2]


def _notes(report: Report) -> list[str]:
    tuning, search = report.tuning, report.tuning.search
    budget = common_spec(tuning, tuning.strategies[0]).budget
    drawn = {"qmc": "scrambled Sobol points", "tpe": "quasi-random points, then TPE"}[search.sampler]
    default = ", the first of which is the default setting" if search.include_default else ""
    studies = "1 study" if search.studies == 1 else f"{search.studies} studies"
    notes = [
        f"Every strategy: {studies} of {search.trials} trials{default}; {drawn}; each trial a budget of "
        f"{budget.limit:g} {UNITS[budget.kind]}. The score of the trials is the median over studies of the "
        "best one; a trial that failed or was pruned counts 0 and takes part.",
        _spaces(report),
        f"Default and tuned: runs on {len(tuning.rerun_seeds)} fresh seeds; 95% intervals over seeds and problems; "
        "differences are paired by both, * where significant (p < 0.05, Holm's correction over strategies). Trials "
        "were scored on other problems"
        + _left_out(report.left_out)
        + f". {DAGGER} one seed: the interval covers problems only.",
    ]
    if search.pruner != "none":
        notes.append(
            f"Pruned by the median of the trials so far, after {search.warmup_trials} of them and "
            f"{search.warmup_fraction:g} of the budget."
        )
    edges = [found.strategy for found in report.strategies if found.edges]
    if edges:
        notes.append(
            f"On the edge of the search space (within a tenth of the range): {', '.join(edges)}; a better setting may "
            "lie beyond."
        )
    for found in report.strategies:
        for name, setting in found.settings.items():
            if setting.failed and not (name == "tuned" and found.choice.best.cell.default):
                notes.append(f"{found.strategy}, {name}: {len(setting.failed)} of {len(setting.runs)} re-runs failed.")
    return notes


def _spaces(report: Report) -> str:
    """What was searched, and by whom if not all searched the same."""
    tuning = report.tuning
    groups: dict[str, list[str]] = {}
    for strategy, space in tuning.spaces.items():
        text = "; ".join(f"{parameter.key} {parameter.describe()}" for parameter in space)
        groups.setdefault(text, []).append(strategy)
    sizes = sorted({len(space) for space in tuning.spaces.values()})
    size = f"{sizes[0]} in every strategy" if len(sizes) == 1 else f"UNEQUAL, {sizes[0]} to {sizes[-1]}"
    parts = [f"{', '.join(names)}: {text}" if len(groups) > 1 else text for text, names in groups.items()]
    return f"Searched dimensions: {size}. " + ". ".join(parts) + "."


def _left_out(left_out: Mapping[str, int]) -> str:
    shared = [f"{count} of {suite}" for suite, count in left_out.items() if count]
    return f"; final problems that trials had as well are left out here ({', '.join(shared)})" if shared else ""


def write(report: Report, results: Path) -> list[Path]:
    """NAME.tuning.md, .csv and .tex beside the re-runs; returns their paths."""
    made = table(report)
    paths = [path_for(report.tuning, results, ending) for ending in ("md", "csv", "tex")]
    paths[0].write_text(markdown_table(made), encoding="utf-8")
    write_csv(made, paths[1], forced=False)
    paths[2].write_text(latex_table(made, [], []), encoding="utf-8")
    return paths


__all__ = ["table", "write"]
