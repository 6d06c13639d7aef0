"""Estimates of a comparison: scores and paired differences with intervals, levels, curves, cost, and what happened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from harness.compare_load import Run
from harness.compare_rows import CurvePoint, Row, Scores
from harness.problem_scores import Matrix, matrix, paired
from harness.statistics.components import components
from harness.statistics.family import holm_array
from harness.statistics.intervals import Estimate, estimates_of

if TYPE_CHECKING:
    import pandas as pd

TOGETHER = 256  # runs whose estimates are made together


@dataclass(eq=False)
class Pending:
    """An estimate that has been asked for; `value` is there after `Batch.solve`."""

    strata: Sequence[np.ndarray]
    value: Estimate | None = None

    def get(self) -> Estimate:
        assert self.value is not None, "ask after Batch.solve"
        return self.value


@dataclass
class Batch:
    """Intervals (`harness.statistics.intervals.crossed_interval`) of many matrices, those of equal shapes in one go."""

    level: float
    waiting: dict[tuple[tuple[int, ...], ...], list[Pending]] = field(default_factory=lambda: defaultdict(list))

    def ask(self, strata: Sequence[np.ndarray]) -> Pending:
        """`strata`: one matrix [seeds, problems] a suite, none of them empty."""
        pending = Pending(strata)
        self.waiting[tuple(stratum.shape for stratum in strata)].append(pending)
        return pending

    def solve(self) -> None:
        for asked in self.waiting.values():
            stacked = [np.stack(suite) for suite in zip(*(pending.strata for pending in asked), strict=True)]
            for pending, value in zip(asked, estimates_of(components(stacked), self.level), strict=True):
                pending.value = value
        self.waiting.clear()


def estimate(rows: Sequence[Row], suites: dict[str, list[str]], level: float) -> None:
    """Fill in scores, levels, curve, cost and reasons of every row; baselines are set before."""
    for part in _parts(rows):
        batch = Batch(level)
        makers = [_ask(row, suites, batch) for row in part]
        batch.solve()
        for finish in makers:
            finish()
    for split, names in suites.items():
        _adjust(rows, split, names)


def _parts(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows in their order, so many at a time that their matrices stay small."""
    parts: list[list[Row]] = []
    room = 0
    for row in rows:
        if room < len(row.runs):
            parts.append([])
            room = TOGETHER
        parts[-1].append(row)
        room -= len(row.runs)
    return parts


def _ask(row: Row, suites: dict[str, list[str]], batch: Batch) -> Callable[[], None]:
    """Asks for every estimate of a row; what is given back fills them in."""
    last = {split: [_matrix(row.runs, suite, row.last, split) for suite in names] for split, names in suites.items()}
    scores = {split: _scores(row, split, suites[split], found, batch) for split, found in last.items()}
    levels = _levels(suites["eval"], last["eval"], batch)
    curve = _curve(row, suites["eval"], batch)

    def finish() -> None:
        row.scores = {split: make() for split, make in scores.items()}
        row.levels, row.mean_levels = levels()
        row.curve = curve()
        row.cost = mean_over(run.cost for run in row.runs)
        row.reasons = mean_over(run.reasons for run in row.runs)

    return finish


def mean_over(records: Iterable[dict[str, float]]) -> dict[str, float]:
    """Mean of each key over the records that have it."""
    values: dict[str, list[float]] = defaultdict(list)
    for record in records:
        for key, value in record.items():
            values[key].append(value)
    return {key: sum(found) / len(found) for key, found in values.items()}


def run_cost(run: Run) -> dict[str, float]:
    """What one run spent up to its last update: ledger, updates and seconds. Unknown keys are absent."""
    return run.cost


def run_reasons(run: Run) -> dict[str, float]:
    """What happened inside one run: means over its first and last quarter of steps, end values, controller share."""
    return run.reasons


def score_matrix(runs: Sequence[Run], suite: str, fraction: str, split: str, level: int | None = None) -> pd.DataFrame:
    """Mean score, shape [runs, problems], of the problems that every run has scored, in problem order."""
    import pandas as pd

    found = _matrix(runs, suite, fraction, split)
    if level is not None:
        found = found.at_level(level)
    return pd.DataFrame(found.values, columns=pd.Index(found.ids, name="problem"))


def _matrix(runs: Sequence[Run], suite: str, fraction: str, split: str) -> Matrix:
    return matrix([run.evaluations[suite, fraction] for run in runs], split)


