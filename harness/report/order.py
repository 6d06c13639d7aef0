"""Agreement of two orders of methods: Kendall's tau, a bootstrap over seeds and problems, and a permutation test."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from harness.report.contrasts import matrices

if TYPE_CHECKING:
    from harness.compare_rows import Row

REPETITIONS = 2000
EXACT = 7  # methods up to which every permutation is tried
DRAWS = 20_000


@dataclass(frozen=True)
class Agreement:
    """tau-b of two orders of `methods` methods; bounds of the bootstrap, NaN with one seed; two-sided p-value."""

    tau: float
    low: float
    high: float
    p_value: float
    methods: int


def kendall(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Kendall's tau-b of `first` [methods] with `second` [..., methods]; NaN where all values of one are equal.

    Source: Kendall 1945, "The treatment of ties in ranking problems".
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    upper = np.triu_indices(a.size, 1)
    signs_a = np.sign(a[:, None] - a)[upper]
    signs_b = np.sign(b[..., :, None] - b[..., None, :])[..., upper[0], upper[1]]
    untied = np.sqrt((signs_a != 0).sum() * (signs_b != 0).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (signs_b @ signs_a) / untied


def agreement(
    theirs: Sequence[float], rows: Sequence[Row], split: str, suites: Sequence[str], level: float, seed: int = 0
) -> Agreement | None:
    """Agreement of given scores with those of `rows`, the unweighted mean over suites at their last evaluations.

    The bootstrap draws seeds and problems anew, the same for all rows; `theirs` are taken as they are. The test
    permutes them: all permutations of up to 7 methods, else 20,000. None for fewer than three rows, or where they share
    no seed or problem.
    """
    if len(rows) < 3:
        return None
    strata = matrices(rows, split, suites)
    if strata is None:
        return None
    cubes = [np.stack(of_suite) for of_suite in zip(*strata, strict=True)]  # [methods, seeds, problems] each
    ours = np.mean([cube.mean(axis=(1, 2)) for cube in cubes], axis=0)
    tau = float(kendall(theirs, ours))
    low, high = _bounds(theirs, cubes, level, np.random.default_rng(seed))
    return Agreement(tau, low, high, permutation_p(theirs, ours, seed), len(rows))


def _bounds(
    theirs: Sequence[float], cubes: Sequence[np.ndarray], level: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Percentiles of tau over resampled seeds and problems (the pigeonhole bootstrap, Owen 2007)."""
    seeds = cubes[0].shape[1]
    if seeds < 2:
        return math.nan, math.nan
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), REPETITIONS) / seeds
    means = np.zeros((REPETITIONS, len(theirs)))
    for cube in cubes:
        size = cube.shape[2]
        of_problems = rng.multinomial(size, np.full(size, 1 / size), REPETITIONS) / size
        means += np.einsum("rs,msr->rm", of_seeds, cube @ of_problems.T) / len(cubes)
    taus = kendall(theirs, means)
    known = taus[~np.isnan(taus)]
    if not known.size:
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def permutation_p(first: ArrayLike, second: ArrayLike, seed: int = 0) -> float:
    """Two-sided p-value of tau under random order; NaN where tau is."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    tau = float(kendall(a, b))
    if math.isnan(tau):
        return math.nan
    if a.size <= EXACT:
        orders = np.array(list(itertools.permutations(range(a.size))))
        return float(np.mean(np.abs(kendall(a, b[orders])) >= abs(tau) - 1e-12))
    rng = np.random.default_rng(seed)
    orders = rng.permuted(np.tile(np.arange(a.size), (DRAWS, 1)), axis=1)
    hits = int((np.abs(kendall(a, b[orders])) >= abs(tau) - 1e-12).sum())
    return (hits + 1) / (DRAWS + 1)
