"""Standardised effect sizes with small-sample correction and intervals from the noncentral t distribution.

The observations are training runs (seed means), as a rule: a d over problems would shrink with their difficulty spread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import chdtri, gammaln, ndtr

SHARES = 4000


@dataclass(frozen=True)
class Effect:
    """A standardised difference: `value` with small-sample correction, `raw` without, and the interval of the truth.

    All NaN where there is no spread to measure it by.
    """

    value: float
    raw: float
    low: float
    high: float
    df: int


def correction(df: float) -> float:
    """Hedges' factor J = Gamma(df/2) / (sqrt(df/2) Gamma((df-1)/2)): J x raw is unbiased; 0.564 at df 2.

    Source: Hedges 1981, "Distribution theory for Glass's estimator of effect size and related estimators". NaN for
    df < 2, where the raw value has no expectation.
    """
    if df < 2:
        return math.nan
    return math.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / math.sqrt(df / 2)


def cohen_d(first: ArrayLike, second: ArrayLike, level: float = 0.95) -> Effect:
    """(mean of first - mean of second) / pooled standard deviation, for independent groups (Cohen 1988, ch. 2).

    Raises ValueError unless both hold at least one and together at least three observations.
    """
    left, right = _vector(first), _vector(second)
    df = left.size + right.size - 2
    if df < 1 or not left.size or not right.size:
        raise ValueError("Cohen's d needs observations on both sides and at least three in all.")
    squares = ((left - left.mean()) ** 2).sum() + ((right - right.mean()) ** 2).sum()
    size = left.size * right.size / (left.size + right.size)
    return _effect(float(left.mean() - right.mean()), math.sqrt(squares / df), size, df, level)


def paired_dz(first: ArrayLike, second: ArrayLike, level: float = 0.95) -> Effect:
    """Mean of the differences over their standard deviation (Cohen's d_z), entry i of both being the same seed.

    Raises ValueError for unequal lengths or fewer than two pairs.
    """
    left, right = _vector(first), _vector(second)
    if left.size != right.size or left.size < 2:
        raise ValueError("d_z needs the same seeds on both sides and at least two.")
    gaps = left - right
    return _effect(float(gaps.mean()), float(gaps.std(ddof=1)), float(gaps.size), gaps.size - 1, level)


def _effect(difference: float, deviation: float, size: float, df: int, level: float) -> Effect:
    """`size`: t = d sqrt(size). Bounds: noncentralities under which t is a tail quantile (Steiger and Fouladi 1997)."""
    if deviation < 1e-12:
        return Effect(math.nan, math.nan, math.nan, math.nan, df)
    raw = difference / deviation
    statistic = raw * math.sqrt(size)
    tail = (1 - level) / 2

    # P(T <= t) = E[Phi(t sqrt(chi2 / df) - noncentrality)]; scipy's own function is NaN for large arguments
    reached = statistic * np.sqrt(_chi_square(df) / df)

    def bound(probability: float) -> float:
        lowest, highest = reached.min() - 9.0, reached.max() + 9.0
        found = brentq(lambda noncentral: ndtr(reached - noncentral).mean() - probability, lowest, highest)
        return float(found) / math.sqrt(size)

    return Effect(correction(df) * raw, raw, bound(1 - tail), bound(tail), df)


@lru_cache(maxsize=16)
def _chi_square(df: int) -> np.ndarray:
    """Quantiles of chi-square in the middle of equal shares of probability."""
    return chdtri(df, (np.arange(SHARES) + 0.5) / SHARES)


def _vector(values: ArrayLike) -> np.ndarray:
    vector = np.asarray(values, dtype=float)
    if vector.ndim != 1 or np.isnan(vector).any():
        raise ValueError("Effect sizes need a vector of observations without NaN on each side.")
    return vector
