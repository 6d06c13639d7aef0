"""Aggregates over seeds x suites with bootstrap intervals, and each row against the baseline.

Definitions: Agarwal et al. 2021 (arXiv 2108.13264) for the aggregates, the stratified bootstrap (runs drawn anew in
every suite) and the probability of improvement; Cohen's d_z over seed means; the rest as in `harness.statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.compare import Comparison
from harness.compare_estimates import score_matrix
from harness.compare_rows import Row
from harness.report.contrasts import matrices
from harness.report.document import Source
from harness.report.options import choice, read
from harness.report.spec import Item
from harness.report.tables.layout import Bounded, bounded, per_source, restricted
from harness.statistics import aggregates as measures
from harness.statistics.components import components, paired_differences
from harness.statistics.design import Design
from harness.statistics.effects import paired_dz
from harness.statistics.resampling import Aggregate, bootstrap_interval
from harness.table_formats import Cell, Column, Table
from harness.tables import LABEL, estimate_cell, estimate_notes

OPTIONS = {"split": "eval", "suites": [], "columns": ["all"], "repetitions": 2000, "target": 1.0, "power": 0.8}
SCORES = ("iqm", "median", "mean", "optimality_gap")
AGAINST = ("improvement", "difference", "p_holm", "dz", "detectable", "detectable_holm")


def build(sources: Sequence[Source], item: Item) -> Table:
    """One line a row.

    Options: split; suites, default all; columns, some of iqm, median, mean, optimality_gap, improvement, difference,
    p_holm, dz, detectable, detectable_holm, default all; repetitions of the bootstrap; target of the optimality gap;
    power of the detectable difference. Columns against the baseline are left out where there is none.
    """
    options = read(item, OPTIONS)
    wanted = [choice(item, "columns", name, ("all", *SCORES, *AGAINST)) for name in options["columns"]]
    wanted = [*SCORES, *AGAINST] if "all" in wanted else wanted
    return per_source(
        sources, item, lambda found: _table(restricted(found, options["split"], options["suites"]), wanted, options)
    )


def score_table(row: Row, split: str, suites: Sequence[str]) -> np.ndarray:
    """Mean scores of the row's runs at its last evaluation, [seeds, suites], of problems scored under every seed."""
    return np.stack([score_matrix(row.runs, suite, row.last, split).mean(axis=1).to_numpy() for suite in suites], -1)


def _table(comparison: Comparison, wanted: Sequence[str], options: dict) -> Table:
    split, level, baseline = options["split"], comparison.level, comparison.baseline
    headers = {
        "iqm": "IQM", "median": "median", "mean": "mean", "optimality_gap": "optimality gap",
        "improvement": f"P(better than {baseline})", "difference": f"minus {baseline}", "p_holm": "p (Holm)",
        "dz": "d_z", "detectable": "detectable", "detectable_holm": "detectable (Holm)",
    }  # fmt: skip
    kinds = {"difference": "signed", "p_holm": "number", "detectable": "percent", "detectable_holm": "percent"}
    shown = [name for name in wanted if baseline is not None or name in SCORES]
    columns = [LABEL, Column("seeds", "seeds", "count")]
    columns += [Column(name, headers[name], kinds.get(name, "text")) for name in shown]  # type: ignore[arg-type]
    rows = []
    for row in comparison.rows:
        found = {**_scores(comparison, row, options), **_against(comparison, row, options)}
        rows.append([Cell(row.label), Cell(float(len(row.runs))), *(found.get(name, Cell()) for name in shown)])
    where = "" if split == "eval" else f" of the split {split}"
    first = (
        f"In percent{where}, at the last evaluation; in brackets {100 * level:g}% intervals: stratified bootstrap over "
        f"the seeds of each suite, {options['repetitions']} draws, which covers too little with few seeds."
    )
    notes = estimate_notes(comparison, rows, first)
    remarks = {
        "iqm": "IQM: mean of all seeds x suites without the lowest and the highest quarter.",
        "median": "Median: of the suites' means.",
        "optimality_gap": f"Optimality gap: what is missing to {100 * options['target']:g}, on average.",
        "improvement": f"{headers['improvement']}: of a random run against a random run of {baseline} on a random "
        "suite; ties count half.",
        "difference": "Difference: paired by seed and problem, with the interval over both.",
        "dz": "d_z: mean difference of the seeds over its standard deviation, corrected for few seeds; its interval is "
        "from the noncentral t distribution.",
        "detectable": f"Detectable: the smallest true difference in points that this design finds with probability "
        f"{100 * options['power']:g}%.",
        "detectable_holm": "Detectable (Holm): the same at the first step of the correction over "
        f"{_family(comparison, split)} comparisons.",
    }
    notes += [" ".join(remarks[name] for name in shown if name in remarks)]
    return Table("aggregates", "Aggregates", columns, rows, notes)


def _scores(comparison: Comparison, row: Row, options: dict) -> dict[str, Cell]:
    table = score_table(row, options["split"], comparison.suites[options["split"]])
    target = options["target"]
    functions: dict[str, Aggregate] = {
        "iqm": measures.interquartile_mean,
        "median": measures.median,
        "mean": measures.mean,
        "optimality_gap": lambda scores: measures.optimality_gap(scores, target),
    }
    return {name: _resampled(function, comparison.level, options, table) for name, function in functions.items()}


def _resampled(aggregate: Aggregate, level: float, options: dict, *tables: np.ndarray, scale: float = 100.0) -> Bounded:
    """Value and bounds; no bounds where one seed leaves nothing to draw."""
    value = float(aggregate(*tables))
    if min(len(table) for table in tables) < 2:
        return bounded(value, math.nan, math.nan, scale)
    repetitions = options["repetitions"]
    low, high = bootstrap_interval(aggregate, *tables, unit="cell", level=level, repetitions=repetitions)
    return bounded(value, low, high, scale)


def _against(comparison: Comparison, row: Row, options: dict) -> dict[str, Cell]:
    split, level = options["split"], comparison.level
    if row.baseline in (None, row):
        return {}
    suites = comparison.suites[split]
    tables = [score_table(one, split, suites) for one in (row, row.baseline)]
    found: dict[str, Cell] = {
        "improvement": _resampled(measures.probability_of_improvement, level, options, *tables),
        "difference": estimate_cell(row.scores[split].difference, row.scores[split].holm),
        "p_holm": Cell(row.scores[split].holm),
    }
    paired = matrices([row, row.baseline], split, suites)
    if paired is None:
        return found
    seed_means = [np.mean([suite.mean(axis=1) for suite in strata], axis=0) for strata in paired]
    if len(seed_means[0]) > 1:
        effect = paired_dz(*seed_means, level=level)
        found["dz"] = bounded(effect.value, effect.low, effect.high, scale=1.0, digits=2)
    design = Design.of(components(paired_differences(*paired)))
    found["detectable"] = Cell(design.detectable(options["power"], 1 - level))
    found["detectable_holm"] = Cell(design.detectable(options["power"], (1 - level) / _family(comparison, split)))
    return found


def _family(comparison: Comparison, split: str) -> int:
    """Number of comparisons with the baseline that Holm's correction is over."""
    return sum(row.scores[split].difference is not None for row in comparison.rows)
