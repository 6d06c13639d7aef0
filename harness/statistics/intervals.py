"""Intervals of a mean score, of a paired difference, and of designs with other problems for each seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from harness.statistics.components import Components, components, paired_differences
from harness.statistics.margins import NOTHING, half_width, p_value, scarce_part, t_quantile


@dataclass(frozen=True)
class Estimate:
    """A mean with its two-sided interval.

    `p_value` tests that the mean is zero by the same method. `df` are the degrees of freedom of the scarce factor.
    `half_width`, `standard_error` and `p_value` are NaN where the data show no spread at all.
    """

    mean: float
    half_width: float
    standard_error: float
    df: float
    p_value: float
    seeds: int
    problems: int

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width

    @property
    def problems_only(self) -> bool:
        """True where one seed gives no view of the spread between seeds."""
        return self.seeds == 1


def crossed_interval(strata: Sequence[ArrayLike], level: float = 0.95) -> Estimate:
    """Interval of the unweighted mean of the suite means; all runs answer the same problems.

    `strata`: one matrix [seeds, problems] a suite, row s being the same training seed in each. It covers the mean over
    all seeds and all problems that might have been drawn; the method is that of `harness.statistics.margins`. Raises
    ValueError for no suite, empty or ragged ones, NaN entries, unequal numbers of seeds, or a level outside (0, 1).
    """
    return estimate_of(components(strata), level)


def paired_interval(first: Sequence[ArrayLike], second: Sequence[ArrayLike], level: float = 0.95) -> Estimate:
    """`crossed_interval` of first - second, entry by entry: paired by seed and by problem, errors clustered by both.

    Raises ValueError where the shapes differ.
    """
    return crossed_interval(paired_differences(first, second), level)


def seed_interval(strata: Sequence[ArrayLike], level: float = 0.95) -> Estimate:
    """Student's t interval over the seed means: what other seeds would give on these very problems.

    It says nothing about other problems of the kind. Raises ValueError for fewer than two seeds.
    """
    parts = components(strata)
    if parts.seeds < 2:
        raise ValueError("An interval over seeds needs at least two of them.")
    return _student(parts.mean, parts.seed_part, parts.seeds - 1, parts.seeds, parts.problems, level)


def nested_interval(strata: Sequence[Sequence[ArrayLike]], level: float = 0.95) -> Estimate:
    """Interval where every seed has problems of its own (drawn anew for each run), not the same ones.

    `strata`: for each suite a list of score vectors, one a seed; their lengths may differ. Problems are nested within
    seeds, so that the seed means hold all the variance: Student's t over the seed means of the suite average, exact
    for normal means and equal numbers (Searle, Casella, McCulloch 1992, ch. 3). Raises ValueError for fewer than two
    seeds, empty vectors, NaN, or unequal numbers of seeds.
    """
    vectors = [[np.asarray(scores, dtype=float) for scores in suite] for suite in strata]
    if not vectors or len({len(suite) for suite in vectors}) > 1 or len(vectors[0]) < 2:
        raise ValueError("A nested interval needs at least one suite, and the same two or more seeds in every suite.")
    flat = [scores for suite in vectors for scores in suite]
    if any(scores.ndim != 1 or scores.size == 0 or np.isnan(scores).any() for scores in flat):
        raise ValueError("Scores of a seed must be a non-empty vector without NaN.")
    means = np.mean([[scores.mean() for scores in suite] for suite in vectors], axis=0)
    seeds = means.size
    problems = sum(scores.size for scores in flat)
    return _student(means.mean(), means.var(ddof=1) / seeds, seeds - 1, seeds, problems, level)


def estimate_of(parts: Components, level: float) -> Estimate:
    """The estimate of one experiment from its components (arrays without leading axes)."""
    (found,) = estimates_of(parts, level)
    return found


def estimates_of(parts: Components, level: float) -> list[Estimate]:
    """The estimates of many experiments from their components, in the order of the flattened leading axes."""
    half = half_width(parts, level)
    scarce, nu, rest, _ = scarce_part(parts)
    unknown = np.isnan(half)
    columns = (
        parts.mean,
        half,
        np.where(unknown, np.nan, np.sqrt(scarce + rest)),
        np.where(unknown, np.nan, nu),
        p_value(parts),
    )
    values = zip(*(np.broadcast_to(column, half.shape).ravel().tolist() for column in columns), strict=True)
    return [Estimate(*value, parts.seeds, parts.problems) for value in values]


def _student(
    mean: np.ndarray | float, variance: np.ndarray | float, df: int, seeds: int, problems: int, level: float
) -> Estimate:
    from scipy.special import stdtr

    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level}.")
    mean, variance = float(mean), float(variance)
    if variance < NOTHING:
        return Estimate(mean, math.nan, math.nan, math.nan, math.nan, seeds, problems)
    error = math.sqrt(variance)
    half = float(t_quantile(1 - level, df)) * error
    return Estimate(mean, half, error, float(df), float(2 * stdtr(df, -abs(mean) / error)), seeds, problems)
