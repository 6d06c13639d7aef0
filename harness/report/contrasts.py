"""Linear contrasts of rows, paired by seed and problem: differences, and slopes over sizes or noise levels.

A contrast sum_j w_j x_j is formed for every seed and problem before anything is averaged, so that the interval of its
mean over seeds, problems and suites is that of `harness.statistics.intervals`, validated for crossed seeds and
problems. It holds for any correlation between the rows, since that is in the spread of the contrast itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.compare_estimates import score_matrix
from harness.statistics.family import holm_array
from harness.statistics.intervals import Estimate, crossed_interval

if TYPE_CHECKING:
    from harness.compare_load import Run
    from harness.compare_rows import Row


def matrices(rows: Sequence[Row], split: str, suites: Sequence[str]) -> list[list[np.ndarray]] | None:
    """Scores at the last evaluations as [row][suite], each [seeds, problems]: shared seeds, shared problems, in order.

    None where the rows share no seed, or in some suite no problem that is scored under every seed.
    """
    runs = shared_runs(rows)
    if not runs[0]:
        return None
    found: list[list[np.ndarray]] = [[] for _ in rows]
    for suite in suites:
        frames = [score_matrix(of_row, suite, row.last, split) for of_row, row in zip(runs, rows, strict=True)]
        problems = sorted(set.intersection(*(set(frame.columns) for frame in frames)))
        if not problems:
            return None
        for strata, frame in zip(found, frames, strict=True):
            strata.append(frame[problems].to_numpy())
    return found


def shared_runs(rows: Sequence[Row]) -> list[list[Run]]:
    """The runs of every row under the seeds that all rows have, ascending."""
    by_seed = [{run.seed: run for run in row.runs} for row in rows]
    seeds = sorted(set.intersection(*(set(runs) for runs in by_seed)))
    return [[runs[seed] for seed in seeds] for runs in by_seed]


def contrast(
    rows: Sequence[Row], weights: Sequence[float], split: str, suites: Sequence[str], level: float
) -> Estimate | None:
    """sum_j weights_j x score of row j, unweighted mean over suites; None where nothing can be paired."""
    strata = matrices(rows, split, suites)
    if strata is None:
        return None
    combined = [
        sum(weight * matrix for weight, matrix in zip(weights, of_suite, strict=True))
        for of_suite in zip(*strata, strict=True)
    ]
    return crossed_interval(combined, level)


def slope_weights(places: Sequence[float]) -> list[float]:
    """Weights of the least-squares slope over `places`: (x_j - mean) / sum (x - mean)^2."""
    centred = np.asarray(places, dtype=float) - np.mean(places)
    return (centred / (centred**2).sum()).tolist()


def adjusted(estimates: Sequence[Estimate | None]) -> list[float | None]:
    """Holm's p-values over the estimates that there are, in their order."""
    values = [estimate.p_value for estimate in estimates if estimate is not None]
    found = iter(holm_array(values).tolist() if values else [])
    return [None if estimate is None else next(found) for estimate in estimates]
