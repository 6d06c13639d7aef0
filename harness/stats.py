"""Statistics of evaluations: avg@k, pass@k, cons@k, clustered errors, seed x problem intervals, Holm's correction.

Scores are numbers in [0, 1]. A score matrix has shape [seeds, problems]; each entry is the mean score of the samples
of one problem under one training seed.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student_t


@dataclass(frozen=True)
class Interval:
    """A mean with its two-sided t interval.

    `half_width` is NaN where the data hold no information on the spread (a single observation, or all of them equal).
    `seeds` and `problems` are the counts behind the mean; with one seed the interval covers problems only.
    """

    mean: float
    half_width: float
    standard_error: float
    df: float
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

    @property
    def p_value(self) -> float:
        """Two-sided p-value of the hypothesis that the mean is zero; NaN where the interval is undefined."""
        if math.isnan(self.standard_error):
            return math.nan
        return float(2 * student_t.sf(abs(self.mean) / self.standard_error, self.df))


def avg_at_k(scores: ArrayLike) -> float:
    """Mean over problems of the mean over samples; `scores` [problems, samples], NaN for an unscored sample.

    A problem without any scored sample is left out. Raises ValueError where nothing is scored.
    """
    means = _problem_means(scores)
    if means.size == 0:
        raise ValueError("avg@k needs at least one scored sample; none was given.")
    return float(means.mean())


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased probability that one of k samples is correct, from c correct among n: 1 - C(n-c, k) / C(n, k).

    NaN (undefined) where n < k. Source: Chen et al. 2021, arXiv 2107.03374, Eq. 1. Raises ValueError unless
    0 <= c <= n and k >= 1.
    """
    if k < 1 or not 0 <= c <= n:
        raise ValueError(f"pass@k needs k >= 1 and 0 <= c <= n; got n={n}, c={c}, k={k}.")
    if n < k:
        return math.nan
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def cons_at_k(answers: Sequence[Hashable | None], scores: Sequence[float]) -> float:
    """Expected score of the answer that most of the samples of one problem give (majority vote, self-consistency).

    answers[i] stands for the answer of sample i, equal ones for the same answer; None casts no vote. An answer's score
    is the mean of `scores` over the samples that give it. Where several answers have the most votes each of them is
    taken with the same probability, so that the result is the mean of their scores. 0 if nobody votes.

    Source: Wang et al. 2022, arXiv 2203.11171; ties are ours. Raises ValueError for no samples or unequal lengths.
    """
    if not answers or len(answers) != len(scores):
        raise ValueError(f"cons@k needs one score a sample; got {len(answers)} answers and {len(scores)} scores.")
    votes: dict[Hashable, list[float]] = {}
    for answer, score in zip(answers, scores, strict=True):
        if answer is not None:
            votes.setdefault(answer, []).append(score)
    most = max(map(len, votes.values()), default=0)
    leading = [sum(given) / most for given in votes.values() if len(given) == most]
    return sum(leading) / len(leading) if leading else 0.0


def clustered_standard_error(scores: ArrayLike) -> float:
    """Standard error of avg@k clustered by problem; `scores` [problems, samples], NaN for an unscored sample.

    SE = sqrt( sum_p (m_p - m)^2 / (P (P - 1)) ), with m_p the mean of problem p, m their mean and P their number: the
    samples of a problem count as one observation. NaN where P < 2.
    """
    means = _problem_means(scores)
    if means.size < 2:
        return math.nan
    return float(means.std(ddof=1) / math.sqrt(means.size))


def _problem_means(scores: ArrayLike) -> np.ndarray:
    values = np.asarray(scores, dtype=float)
    if values.ndim != 2:
        raise ValueError(f"scores must have shape [problems, samples]; got {values.shape}.")
    values = values[(~np.isnan(values)).any(axis=1)]
    return np.nanmean(values, axis=1) if len(values) else np.empty(0)


