"""Runs one scenario: all seeds and arms side by side, on the same draws of noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.seeds import seed_for
from harness.testbed.arms import NOISE, ORACLES, Arm
from harness.testbed.plan import best_schedule
from harness.testbed.scenarios import Scenario, Settings
from harness.testbed.world import World
from strategies.base import SamplingPlan, Strategy
from strategies.rows import Step

GRID = tuple(round(0.05 * i, 2) for i in range(21))  # the fixed weights that the best in hindsight is sought among
FIXED = tuple(f"mu={mu:.2f}" for mu in GRID)
UNFLOORED = "delta_g2 before its floor at 0"
REFERENCES = (*ORACLES, *FIXED)


@dataclass(frozen=True)
class Trace:
    """What happened: arrays [steps, seeds, arms], arms in the order of `names`: REFERENCES, then the strategies.

    `mu` as applied; `best` and `best_direction` the two mu* at the arm's own theta; `regret` and `regret_direction`
    E(mu) - E(mu*) in units of |grad J|^2 at the start; `suboptimality` J after the step, 1 at the start. `told`:
    per statistic the mean over steps and seeds of (estimate, truth) along the oracle's path.
    """

    scenario: Scenario
    names: tuple[str, ...]
    mu: np.ndarray
    best: np.ndarray
    best_direction: np.ndarray
    regret: np.ndarray
    regret_direction: np.ndarray
    suboptimality: np.ndarray
    told: dict[str, tuple[float, float]]

    def of(self, name: str) -> int:
        """Index of an arm."""
        return self.names.index(name)


def simulate(scenario: Scenario, settings: Settings, arms: Sequence[Arm]) -> Trace:
    """Descends with the mixed gradient under every reference and arm, a controller of its own for each seed."""
    world = World(scenario, settings)
    schedule = best_schedule(world)
    names = (*REFERENCES, *(arm.name for arm in arms))
    shape = (settings.steps, settings.seeds, len(names))
    mu, best, best_direction, regret, regret_direction, suboptimality = (np.empty(shape) for _ in range(6))
    controllers = [[arm.controller(settings) for arm in arms] for _ in range(settings.seeds)]
    # those with an opinion on the gradient norm; for the others the update is accepted
    asked = [
        (s, i)
        for s, of_seed in enumerate(controllers)
        for i, controller in enumerate(of_seed, start=len(REFERENCES))
        if type(controller).accept is not Strategy.accept
    ]
    theta = np.repeat(world.start[:, None], len(names), axis=1)
    told: dict[str, list[tuple[float, float]]] = {name: [] for name in (*sorted(NOISE), UNFLOORED)}
    for index in range(settings.steps):
        fraction = index / settings.steps
        truth = world.truth(theta, fraction)
        sample = world.sample(truth, fraction)
        statistics = world.statistics(sample)
        declared, direction = truth.declared(settings.alpha), truth.direction()
        now = mu[index]
        now[:, 0], now[:, 1], now[:, 2] = declared.best[:, 0], direction.best[:, 1], schedule[index]
        now[:, len(ORACLES) : len(REFERENCES)] = GRID
        kl = world.kl(theta).tolist()
        plain = {name: value.tolist() for name, value in statistics.items()}
        for s, of_seed in enumerate(controllers):
            seed = seed_for("testbed", "step", settings.seed + s, index)
            for i, controller in enumerate(of_seed, start=len(REFERENCES)):
                step = Step(index, fraction, kl=kl[s][i], seed=seed)
                hidden = _hidden(controller.plan(step))
                controller.adapt({name: value[s][i] for name, value in plain.items() if name not in hidden}, step)
                now[s, i] = controller.mu_at(step)
        best[index], best_direction[index] = declared.best, direction.best
        regret[index] = declared.regret(now) / world.unit2
        regret_direction[index] = direction.regret(now) / world.unit2
        weight = now[..., None]
        gradient = weight * sample.g_s + (1.0 - weight) * sample.g_r
        norm = np.sqrt((gradient**2).sum(-1))
        for s, i in asked:
            if not controllers[s][i - len(REFERENCES)].accept(float(norm[s, i])):
                gradient[s, i] = 0.0
        theta = theta - settings.learning_rate * gradient
        suboptimality[index] = world.suboptimality(theta)
        for name, estimate, true in (
            *((name, statistics[name], getattr(truth, name)) for name in ("sigma_r2", "sigma_s2")),
            ("delta_g2", statistics["delta_g2"], truth.delta),
            (UNFLOORED, sample.delta, truth.delta),
        ):
            told[name].append((float(estimate[:, 0].mean()), float(true[:, 0].mean())))
    means = {name: tuple(np.mean(pairs, axis=0).tolist()) for name, pairs in told.items()}
    return Trace(scenario, names, mu, best, best_direction, regret, regret_direction, suboptimality, means)


def _hidden(plan: SamplingPlan) -> set[str]:
    """Statistics that a step does not show: it has no rollouts, or no demonstrations."""
    hidden = set()
    if plan.prompts * plan.rollouts == 0:
        hidden |= {"reward", "sigma_r2", "delta_g2"}
    if plan.pool == 0:
        hidden |= {"sigma_s2", "delta_g2"}
    return hidden
