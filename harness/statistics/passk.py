"""pass@k of many problems and runs at once, with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from harness.statistics.intervals import Estimate, crossed_interval


def pass_at_k_scores(correct: ArrayLike, samples: int, k: int) -> np.ndarray:
    """Unbiased pass@k of every entry: 1 - C(n - c, k) / C(n, k), from c correct among n samples; any shape.

    Source: Chen et al. 2021, arXiv 2107.03374, Eq. 1. Raises ValueError unless 1 <= k <= n and counts are integers in
    0..n.
    """
    counts = np.asarray(correct)
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs k between 1 and the number of samples ({samples}); draw more samples.")
    if counts.size and not (np.all(counts == np.floor(counts)) and counts.min() >= 0 and counts.max() <= samples):
        raise ValueError(f"Counts of correct samples must be integers from 0 to {samples}.")
    wrong = samples - np.arange(samples + 1, dtype=float)
    enough = wrong >= k
    table = np.zeros(samples + 1)
    log_ratio = gammaln(wrong[enough] + 1) - gammaln(wrong[enough] - k + 1)
    table[enough] = np.exp(log_ratio - (gammaln(samples + 1) - gammaln(samples - k + 1)))
    return 1.0 - table[counts.astype(int)]


def pass_at_k_interval(strata: Sequence[ArrayLike], samples: int, k: int, level: float = 0.95) -> Estimate:
    """`crossed_interval` of pass@k; `strata`: counts of correct samples [seeds, problems] a suite, of `samples`.

    pass@k of a problem is unbiased, so that its mean over problems and seeds is, and the spread between problems and
    between seeds holds the sampling noise. Errors as in `pass_at_k_scores` and `crossed_interval`.
    """
    return crossed_interval([pass_at_k_scores(counts, samples, k) for counts in strata], level)