def crossed_interval(strata: Sequence[ArrayLike], level: float = 0.95) -> Interval:
    """Interval of the unweighted mean of the strata means, with seeds and problems as crossed random effects.

    `strata`: one matrix [S, P_k] a suite, row s being the same training seed in each. With K suites, seed means
    M_s = mean_k mean_p x_ksp, and in every suite the problem means and the interaction residuals:

        A   = var_s(M_s) / S                       S - 1 degrees of freedom
        B_k = var_p(problem means) / P_k / K^2     P_k - 1
        C_k = interaction mean square / (S P_k) / K^2
        Var = A + sum B_k - sum C_k                (A and B each contain C once; unbiased for the variance of the mean)

    The seed effect is shared by all suites, so its variance is taken from the seed means of the suite average, which
    keeps the covariance between suites; problems of different suites are independent. Var is not let below
    max(A, sum B_k). The quantile is Student's t with Satterthwaite's degrees of freedom, no more than
    (S - 1) + sum (P_k - 1). With one seed only the problems vary (A = C = 0), with one problem in every suite only
    the seeds.

    Simulated coverage of the 95% interval with normal effects, 3 to 10 seeds: 92% at worst (3 seeds that make nine
    tenths of the variance) to 98.5% (neither seeds nor problems matter, all is sampling noise). Where few seeds fall
    into two camps (some collapse) it is lower, down to about 85% at 3 seeds.

    Source: two-way random effects ANOVA (Searle, Casella, McCulloch, Variance Components, 1992, ch. 4); for the
    seeds-by-problems bootstrap it replaces see Owen 2007, "The pigeonhole bootstrap". Raises ValueError for no strata,
    empty or ragged ones, NaN entries, or unequal numbers of seeds.
    """
    matrices = [np.asarray(stratum, dtype=float) for stratum in strata]
    _check_strata(matrices)
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level}.")
    count = len(matrices)
    seeds = matrices[0].shape[0]
    problems = sum(matrix.shape[1] for matrix in matrices)
    seed_means = np.mean([matrix.mean(axis=1) for matrix in matrices], axis=0)
    mean = float(seed_means.mean())

    seed_part = float(seed_means.var(ddof=1)) / seeds if seeds > 1 else 0.0
    problem_part = interaction_part = 0.0
    spread = seed_part**2 / (seeds - 1) if seeds > 1 else 0.0
    for matrix in matrices:
        size = matrix.shape[1]
        if size < 2:
            continue
        of_problems = float(matrix.mean(axis=0).var(ddof=1)) / size / count**2
        problem_part += of_problems
        spread += of_problems**2 / (size - 1)
        if seeds > 1:
            residual = matrix - matrix.mean(axis=1, keepdims=True) - matrix.mean(axis=0) + matrix.mean()
            degrees = (seeds - 1) * (size - 1)
            of_interaction = float((residual**2).sum()) / degrees / (seeds * size) / count**2
            interaction_part += of_interaction
            spread += of_interaction**2 / degrees

    variance = max(seed_part + problem_part - interaction_part, seed_part, problem_part)
    # Rounding leaves about 1e-34 where all entries are equal; a smallest real variance is far above.
    if variance < 1e-24:
        return Interval(mean, math.nan, math.nan, math.nan, seeds, problems)
    df = min(variance**2 / spread, float(seeds - 1 + problems - count))
    error = math.sqrt(variance)
    return Interval(mean, float(student_t.ppf((1 + level) / 2, df)) * error, error, df, seeds, problems)


def paired_interval(first: Sequence[ArrayLike], second: Sequence[ArrayLike], level: float = 0.95) -> Interval:
    """`crossed_interval` of first - second, entry by entry: the same seeds and the same problems in the same order.

    Raises ValueError where the shapes differ.
    """
    left = [np.asarray(matrix, dtype=float) for matrix in first]
    right = [np.asarray(matrix, dtype=float) for matrix in second]
    if [matrix.shape for matrix in left] != [matrix.shape for matrix in right]:
        raise ValueError("A paired difference needs the same seeds and problems on both sides; the shapes differ.")
    return crossed_interval([a - b for a, b in zip(left, right, strict=True)], level)


def _check_strata(matrices: Sequence[np.ndarray]) -> None:
    if not matrices:
        raise ValueError("An interval needs at least one suite; none was given.")
    for matrix in matrices:
        if matrix.ndim != 2 or 0 in matrix.shape:
            raise ValueError(f"Scores must be a non-empty matrix [seeds, problems]; got shape {matrix.shape}.")
        if np.isnan(matrix).any():
            raise ValueError("Scores hold NaN; leave out the problems that are not scored under every seed.")
        if matrix.shape[0] != matrices[0].shape[0]:
            raise ValueError("Every suite needs the same seeds; their numbers differ.")


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values in the order given; NaN entries stay NaN and are not counted.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    defined = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    running = 0.0
    for rank, (p, index) in enumerate(defined):
        running = max(running, min(1.0, p * (len(defined) - rank)))
        adjusted[index] = running
    return adjusted
