"""Aggregates over seeds x suites, by the definitions of Agarwal et al. 2021 (arXiv 2108.13264, `rliable`).

Scores have shape [..., seeds, suites]: one row a training run, one column a suite. Leading axes hold independent
experiments. An aggregate over the runs of one suite trims nothing at 3 seeds: the interquartile mean wants several
suites.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def mean(scores: ArrayLike) -> np.ndarray:
    """Mean over suites of the mean over seeds."""
    return _table(scores).mean(axis=(-2, -1))


def median(scores: ArrayLike) -> np.ndarray:
    """Median over suites of the mean over seeds."""
    return np.median(_table(scores).mean(axis=-2), axis=-1)


def interquartile_mean(scores: ArrayLike) -> np.ndarray:
    """Mean of what is left of all seed x suite scores without the lowest and the highest quarter (rounded down)."""
    table = _table(scores)
    flat = np.sort(table.reshape(*table.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    return flat[..., cut : flat.shape[-1] - cut].mean(axis=-1)


def optimality_gap(scores: ArrayLike, target: float = 1.0) -> np.ndarray:
    """How far the scores stay below `target` on average; what lies above it counts as reaching it."""
    return target - np.minimum(_table(scores), target).mean(axis=(-2, -1))


def probability_of_improvement(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Probability that a run of `first` beats one of `second` on a suite, ties counting one half: mean over suites.

    The Mann-Whitney statistic over the number of pairs. The numbers of seeds may differ; raises ValueError where the
    suites do.
    """
    left, right = _table(first), _table(second)
    if left.shape[-1] != right.shape[-1]:
        raise ValueError("The probability of improvement needs the same suites on both sides.")
    gap = left[..., :, None, :] - right[..., None, :, :]
    return ((gap > 0) + 0.5 * (gap == 0)).mean(axis=(-3, -2, -1))


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> np.ndarray:
    """Share of seed x suite scores above each threshold, shape [..., thresholds]; a curve that never rises."""
    table = _table(scores)
    return (table[..., None] > np.asarray(thresholds, dtype=float)).mean(axis=(-3, -2))


def _table(scores: ArrayLike) -> np.ndarray:
    table = np.asarray(scores, dtype=float)
    if table.ndim < 2 or 0 in table.shape:
        raise ValueError(f"Scores must be a non-empty table [seeds, suites]; got shape {table.shape}.")
    if np.isnan(table).any():
        raise ValueError("Scores hold NaN; aggregate only runs that have a score in every suite.")
    return table
