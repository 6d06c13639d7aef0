"""A world with a known truth: binary answers of simulated training runs to problems of beta-distributed difficulty.

The chance that run s of a strategy solves problem p of suite k is

    sigmoid( logit q_kp + shift + w_kp + u_s + v_ks + i_ksp ),        q_kp ~ Beta,

with w the strategy's effect on the problem beyond its shift, u the seed's effect on all suites, v its effect on one,
and i the seed x problem interaction, all of mean 0. Each chance is sampled k times. All are logits: 0.1 moves the mean
of the usual difficulties by 1.3 points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, roots_hermitenorm, roots_sh_jacobi
from scipy.stats import t as student_t

USUAL = ((0.6, 1.6), (1.0, 1.0), (0.5, 0.8), (0.4, 2.0))
HARD = ((0.3, 2.7), (0.5, 2.5), (0.3, 1.7), (0.4, 2.6))
HEAVY_DF = 3
COLLAPSED, COLLAPSE = 0.2, -1.0
ATOMS = 400


@dataclass(frozen=True)
class World:
    """Standard deviations in logits.

    `seed_law`: normal; heavy (Student's t of 3 df, scaled); collapse: a run loses one logit with probability 0.2,
    beside its normal effect. `fair`: do the intervals promise to cover here; `powered`: is power measured.
    """

    name: str
    summary: str
    seed: float
    suite_seed: float
    interaction: float
    effect: float
    problems: int = 100
    samples: int = 4
    difficulties: tuple[tuple[float, float], ...] = USUAL
    seed_law: str = "normal"
    fair: bool = True
    powered: bool = False


WORLDS = {
    world.name: world
    for world in (
        World("usual", "seeds 0.6 points, sampling noise larger", 0.045, 0.03, 0.3, 0.3, powered=True),
        World("quiet", "seeds do not matter, all is sampling noise", 0.0, 0.0, 0.0, 0.0, powered=True),
        World("lively", "seeds 1.4 points", 0.1, 0.05, 0.3, 0.3, powered=True),
        World("loud", "seeds 4 points, most of the variance", 0.3, 0.1, 0.5, 0.5, powered=True),
        World("hard", "30 hard problems a suite, 8 samples", 0.1, 0.05, 0.3, 0.5, 30, 8, HARD),
        World("heavy", "seeds 1.4 points, heavy tails", 0.1, 0.05, 0.3, 0.3, seed_law="heavy", fair=False),
        World("collapse", "one run in five loses 12 points", 0.1, 0.05, 0.3, 0.3, seed_law="collapse", fair=False),
    )
}


def easiness(world: World, rng: np.random.Generator, repetitions: int) -> list[np.ndarray]:
    """logit q of one problem set a repetition: [repetitions, problems] a suite."""
    found = []
    for a, b in world.difficulties:
        q = np.clip(rng.beta(a, b, size=(repetitions, world.problems)), 1e-9, 1 - 1e-9)
        found.append((np.log(q) - np.log1p(-q)).astype(np.float32))
    return found


def counts(
    world: World, rng: np.random.Generator, problems: Sequence[np.ndarray], seeds: int, shift: float, effect: bool
) -> list[np.ndarray]:
    """Correct samples of `seeds` runs of one strategy: [repetitions, seeds, problems] a suite.

    `effect`: whether the strategy has a w of its own; identical strategies have none.
    """
    repetitions = problems[0].shape[0]
    common = _seed_effects(world, rng, (repetitions, seeds))
    found = []
    for logits in problems:
        own = world.suite_seed * rng.standard_normal((repetitions, seeds))
        logits = logits + np.float32(shift)
        if effect and world.effect:
            logits = logits + np.float32(world.effect) * rng.standard_normal(logits.shape, dtype=np.float32)
        chance = logits[:, None, :] + (common + own)[:, :, None].astype(np.float32)
        if world.interaction:
            chance += np.float32(world.interaction) * rng.standard_normal(chance.shape, dtype=np.float32)
        chance = expit(chance, out=chance)
        hits = np.zeros(chance.shape, dtype=np.uint8)
        for _ in range(world.samples):
            hits += rng.random(chance.shape, dtype=np.float32) < chance
        found.append(hits)
    return found


def scores(
    world: World, rng: np.random.Generator, problems: Sequence[np.ndarray], seeds: int, shift: float, effect: bool
) -> list[np.ndarray]:
    """`counts` as mean scores of a problem under a seed."""
    return [hits / world.samples for hits in counts(world, rng, problems, seeds, shift, effect)]


@cache
def true_mean(world: World, shift: float = 0.0, effect: bool = False, k: int = 1) -> float:
    """Expectation of pass@k (k = 1: of the score) over problems, seeds and samples, by quadrature."""
    variance = world.suite_seed**2 + world.interaction**2 + (world.effect**2 if effect else 0.0)
    moves, weights = _seed_atoms(world)
    if world.seed_law == "normal" or world.seed_law == "collapse":
        variance += world.seed**2
    nodes, mass = roots_hermitenorm(31)
    logits = shift + moves[:, None] + np.sqrt(variance) * nodes
    mass = weights[:, None] * mass / mass.sum()
    odds = np.exp(logits).ravel()
    total = 0.0
    for a, b in world.difficulties:
        q, share = roots_sh_jacobi(80, a + b - 1, a)
        chance = q[:, None] * odds / (1 - q[:, None] + q[:, None] * odds)
        total += float((share / share.sum()) @ (1 - (1 - chance) ** k) @ mass.ravel())
    return total / len(world.difficulties)


@cache
def shift_for(world: World, difference: float, effect: bool = True) -> float:
    """The shift that makes a strategy better by `difference` (a share) than one without shift and effect."""
    base = true_mean(world)
    return float(brentq(lambda shift: true_mean(world, shift, effect) - base - difference, -3.0, 3.0, xtol=1e-10))


def _seed_atoms(world: World) -> tuple[np.ndarray, np.ndarray]:
    """Values and weights of the part of the seed effect that is not normal."""
    if world.seed_law == "collapse":
        return np.array([0.0, COLLAPSE]), np.array([1 - COLLAPSED, COLLAPSED])
    if world.seed_law == "heavy":
        quantiles = student_t.ppf((np.arange(ATOMS) + 0.5) / ATOMS, HEAVY_DF)
        return world.seed / np.sqrt(HEAVY_DF) * quantiles, np.full(ATOMS, 1 / ATOMS)
    return np.zeros(1), np.ones(1)


def _seed_effects(world: World, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    if world.seed_law == "heavy":
        return world.seed / np.sqrt(HEAVY_DF) * rng.standard_t(HEAVY_DF, size=shape)
    effects = world.seed * rng.standard_normal(shape)
    if world.seed_law == "collapse":
        effects += COLLAPSE * (rng.random(shape) < COLLAPSED)
    return effects
