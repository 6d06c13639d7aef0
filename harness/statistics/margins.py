"""Half-widths and p-values of the mean of seeds x problems, as arrays: the calibrated combination of two t quantiles.

With A the variance part that has few degrees of freedom nu (as a rule the seeds: nu = S - 1; sampling noise included),
b what the other factor adds beyond that noise (many degrees of freedom m), and two-sided quantiles at the same level,

    half-width = ( (t_nu sqrt(A))^p + (t_m sqrt(b))^p )^(1/p),     p = 2 + 8 / nu^2.

It is Student's t interval of either factor where the other adds nothing. p = 2 is the interval of Banerjee (1960,
"Approximate confidence interval for linear functions of means of k populations when the population variances are not
equal", Sankhya 22), which covers at least the level and, at 3 seeds, up to 97.7% for 95%. The larger exponent gives
that back: by numerical integration with normal effects, over all ratios of the parts, 95% intervals cover 94.9% to
96.0% at 3 seeds, 94.9% to 95.5% at 5 and 95.0% to 95.4% at 10, and a test at any level from 0.0042 (Holm's first step
over 12) to 0.1 rejects a true hypothesis at most 1.05 times as often as its level says. Satterthwaite's degrees of
freedom rise just where A happens to be small: the same integration gives 92.2% to 98.2% at 3 seeds, and 6 times the
level at 0.0042. `harness validate-statistics` measures all of this on binary outcomes.

The half-width is not let below half of what the interaction and b alone give with a normal quantile. With few problems
seed means coincide by chance, and no spread between them is no proof of precision; with this half, identical strategies
are still called different in 4% of comparisons where seeds do not matter at all.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from harness.statistics.components import Components

FLOOR = 0.5
# Rounding leaves about 1e-34 where all entries are equal; a smallest real variance is far above.
NOTHING = 1e-24
SMALLEST_P = 1e-15
STEPS = 10  # of the false position method; p is right to 1e-9 of itself


def exponent(df: float) -> float:
    """p of the module docstring for `df` degrees of freedom of the scarce part; 10 at df 1, towards 2 as df grows.

    Infinite without any: the larger part alone counts.
    """
    with np.errstate(divide="ignore"):
        return 2.0 + 8.0 / np.square(df, dtype=float)


def half_width(parts: Components, level: float = 0.95) -> np.ndarray:
    """Half-width of the two-sided interval of the mean; NaN where the data show no spread at all.

    With one seed it is the t interval over problems, with one problem in every suite the t interval over seeds.
    Raises ValueError unless 0 < level < 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level}.")
    return margin(parts, np.full(parts.mean.shape, 1.0 - level))


def p_value(parts: Components, hypothesis: float = 0.0) -> np.ndarray:
    """Two-sided p-value of the hypothesis about the mean: the level at which the interval just reaches it.

    Not below 1e-15; NaN where the half-width is.
    """
    distance = np.abs(parts.mean - hypothesis)
    scarce, nu, rest, m = scarce_part(parts)
    least = FLOOR * np.sqrt(rest + parts.interaction_part)
    # The combination lies between the larger quantile and 2^(1/p) times it, which brackets the rate.
    nearer = distance / 2.0 ** (1.0 / exponent(nu))
    with np.errstate(invalid="ignore", divide="ignore"):
        floor = 2 * ndtr(-distance / least)
        low, high = (
            np.fmax(np.fmax(2 * stdtr(nu, -d / np.sqrt(scarce)), 2 * stdtr(m, -d / np.sqrt(rest))), floor)
            for d in (distance, nearer)
        )
    solved = (distance > 0) & (parts.seed_part + parts.problem_part > NOTHING) & (high > SMALLEST_P)
    low, high = np.log(np.where(solved, np.maximum(low, SMALLEST_P), 0.5)), np.log(np.where(solved, high, 0.6))
    found = np.exp(_root(parts, np.where(solved, distance, 1.0), low, high))
    p = np.where(solved, found, np.where(distance > 0, SMALLEST_P, 1.0))
    return np.where(np.isnan(margin(parts, p)), np.nan, p)


def _root(parts: Components, distance: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Logarithm of the rate at which the margin is `distance`: false position with the Illinois rule, in logarithms."""

    def excess(log_rate: np.ndarray) -> np.ndarray:
        return np.log(margin(parts, np.exp(log_rate))) - np.log(distance)

    with np.errstate(invalid="ignore", divide="ignore"):
        above, below = excess(low), excess(high)
        side = np.zeros(distance.shape)
        for _ in range(STEPS):
            gap = above - below
            share = np.clip(np.where(gap > 0, above / gap, 0.5), 0.0, 1.0)
            middle = low + share * (high - low)
            value = excess(middle)
            moved = np.where(value > 0, 1.0, -1.0)
            # an end that stays twice has its value halved, or it might stay for ever
            again = np.where(moved == side, 0.5, 1.0)
            left, side = moved > 0, moved
            above, below = np.where(left, value, above * again), np.where(left, below * again, value)
            low, high = np.where(left, middle, low), np.where(left, high, middle)
    return middle


def t_quantile(rate: np.ndarray | float, df: np.ndarray | float) -> np.ndarray:
    """Two-sided quantile of Student's t: exceeded in absolute value with probability `rate`."""
    return -stdtrit(df, np.asarray(rate) / 2)


def scarce_part(parts: Components) -> tuple[np.ndarray, np.ndarray | float, np.ndarray, np.ndarray | float]:
    """(A, nu, b, m) of the module docstring: the factor with fewer degrees of freedom keeps the sampling noise.

    b is 0 where only one factor varies: with one seed, or one problem in every suite.
    """
    nothing = np.zeros_like(parts.mean)
    if parts.seeds == 1:
        return parts.problem_part, parts.problem_df, nothing, 1.0
    if parts.problem_freedom == 0:
        return parts.seed_part, parts.seed_df, nothing, 1.0
    if parts.problem_freedom < parts.seed_df:
        rest = np.maximum(parts.seed_part - parts.interaction_part, 0.0)
        return parts.problem_part, parts.problem_df, rest, parts.seed_df
    rest = np.maximum(parts.problem_part - parts.interaction_part, 0.0)
    return parts.seed_part, parts.seed_df, rest, parts.problem_df


def margin(parts: Components, rate: np.ndarray) -> np.ndarray:
    """Half-width for an error rate (1 - level), which may differ between experiments."""
    found = combined(rate, *scarce_part(parts), parts.interaction_part)
    return np.where(parts.seed_part + parts.problem_part > NOTHING, found, np.nan)


def combined(
    rate: np.ndarray | float,
    scarce: np.ndarray,
    nu: float | np.ndarray,
    rest: np.ndarray | float,
    m: float | np.ndarray,
    noise: np.ndarray | float,
) -> np.ndarray:
    """The half-width of the module docstring for an error rate, with its floor; A = `scarce`, b = `rest`."""
    first = t_quantile(rate, nu) * np.sqrt(scarce)
    second = t_quantile(rate, m) * np.sqrt(rest)
    larger = np.maximum(first, second)
    # The larger one is taken out of the power: a quantile of 1e7 to the tenth power would overflow.
    ratio = np.divide(np.minimum(first, second), larger, out=np.zeros_like(larger), where=larger > 0)
    power = exponent(nu)
    least = FLOOR * -ndtri(np.asarray(rate) / 2) * np.sqrt(rest + noise)
    return np.maximum(larger * (1.0 + ratio**power) ** (1.0 / power), least)
