"""Estimates of a comparison: scores and paired differences with intervals, levels, curves, cost, and what happened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from harness.compare_load import Run
from harness.compare_rows import CurvePoint, Row, Scores
from harness.statistics.intervals import crossed_interval, paired_interval
from harness.stats import Interval, holm

LEDGER = ("prompts", "generated_tokens", "trained_tokens_rollout", "trained_tokens_demo", "flops")


def estimate(rows: Sequence[Row], suites: dict[str, list[str]], level: float) -> None:
    """Fill in scores, levels, curve, cost and reasons of every row; baselines are set before."""
    for row in rows:
        row.scores = {split: _scores(row, split, names, level) for split, names in suites.items()}
        row.levels, row.mean_levels = _levels(row, suites["eval"], level)
        row.curve = _curve(row, suites["eval"], level)
        row.cost = mean_over(run_cost(run) for run in row.runs)
        row.reasons = mean_over(run_reasons(run) for run in row.runs)
    for split, names in suites.items():
        _adjust(rows, split, names)


def mean_over(records: Iterable[dict[str, float]]) -> dict[str, float]:
    """Mean of each key over the records that have it."""
    values: dict[str, list[float]] = defaultdict(list)
    for record in records:
        for key, value in record.items():
            values[key].append(value)
    return {key: float(np.mean(found)) for key, found in values.items()}


def run_cost(run: Run) -> dict[str, float]:
    """What one run spent up to its last update: ledger, updates and seconds. Unknown keys are absent."""
    cost = {}
    if len(run.metrics):
        cost["updates"] = float(run.metrics.index[-1])
        last = run.metrics.ffill().iloc[-1]
        cost |= {key: float(last[key]) for key in LEDGER if key in last and not np.isnan(last[key])}
    if "cumulative_seconds" in run.timing:
        cost["seconds"] = float(run.timing["cumulative_seconds"].dropna().iloc[-1])
    return cost


def run_reasons(run: Run) -> dict[str, float]:
    """What happened inside one run: means over its first and last quarter of steps, end values, controller share."""
    metrics = run.metrics
    quarter = max(1, len(metrics) // 4)

    def column(key: str) -> pd.Series:
        return metrics[key] if key in metrics else pd.Series(dtype=float)

    values = {
        "effective_mix_first": column("effective_mix").head(quarter).mean(),
        "effective_mix_last": column("effective_mix").tail(quarter).mean(),
        "mu_last": _last(column("mu")),
        "large_dmu_events": _last(column("large_dmu_events")),
        "kl_last": _last(column("kl")),
        "kl_drift_area": _last(column("kl_drift_area")),
        "entropy_first": column("entropy").head(quarter).mean(),
        "entropy_last": column("entropy").tail(quarter).mean(),
        "response_length_last": column("response_length").tail(quarter).mean(),
        "truncated_last": column("truncated").tail(quarter).mean(),
        "reward_last": column("reward").tail(quarter).mean(),
        "grad_norm": column("grad_norm").mean(),
        "mismatch": column("mismatch").mean(),
    }
    if "controller" in run.timing and "seconds" in run.timing and run.timing["seconds"].sum() > 0:
        values["controller_share"] = run.timing["controller"].sum() / run.timing["seconds"].sum()
    return {key: float(value) for key, value in values.items() if not np.isnan(value)}


def _last(values: pd.Series) -> float:
    known = values.dropna()
    return float(known.iloc[-1]) if len(known) else float("nan")


def score_matrix(runs: Sequence[Run], suite: str, fraction: str, split: str, level: int | None = None) -> pd.DataFrame:
    """Mean score, shape [runs, problems], of the problems that every run has scored, in problem order."""
    columns = []
    for run in runs:
        problems = run.evaluations[suite, fraction].problems
        chosen = problems["split"] == split
        if level is not None:
            chosen &= problems["level"] == level
        columns.append(problems.loc[chosen, "score"])
    return pd.concat(columns, axis=1).T.dropna(axis="columns").sort_index(axis="columns")


def _interval(matrices: Sequence[pd.DataFrame], level: float) -> Interval:
    return crossed_interval([matrix.to_numpy() for matrix in matrices], level)


def _paired(
    first: Sequence[pd.DataFrame], second: Sequence[pd.DataFrame], level: float
) -> tuple[dict[int, Interval], Interval] | None:
    """Paired differences stratum by stratum and in the mean; None where a stratum shares no problem."""
    left, right = [], []
    for a, b in zip(first, second, strict=True):
        shared = a.columns.intersection(b.columns, sort=True)
        if shared.empty:
            return None
        left.append(a[shared].to_numpy())
        right.append(b[shared].to_numpy())
    alone = {i: paired_interval([a], [b], level) for i, (a, b) in enumerate(zip(left, right, strict=True))}
    return alone, paired_interval(left, right, level)


def _scores(row: Row, split: str, suites: list[str], level: float) -> Scores:
    matrices = [score_matrix(row.runs, suite, row.last, split) for suite in suites]
    for suite, matrix in zip(suites, matrices, strict=True):
        if matrix.empty:
            raise ValueError(f"No problem of {suite} ({split}) is scored in all runs of {row.label}; grade them.")
    sizes = [
        max(int((run.evaluations[suite, row.last].problems["split"] == split).sum()) for run in row.runs)
        for suite in suites
    ]
    scores = Scores(
        by_suite={suite: _interval([matrix], level) for suite, matrix in zip(suites, matrices, strict=True)},
        mean=_interval(matrices, level),
        dropped=sum(size - matrix.shape[1] for size, matrix in zip(sizes, matrices, strict=True)),
    )
    start = [run.fractions[0] for run in row.runs]
    if all(float(fraction) == 0 for fraction in start) and float(row.last) > 0:
        before = [score_matrix(row.runs, suite, start[0], split) for suite in suites]
        paired = _paired(matrices, before, level)
        scores.gain = paired[1] if paired else None
    if row.baseline is not None and row.baseline is not row:
        other = {run.seed: run for run in row.baseline.runs}
        own = {run.seed: run for run in row.runs}
        seeds = sorted(own.keys() & other.keys())
        if seeds:
            paired = _paired(
                [score_matrix([own[seed] for seed in seeds], suite, row.last, split) for suite in suites],
                [score_matrix([other[seed] for seed in seeds], suite, row.baseline.last, split) for suite in suites],
                level,
            )
            if paired:
                scores.suite_difference = {suite: paired[0][i] for i, suite in enumerate(suites)}
                scores.difference = paired[1]
    return scores


def _adjust(rows: Sequence[Row], split: str, suites: Sequence[str]) -> None:
    """Holm's correction over the rows for the mean over suites, and over rows and suites for the single suites."""
    compared = [row.scores[split] for row in rows if row.scores[split].difference is not None]
    for scores, p in zip(compared, holm([scores.difference.p_value for scores in compared]), strict=True):
        scores.holm = p
    cells = [(scores, suite) for scores in compared for suite in suites]
    adjusted = holm([scores.suite_difference[suite].p_value for scores, suite in cells])
    for (scores, suite), p in zip(cells, adjusted, strict=True):
        scores.suite_holm[suite] = p


