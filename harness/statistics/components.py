"""Variance of the mean of seeds x problems: what seeds, problems and their interaction contribute to it.

Every function here is vectorised: a matrix has shape [..., seeds, problems], and leading axes hold independent
experiments (simulated ones, or other pairs of strategies).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Components:
    """The mean over suites and the parts of its variance. Arrays have the shape of the leading axes.

    `seed_part` = variance of the seed means / seeds, `problem_part` = sum over suites of the variance of the problem
    means / problems / suites^2, `interaction_part` = sum of the interaction mean squares / (seeds x problems) /
    suites^2. Seed and problem part contain the interaction part (with the sampling noise) once each in expectation.
    `problem_df` is Satterthwaite's for the sum over suites; `problem_spread` and `interaction_spread` are the sums of
    (part of a suite)^2 / df. `problem_freedom` = sum of (problems - 1) over suites; `seed_df` = seeds - 1, or more
    where the spread between seeds is pooled over strategies.
    """

    mean: np.ndarray
    seed_part: np.ndarray
    problem_part: np.ndarray
    interaction_part: np.ndarray
    problem_df: np.ndarray
    problem_spread: np.ndarray
    interaction_spread: np.ndarray
    seed_df: float
    seeds: int
    problems: int
    problem_freedom: int

    @property
    def seed_error(self) -> np.ndarray:
        """Standard error clustered by seed: the problems are the only ones of interest."""
        return np.sqrt(self.seed_part)

    @property
    def problem_error(self) -> np.ndarray:
        """Standard error clustered by problem: the seeds are the only ones of interest."""
        return np.sqrt(self.problem_part)

    @property
    def crossed_error(self) -> np.ndarray:
        """Standard error clustered by both: sqrt(seed + problem - interaction part), not below either part."""
        both = self.seed_part + self.problem_part - self.interaction_part
        return np.sqrt(np.maximum(both, np.maximum(self.seed_part, self.problem_part)))


def components(strata: Sequence[ArrayLike]) -> Components:
    """Components of the unweighted mean of the suite means; `strata`: one matrix [..., S, P_k] a suite.

    Row s is the same training seed in every suite, so that its effect may be shared by all of them. Source: expected
    mean squares of the two-way random effects layout (Searle, Casella, McCulloch, Variance Components, 1992, ch. 4).
    Raises ValueError for no suite, empty matrices, NaN, or suites that differ in seeds or leading axes.
    """
    matrices = checked(strata)
    count = len(matrices)
    seeds = matrices[0].shape[-2]
    sizes = [matrix.shape[-1] for matrix in matrices]
    seed_means = np.mean([matrix.mean(axis=-1) for matrix in matrices], axis=0)
    zero = np.zeros(seed_means.shape[:-1])
    seed_part = seed_means.var(axis=-1, ddof=1) / seeds if seeds > 1 else zero
    problem_part, problem_spread, interaction_part, interaction_spread = (zero.copy() for _ in range(4))
    for matrix, size in zip(matrices, sizes, strict=True):
        if size < 2:
            continue
        of_problems = matrix.mean(axis=-2)
        part = of_problems.var(axis=-1, ddof=1) / size / count**2
        problem_part += part
        problem_spread += part**2 / (size - 1)
        if seeds > 1:
            # sums of squares instead of residuals: no copy of the whole matrix
            total = matrix.var(axis=(-2, -1)) * seeds * size
            between = matrix.mean(axis=-1).var(axis=-1) * seeds * size + of_problems.var(axis=-1) * seeds * size
            degrees = (seeds - 1) * (size - 1)
            part = np.maximum(total - between, 0.0) / degrees / (seeds * size) / count**2
            interaction_part += part
            interaction_spread += part**2 / degrees
    freedom = sum(sizes) - count
    with np.errstate(invalid="ignore", divide="ignore"):
        df = np.where(problem_spread > 0, problem_part**2 / problem_spread, float(freedom))
    return Components(
        seed_means.mean(axis=-1), seed_part, problem_part, interaction_part, df, problem_spread, interaction_spread,
        float(seeds - 1), seeds, sum(sizes), freedom,
    )  # fmt: skip


def paired_differences(first: Sequence[ArrayLike], second: Sequence[ArrayLike]) -> list[np.ndarray]:
    """first - second, entry by entry: the same seeds and the same problems in the same order, suite by suite.

    Raises ValueError where the shapes differ.
    """
    left = [np.asarray(matrix, dtype=float) for matrix in first]
    right = [np.asarray(matrix, dtype=float) for matrix in second]
    if [matrix.shape for matrix in left] != [matrix.shape for matrix in right]:
        raise ValueError("A paired difference needs the same seeds and problems on both sides; the shapes differ.")
    return [a - b for a, b in zip(left, right, strict=True)]


def checked(strata: Sequence[ArrayLike]) -> list[np.ndarray]:
    """The matrices as float64 arrays; raises ValueError where `components` could not use them."""
    matrices = [np.asarray(stratum, dtype=float) for stratum in strata]
    if not matrices:
        raise ValueError("An interval needs at least one suite; none was given.")
    for matrix in matrices:
        if matrix.ndim < 2 or 0 in matrix.shape:
            raise ValueError(f"Scores must be a non-empty matrix [seeds, problems]; got shape {matrix.shape}.")
        if np.isnan(matrix).any():
            raise ValueError("Scores hold NaN; leave out the problems that are not scored under every seed.")
        if matrix.shape[:-1] != matrices[0].shape[:-1]:
            raise ValueError("Every suite needs the same seeds; their numbers differ.")
    return matrices
