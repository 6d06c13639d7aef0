"""The quadratic world: true gradients, noisy rows, and the statistics that a controller is told.

J(theta) = 1/2 (theta - theta*)^T H (theta - theta*), H diagonal without loss of generality (the noise is isotropic),
theta* = 0. The RL oracle follows grad J, the SFT oracle h (theta - theta_demo) with h the mean curvature: the
likelihood's curvature is not the reward's, so that D = |g_s - g_r|^2 moves with theta. Arrays: [S, A] is seeds by arms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.seeds import seed_for
from harness.testbed import oracle
from harness.testbed.scenarios import Scenario, Settings, at

KL_AT_OPTIMUM = 0.05  # nats per token: KL(theta) = 0.05 |theta - theta_0|^2 / |theta* - theta_0|^2
CONDITION = 10.0  # largest over smallest curvature
NLL_VARIANCE = 0.01  # of demonstrations at the start, in coefficient space
PHI2 = 0.01  # mean square of the SFT coefficient p (1 - p)


@dataclass(frozen=True)
class Truth:
    """Expectations and variances at theta: gradients [S, A, d], everything else [S, A]."""

    suboptimality: np.ndarray
    reward: np.ndarray
    g_r: np.ndarray  # expectation of the RL oracle: grad J, or its visible share where the reward is sparse
    g_s: np.ndarray
    gradient: np.ndarray  # grad J
    delta: np.ndarray
    sigma_r2: np.ndarray
    sigma_s2: np.ndarray

    def declared(self, alpha: float) -> oracle.Error:
        return oracle.declared(alpha, self.delta, self.sigma_s2, self.sigma_r2)

    def direction(self) -> oracle.Error:
        return oracle.direction(self.g_s - self.gradient, self.g_r - self.gradient, self.sigma_s2, self.sigma_r2)


@dataclass(frozen=True)
class Sample:
    """One step's batch: mean gradients [S, A, d] and estimates [S, A] made from its rows.

    Both variances are those of the batch mean: sum of squared deviations over n (n - 1), unbiased. `delta` is the
    squared distance of the two means less both variances: unbiased, and below zero at times. `mixed`: share of groups
    with right and wrong rollouts. `reward`: share of right rollouts.
    """

    g_r: np.ndarray
    g_s: np.ndarray
    sigma_r2: np.ndarray
    sigma_s2: np.ndarray
    delta: np.ndarray
    reward: np.ndarray
    mixed: np.ndarray


class World:
    """One scenario for all seeds; every arm of a seed meets the same draws."""

    def __init__(self, scenario: Scenario, settings: Settings) -> None:
        self.scenario, self.settings = scenario, settings
        d = settings.dimension
        self.curvature = np.geomspace(1.0 / CONDITION, 1.0, d)
        seeds = range(settings.seed, settings.seed + settings.seeds)
        self._draws = [np.random.default_rng(seed_for("testbed", scenario.name, seed)) for seed in seeds]
        start, demo = (np.array([draw.standard_normal(d) for draw in self._draws]) for _ in range(2))
        self.start = start / np.sqrt(self.suboptimality(start))[:, None]
        self.demo = demo * np.sqrt(scenario.demo_gap / self.suboptimality(demo))[:, None]
        self.unit2 = ((self.curvature * self.start) ** 2).sum(-1)[:, None]  # [S, 1]: |grad J|^2 at the start
        self._decay = -np.log(scenario.start_reward)  # reward = start_reward ^ J

    def suboptimality(self, theta: np.ndarray) -> np.ndarray:
        """J, 1 at the start."""
        return 0.5 * (self.curvature * theta**2).sum(-1)

    def kl(self, theta: np.ndarray) -> np.ndarray:
        """[S, A] nats per token."""
        drift = ((theta - self.start[:, None]) ** 2).sum(-1)
        return KL_AT_OPTIMUM * drift / (self.start**2).sum(-1)[:, None]

    def visible(self, suboptimality: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Share of RL rows that give a gradient at this J, and its derivative by J."""
        if not self.scenario.sparse:
            return np.ones_like(suboptimality), np.zeros_like(suboptimality)
        k, reward = self.settings.group, np.exp(-self._decay * suboptimality)
        slope = -k * reward ** (k - 1) + k * (1.0 - reward) ** (k - 1)
        return 1.0 - reward**k - (1.0 - reward) ** k, slope * -self._decay * reward

    def truth(self, theta: np.ndarray, fraction: float) -> Truth:
        """What is true at theta [S, A, d] when `fraction` of the run is over."""
        scenario, settings = self.scenario, self.settings
        j = self.suboptimality(theta)
        reward = np.exp(-self._decay * j)
        gradient = self.curvature * theta
        g_s = self.curvature.mean() * (theta - self.demo[:, None])
        sigma_r2 = at(scenario.sigma_r, fraction) ** 2 * self.unit2 * np.ones_like(j)
        sigma_s2 = at(scenario.sigma_s, fraction) ** 2 * self.unit2 * np.ones_like(j)
        g_r = gradient
        if scenario.sparse:
            share, _ = self.visible(j)
            g_r = share[..., None] * gradient
            # of a row that is 0 with probability 1 - share, over the number of rows
            sigma_r2 = share * sigma_r2 + share * (1.0 - share) * (gradient**2).sum(-1) / settings.rl_rows
        delta = ((g_s - g_r) ** 2).sum(-1)
        return Truth(j, reward, g_r, g_s, gradient, delta, sigma_r2, sigma_s2)

    def sample(self, truth: Truth, fraction: float) -> Sample:
        """Draws the rows of one step. The draws do not depend on theta, so that arms are compared on equal ones."""
        scenario, settings = self.scenario, self.settings
        d, n_r, n_s = settings.dimension, settings.rl_rows, settings.sft_rows
        noise_r, noise_s, luck = (
            np.stack([draw(rng) for rng in self._draws])
            for draw in (
                lambda rng: rng.standard_normal((n_r, d)),
                lambda rng: rng.standard_normal((n_s, d)),
                lambda rng: rng.random((n_r, settings.group)),
            )
        )
        unit = np.sqrt(self.unit2)[..., None] / np.sqrt(d)  # [S, 1, 1]; a row's noise in one coordinate is this times
        noise_r *= at(scenario.sigma_r, fraction) * np.sqrt(n_r) * unit
        noise_s *= at(scenario.sigma_s, fraction) * np.sqrt(n_s) * unit
        right = luck[:, None] < truth.reward[..., None, None]  # [S, A, rows, group]
        hits = right.sum(-1)
        mixed = (hits > 0) & (hits < settings.group)
        active = mixed.astype(float) if scenario.sparse else np.ones(mixed.shape)
        g_r, sigma_r2 = _of_rows(truth.gradient, noise_r, active)
        g_s, sigma_s2 = _of_rows(truth.g_s, noise_s, np.ones((*truth.reward.shape, n_s)))
        delta = ((g_s - g_r) ** 2).sum(-1) - sigma_r2 - sigma_s2
        return Sample(g_r, g_s, sigma_r2, sigma_s2, delta, hits.mean(-1) / settings.group, mixed.mean(-1))

    def statistics(self, sample: Sample) -> dict[str, np.ndarray]:
        """What the controllers are told, [S, A] by name.

        gradient      estimates from the rows' gradients; delta_g2 not below 0, which biases it upwards under noise.
        unfloored     the same without that floor: unbiased, below zero at times.
        coefficient   what the loss's token coefficients would show. After normalisation within its group an advantage
                      has variance 1 where outcomes are mixed and 0 elsewhere, whatever the gradient's noise: sigma_r2
                      is the share of mixed groups. sigma_s2 is a variance of NLLs, of the order of 0.01; it follows
                      the noise of demonstrations but not its scale. delta_g2 averages the squared advantage over RL
                      rows and the squared SFT coefficient over demonstrations.
        z_score       as `coefficient`, with both coefficients scaled to unit variance: delta_g2 = 2 (uncorrelated).
        """
        settings = self.settings
        known = {"reward": sample.reward, "sigma_r2": sample.sigma_r2, "sigma_s2": sample.sigma_s2}
        if settings.proxy == "gradient":
            return known | {"delta_g2": np.maximum(sample.delta, 0.0)}
        if settings.proxy == "unfloored":
            return known | {"delta_g2": sample.delta}
        known["sigma_r2"] = sample.mixed
        known["sigma_s2"] = NLL_VARIANCE * sample.sigma_s2 / (at(self.scenario.sigma_s, 0.0) ** 2 * self.unit2)
        total = settings.rl_rows + settings.sft_rows
        delta = (settings.rl_rows * sample.mixed + settings.sft_rows * PHI2) / total
        return known | {"delta_g2": delta if settings.proxy == "coefficient" else np.full(delta.shape, 2.0)}


def _of_rows(gradient: np.ndarray, noise: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of rows active_i (gradient + noise_i), and the estimated variance of that mean.

    gradient [S, A, d], noise [S, n, d], active [S, A, n].
    """
    n = noise.shape[1]
    count = active.sum(-1)
    pull = active @ noise
    mean = (count[..., None] * gradient + pull) / n
    squares = count * (gradient**2).sum(-1) + 2.0 * (gradient * pull).sum(-1)
    squares += (active @ (noise**2).sum(-1)[..., None])[..., 0]
    return mean, np.maximum(squares - n * (mean**2).sum(-1), 0.0) / (n * (n - 1))
