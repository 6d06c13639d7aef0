"""What a design can detect: power of the paired test, and the smallest difference found with a given power."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import chdtri, ndtr

from harness.statistics.components import Components, components, paired_differences
from harness.statistics.margins import combined, scarce_part

STEPS = 2000


@dataclass(frozen=True)
class Design:
    """Expected variance parts of the mean difference, as `harness.statistics.margins` names them.

    `scarce` is the expectation of A (sampling noise included) with `df` degrees of freedom, `rest` = b with `rest_df`,
    `noise` the interaction part.
    """

    scarce: float
    rest: float
    noise: float
    df: float
    rest_df: float

    @classmethod
    def of(cls, parts: Components) -> Design:
        """Read off the data: A is at least the noise that is part of it. At 3 seeds A is itself a rough estimate."""
        scarce, df, rest, rest_df = (float(part) for part in scarce_part(parts))
        noise = float(parts.interaction_part)
        return cls(max(scarce, noise), rest, noise, df, rest_df)

    def power(self, difference: float, rate: float = 0.05) -> float:
        """Probability that the test at error rate `rate` calls a true `difference` different from zero.

        The mean is normal, A is scarce x chi-square / df and independent of it; the average over A is a sum over 2,000
        quantiles. `difference` 0 gives the type I error.
        """
        found = self.scarce * _quantiles(self.df)
        half = combined(rate, found, self.df, self.rest, self.rest_df, self.noise)
        error = np.sqrt(self.scarce + self.rest)
        return float((ndtr((difference - half) / error) + ndtr((-difference - half) / error)).mean())

    def detectable(self, power: float = 0.8, rate: float = 0.05) -> float:
        """The smallest difference found with probability `power`; NaN where nothing varies.

        For a family of m corrected by Holm, rate / m is what the first step must pass. Raises ValueError unless
        rate < power < 1.
        """
        if not 0 < rate < power < 1:
            raise ValueError("Power must lie between the error rate and 1.")
        error = float(np.sqrt(self.scarce + self.rest))
        if error == 0:
            return float("nan")
        reach = error
        while self.power(reach, rate) < power:
            reach *= 2
        return float(brentq(lambda difference: self.power(difference, rate) - power, 0.0, reach, xtol=1e-6 * error))


@lru_cache(maxsize=64)
def _quantiles(df: float) -> np.ndarray:
    """Of chi-square / df, in the middle of equal shares of probability."""
    return chdtri(df, (np.arange(STEPS) + 0.5) / STEPS) / df


def minimal_detectable_effect(
    first: list[ArrayLike], second: list[ArrayLike], power: float = 0.8, rate: float = 0.05
) -> float:
    """The smallest true mean difference that this paired comparison would have found with probability `power`.

    From the spread that it shows, not from its difference. `first`, `second` as in `paired_interval`. An effect that
    is smaller cannot be excluded by "not significant".
    """
    return Design.of(components(paired_differences(first, second))).detectable(power, rate)
