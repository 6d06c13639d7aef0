"""A declared family of comparisons: Holm's correction, and the spread between seeds pooled over all strategies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from harness.statistics.components import checked, components, paired_differences
from harness.statistics.intervals import Estimate, estimate_of


def holm_array(p_values: ArrayLike) -> np.ndarray:
    """Holm's step-down adjusted p-values along the last axis [..., comparisons]; NaN counts as a test that fails.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    given = np.asarray(p_values, dtype=float)
    values = np.where(np.isnan(given), 1.0, given)
    order = np.argsort(values, axis=-1, kind="stable")
    size = values.shape[-1]
    scaled = np.take_along_axis(values, order, axis=-1) * (size - np.arange(size))
    adjusted = np.empty_like(values)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(scaled, axis=-1), 1.0), axis=-1)
    return np.where(np.isnan(given), np.nan, adjusted)


def holm_family(declared: Sequence[str], p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values of a family that was declared before the results were seen, in its order.

    A declared comparison without a result (or NaN) still counts: leaving out what failed would make the others look
    surer than the declaration allows; its own value is NaN. Raises ValueError for a comparison that was not declared,
    for one declared twice, and for a p-value outside [0, 1].
    """
    if len(set(declared)) < len(declared):
        raise ValueError("The family names a comparison twice; declare each once.")
    if extra := sorted(set(p_values) - set(declared)):
        raise ValueError(f"These comparisons were not declared: {', '.join(extra)}; declare them before the results.")
    values = [float(p_values.get(name, math.nan)) for name in declared]
    if any(not 0 <= value <= 1 for value in values if not math.isnan(value)):
        raise ValueError("p-values must lie between 0 and 1.")
    return dict(zip(declared, holm_array(values).tolist(), strict=True)) if values else {}


def pooled_intervals(
    strategies: Mapping[str, Sequence[ArrayLike]], baseline: Sequence[ArrayLike], level: float = 0.95
) -> dict[str, Estimate]:
    """Paired differences from the baseline, their spread between seeds estimated from all strategies together.

    Every entry: one matrix [seeds, problems] a suite, the same seeds and problems for all. The seed part of a
    difference is 2 MS / S, with MS the residual mean square of strategies x seeds, of (G - 1)(S - 1) degrees of freedom
    for G strategies with the baseline. It assumes that all of them vary alike between seeds (a strategy that varies
    more is called different too often: `harness validate-statistics` shows by how much), and is worth it at 3 seeds,
    where two degrees of freedom detect little. Raises ValueError for fewer than two seeds or unequal shapes.
    """
    arms = {name: checked(strata) for name, strata in strategies.items()}
    base = checked(baseline)
    parts = [components(paired_differences(strata, base)) for strata in arms.values()]
    if not parts:
        return {}
    seed_means = np.stack(
        [np.mean([suite.mean(axis=-1) for suite in strata], axis=0) for strata in (*arms.values(), base)]
    )
    variance, df = pooled_seed_part(seed_means)
    pooled = [replace(part, seed_part=variance, seed_df=df) for part in parts]
    return {name: estimate_of(part, level) for name, part in zip(arms, pooled, strict=True)}


def pooled_seed_part(seed_means: np.ndarray) -> tuple[np.ndarray, float]:
    """(2 MS / S, degrees of freedom) from seed means [..., strategies, seeds]; see `pooled_intervals`."""
    count, seeds = seed_means.shape[-2:]
    if seeds < 2:
        raise ValueError("Pooling the spread between seeds needs at least two of them.")
    residual = seed_means - seed_means.mean(axis=-1, keepdims=True) - seed_means.mean(axis=-2, keepdims=True)
    residual = residual + seed_means.mean(axis=(-2, -1), keepdims=True)
    df = float((count - 1) * (seeds - 1))
    return 2.0 * (residual**2).sum(axis=(-2, -1)) / df / seeds, df
