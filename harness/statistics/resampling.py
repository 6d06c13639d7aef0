"""Intervals of any aggregate of seeds x suites: the jackknife over seeds with Student's t, and the bootstrap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from harness.statistics.margins import NOTHING, t_quantile

Aggregate = Callable[..., np.ndarray]


def jackknife_interval(
    aggregate: Aggregate, *tables: ArrayLike, paired: bool = False, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """(estimate, half-width) with one seed left out at a time; tables [..., seeds, suites].

    A seed is left out of all suites together, which keeps their covariance. Variance of one table: (S - 1) / S x sum of
    squared deviations of the S estimates from their mean (Tukey 1958; Efron and Stein 1981). `paired`: the tables have
    the same seeds, which are left out of all of them at once; otherwise variances add up and the degrees of freedom are
    Welch's. NaN half-width where no seed makes a difference. Raises ValueError for fewer than two seeds.
    """
    given = [np.asarray(table, dtype=float) for table in tables]
    if any(table.ndim < 2 or table.shape[-2] < 2 for table in given):
        raise ValueError("The jackknife leaves out one seed at a time and needs at least two.")
    if paired and len({table.shape[-2] for table in given}) > 1:
        raise ValueError("Paired tables need the same seeds.")
    estimate = np.asarray(aggregate(*given))
    groups = [range(len(given))] if paired else [[i] for i in range(len(given))]
    variance, spread = np.zeros_like(estimate), np.zeros_like(estimate)
    for group in groups:
        seeds = given[group[0]].shape[-2]
        left_out = []
        for seed in range(seeds):
            kept = [np.delete(table, seed, axis=-2) if i in group else table for i, table in enumerate(given)]
            left_out.append(aggregate(*kept))
        part = (seeds - 1) * np.var(left_out, axis=0)
        variance = variance + part
        spread = spread + part**2 / (seeds - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        df = variance**2 / spread
    half = t_quantile(1 - level, df) * np.sqrt(variance)
    return estimate, np.where(variance < NOTHING, np.nan, half)


def bootstrap_interval(
    aggregate: Aggregate,
    *tables: ArrayLike,
    unit: Literal["seed", "cell"] = "seed",
    level: float = 0.95,
    repetitions: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap (low, high); every table [seeds, suites] is resampled on its own.

    `unit` "cell" draws the runs of each suite independently (the stratified bootstrap of rliable), "seed" draws whole
    runs. It covers too little with few seeds (`harness validate-statistics` says how little): use it to compare with
    published numbers. Raises ValueError for an unknown unit or no repetition.
    """
    if unit not in ("seed", "cell") or repetitions < 1:
        raise ValueError("A bootstrap needs unit 'seed' or 'cell' and at least one repetition.")
    rng = np.random.default_rng(seed)
    drawn = []
    for table in tables:
        scores = np.asarray(table, dtype=float)
        seeds, suites = scores.shape
        width = 1 if unit == "seed" else suites
        rows = rng.integers(seeds, size=(repetitions, seeds, width))
        drawn.append(scores[rows, np.arange(suites)])
    low, high = np.quantile(aggregate(*drawn), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
