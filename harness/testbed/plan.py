"""The best schedule in hindsight: the course of mu that minimises the expected mean of J over a run.

The mu of least squared error at every step is not the mu that serves J best: noise averages out over steps, a bias does
not. Here mu is planned with everything known: start, demonstrations, and noise to come, the same course for all seeds.
With m and v the mean and variance of theta in each coordinate, one step is

    m' = a m + lr mu h_s theta_demo,  v' = a^2 v + lr^2 (mu^2 S + (1 - mu)^2 R) / d,  a = 1 - lr (mu h_s + (1 - mu) q h)

and E J = 1/2 sum h (m^2 + v): exact where the reward is not sparse (q = 1). Sparse rewards take q, and R, at E J.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from harness.testbed.scenarios import at
from harness.testbed.world import World


def cost(world: World, course: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean over steps and seeds of the expected J under `course` [steps], and its gradient."""
    settings, h, h_s = world.settings, world.curvature, world.curvature.mean()
    lr, d, steps = settings.learning_rate, settings.dimension, settings.steps
    unit2 = world.unit2[:, 0]
    m, v = world.start, np.zeros_like(world.start)
    tape, total = [], 0.0
    for index, mu in enumerate(course):
        fraction = index / steps
        noise_r = at(world.scenario.sigma_r, fraction) ** 2 * unit2
        noise_s = at(world.scenario.sigma_s, fraction) ** 2 * unit2
        q, dq = world.visible(0.5 * (h * (m**2 + v)).sum(-1))
        g2 = (h**2 * (m**2 + v)).sum(-1)
        rl = q * noise_r + q * (1.0 - q) * g2 / settings.rl_rows
        a = 1.0 - lr * (mu * h_s + (1.0 - mu) * q[:, None] * h)
        tape.append((m, v, noise_r, noise_s, q, dq, g2, rl, a))
        m = a * m + lr * mu * h_s * world.demo
        v = a**2 * v + (lr**2 / d * (mu**2 * noise_s + (1.0 - mu) ** 2 * rl))[:, None]
        total += 0.5 * (h * (m**2 + v)).sum()
    scale = 1.0 / (steps * settings.seeds)
    gradient = np.empty_like(course)
    to_m, to_v = np.zeros_like(m), np.zeros_like(v)
    after = (m, v)
    for index in reversed(range(steps)):  # reverse mode through the loop above
        mu = course[index]
        to_m, to_v = to_m + scale * h * after[0], to_v + scale * 0.5 * h
        m, v, noise_r, noise_s, q, dq, g2, rl, a = tape[index]
        spread = to_v.sum(-1) * lr**2 / d
        to_a = to_m * m + 2.0 * to_v * a * v
        to_rl = spread * (1.0 - mu) ** 2
        gradient[index] = (
            (to_a * -lr * (h_s - q[:, None] * h)).sum()
            + (to_m * lr * h_s * world.demo).sum()
            + (spread * (2.0 * mu * noise_s - 2.0 * (1.0 - mu) * rl)).sum()
        )
        to_q = (to_a * -lr * (1.0 - mu) * h).sum(-1) + to_rl * (noise_r + (1.0 - 2.0 * q) * g2 / settings.rl_rows)
        to_j, to_g2 = (to_q * dq)[:, None], (to_rl * q * (1.0 - q) / settings.rl_rows)[:, None]
        after = (m, v)
        to_m = to_m * a + to_j * h * m + to_g2 * 2.0 * h**2 * m
        to_v = to_v * a**2 + to_j * 0.5 * h + to_g2 * h**2
    return total * scale, gradient


def best_schedule(world: World) -> np.ndarray:
    """[steps] the course of mu in [0, 1] of least `cost`, by L-BFGS-B from a constant 1/2."""
    steps = world.settings.steps
    found = minimize(
        lambda course: cost(world, course),
        np.full(steps, 0.5),
        jac=True,
        bounds=[(0.0, 1.0)] * steps,
        method="L-BFGS-B",
        options={"maxiter": 200, "ftol": 1e-9, "gtol": 1e-9},
    )
    return np.clip(found.x, 0.0, 1.0)