def _scores(row: Row, split: str, suites: list[str], last: list[Matrix], batch: Batch) -> Callable[[], Scores]:
    for suite, found in zip(suites, last, strict=True):
        if found.empty:
            raise ValueError(f"No problem of {suite} ({split}) is scored in all runs of {row.label}; grade them.")
    by_suite = {suite: batch.ask([found.values]) for suite, found in zip(suites, last, strict=True)}
    mean = batch.ask([found.values for found in last])
    dropped = sum(
        max(len(run.evaluations[suite, row.last].questions.places(split)) for run in row.runs) - found.values.shape[1]
        for suite, found in zip(suites, last, strict=True)
    )
    gain = None
    start = [run.fractions[0] for run in row.runs]
    if all(float(fraction) == 0 for fraction in start) and float(row.last) > 0:
        before = [_matrix(row.runs, suite, start[0], split) for suite in suites]
        strata = _differences(last, before)
        gain = batch.ask(strata) if strata else None
    difference, by_suite_difference = None, {}
    if row.baseline is not None and row.baseline is not row:
        other = {run.seed: run for run in row.baseline.runs}
        own = {run.seed: run for run in row.runs}
        seeds = sorted(own.keys() & other.keys())
        mine = [_matrix([own[seed] for seed in seeds], suite, row.last, split) for suite in suites if seeds]
        theirs = [
            _matrix([other[seed] for seed in seeds], suite, row.baseline.last, split) for suite in suites if seeds
        ]
        strata = _differences(mine, theirs)
        if strata:
            by_suite_difference = {suite: batch.ask([gap]) for suite, gap in zip(suites, strata, strict=True)}
            difference = batch.ask(strata)

    def make() -> Scores:
        return Scores(
            by_suite={suite: pending.get() for suite, pending in by_suite.items()},
            mean=mean.get(),
            gain=gain and gain.get(),
            difference=difference and difference.get(),
            suite_difference={suite: pending.get() for suite, pending in by_suite_difference.items()},
            dropped=dropped,
        )

    return make


def _differences(first: Sequence[Matrix], second: Sequence[Matrix]) -> list[np.ndarray] | None:
    """Differences suite by suite on the problems that both sides have; None where a suite shares none."""
    gaps = []
    for one, other in zip(first, second, strict=True):
        left, right = paired(one, other)
        if not left.shape[1]:
            return None
        gaps.append(left - right)
    return gaps


def _adjust(rows: Sequence[Row], split: str, suites: Sequence[str]) -> None:
    """Holm's correction over the rows for the mean over suites, and over rows and suites for the single suites."""
    compared = [row.scores[split] for row in rows if row.scores[split].difference is not None]
    for scores, p in zip(
        compared, holm_array([scores.difference.p_value for scores in compared]).tolist(), strict=True
    ):
        scores.holm = p
    cells = [(scores, suite) for scores in compared for suite in suites]
    adjusted = holm_array([scores.suite_difference[suite].p_value for scores, suite in cells]).tolist()
    for (scores, suite), p in zip(cells, adjusted, strict=True):
        scores.suite_holm[suite] = p


def _levels(
    suites: Sequence[str], last: Sequence[Matrix], batch: Batch
) -> Callable[[], tuple[dict[str, dict[int, Estimate]], dict[int, Estimate]]]:
    """Score by difficulty: suite -> level -> interval, and the mean over all suites for the levels that each has."""
    parts = {
        suite: {int(level): found.at_level(level).values for level in np.unique(found.levels) if level >= 0}
        for suite, found in zip(suites, last, strict=True)
    }
    by_suite = {suite: {level: batch.ask([part]) for level, part in own.items()} for suite, own in parts.items()}
    shared = sorted(set.intersection(*(set(own) for own in parts.values())))
    means = {level: batch.ask([own[level] for own in parts.values()]) for level in shared}

    def make() -> tuple[dict[str, dict[int, Estimate]], dict[int, Estimate]]:
        return (
            {suite: {level: pending.get() for level, pending in own.items()} for suite, own in by_suite.items()},
            {level: pending.get() for level, pending in means.items()},
        )

    return make


def _curve(row: Row, suites: Sequence[str], batch: Batch) -> Callable[[], list[CurvePoint]]:
    points = []
    for fraction in row.runs[0].fractions:
        if not all((suite, fraction) in run.evaluations for run in row.runs for suite in suites):
            continue
        found = [_matrix(row.runs, suite, fraction, "eval") for suite in suites]
        if not any(one.empty for one in found):
            ledger = mean_over(run.evaluations[suites[0], fraction].ledger for run in row.runs)
            points.append((fraction, ledger, batch.ask([one.values for one in found])))
    return lambda: [CurvePoint(fraction, ledger, pending.get()) for fraction, ledger, pending in points]
