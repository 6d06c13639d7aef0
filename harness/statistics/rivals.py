"""Other interval methods, vectorised, that a validation compares with `harness.statistics.margins`."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtr

from harness.statistics.components import Components
from harness.statistics.margins import NOTHING, half_width, t_quantile


def satterthwaite(parts: Components, level: float) -> np.ndarray:
    """Crossed random effects with Satterthwaite's degrees of freedom (Searle, Casella, McCulloch 1992, ch. 4)."""
    error, df = _satterthwaite(parts)
    return t_quantile(1 - level, df) * error


def satterthwaite_p(parts: Components) -> np.ndarray:
    """Its two-sided p-value that the mean is zero; NaN where nothing varies."""
    error, df = _satterthwaite(parts)
    with np.errstate(invalid="ignore"):
        return 2 * stdtr(df, -np.abs(parts.mean) / error)


def seeds_alone(parts: Components, level: float) -> np.ndarray:
    """Student's t over seed means: the problems are taken as the only ones of interest."""
    return t_quantile(1 - level, parts.seeds - 1) * parts.seed_error


def problems_alone(parts: Components, level: float) -> np.ndarray:
    """Student's t over problem means, the usual standard error: the seeds are taken as the only ones of interest."""
    return t_quantile(1 - level, parts.problem_df) * parts.problem_error


METHODS = {
    "calibrated": half_width,
    "satterthwaite": satterthwaite,
    "seeds alone": seeds_alone,
    "problems alone": problems_alone,
}


def _satterthwaite(parts: Components) -> tuple[np.ndarray, np.ndarray]:
    """Standard error and degrees of freedom."""
    variance = parts.crossed_error**2
    with np.errstate(invalid="ignore", divide="ignore"):
        seed_spread = parts.seed_part**2 / (parts.seeds - 1) if parts.seeds > 1 else 0.0
        spread = seed_spread + parts.problem_spread + parts.interaction_spread
        df = np.minimum(variance**2 / spread, float(parts.seeds - 1 + parts.problem_freedom))
    return np.sqrt(np.where(variance < NOTHING, np.nan, variance)), df