def _levels(
    row: Row, suites: Sequence[str], level: float
) -> tuple[dict[str, dict[int, Interval]], dict[int, Interval]]:
    """Score by difficulty: suite -> level -> interval, and the mean over all suites for the levels that each has."""
    matrices: dict[int, dict[str, pd.DataFrame]] = defaultdict(dict)
    for suite in suites:
        found = row.runs[0].evaluations[suite, row.last].problems["level"].dropna().unique()
        for difficulty in sorted(int(value) for value in found):
            matrix = score_matrix(row.runs, suite, row.last, "eval", difficulty)
            if not matrix.empty:
                matrices[difficulty][suite] = matrix
    by_suite: dict[str, dict[int, Interval]] = {suite: {} for suite in suites}
    for difficulty, of_suites in sorted(matrices.items()):
        for suite, matrix in of_suites.items():
            by_suite[suite][difficulty] = _interval([matrix], level)
    means = {
        difficulty: _interval(list(of_suites.values()), level)
        for difficulty, of_suites in sorted(matrices.items())
        if len(of_suites) == len(suites)
    }
    return by_suite, means


def _curve(row: Row, suites: Sequence[str], level: float) -> list[CurvePoint]:
    points = []
    for fraction in row.runs[0].fractions:
        if not all((suite, fraction) in run.evaluations for run in row.runs for suite in suites):
            continue
        matrices = [score_matrix(row.runs, suite, fraction, "eval") for suite in suites]
        if any(matrix.empty for matrix in matrices):
            continue
        ledger = mean_over(run.evaluations[suites[0], fraction].ledger for run in row.runs)
        points.append(CurvePoint(fraction, ledger, _interval(matrices, level)))
    return points
