"""Statistics of one evaluation: avg@k, pass@k, cons@k and clustered errors. Scores are numbers in [0, 1].

Intervals over seeds and problems are those of `harness.statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike


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
