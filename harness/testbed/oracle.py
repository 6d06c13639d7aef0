"""Closed forms of the testbed: squared error of the mixed gradient as a function of mu, and the mu that minimises it.

Both branches are noisy oracles, g_s + e_s and g_r + e_r, with independent zero-mean noises of total variance S and R;
the mixture is mu (g_s + e_s) + (1 - mu) (g_r + e_r). Its expected squared distance from a target t is

    E(mu) = |mu (g_s - t) + (1 - mu) (g_r - t)|^2 + mu^2 S + (1 - mu)^2 R

Declared target t = alpha g_s + (1 - alpha) g_r (arXiv 2605.26184, section 3): with D = |g_s - g_r|^2

    E(mu) = (mu - alpha)^2 D + mu^2 S + (1 - mu)^2 R,   mu* = (alpha D + R) / (D + S + R)

True direction t = grad J: as above with the biases of both branches, b_s = g_s - t and b_r = g_r - t,

    mu* = (|b_r|^2 - b_s.b_r + R) / (|b_s - b_r|^2 + S + R), clipped to [0, 1]

which is the first at alpha = 0 wherever the RL oracle is unbiased.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Error:
    """E(mu) = a mu^2 - 2 b mu + c with a > 0, elementwise over arrays."""

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray

    @property
    def best(self) -> np.ndarray:
        """The mu in [0, 1] with the least E."""
        return np.clip(self.b / self.a, 0.0, 1.0)

    def at(self, mu: np.ndarray | float) -> np.ndarray:
        return self.a * mu**2 - 2.0 * self.b * mu + self.c

    def regret(self, mu: np.ndarray | float) -> np.ndarray:
        """E(mu) - E(mu*) >= 0 for mu in [0, 1], written so that rounding cannot make it negative."""
        best = self.best
        slope = 2.0 * (self.a * best - self.b)  # zero unless mu* is clipped
        return self.a * (mu - best) ** 2 + np.maximum(slope * (mu - best), 0.0)


def declared(alpha: float, delta: np.ndarray, sft: np.ndarray, rl: np.ndarray) -> Error:
    """E for the target alpha g_s + (1 - alpha) g_r; `delta` D, `sft` S, `rl` R."""
    return Error(delta + sft + rl, alpha * delta + rl, alpha**2 * delta + rl)


def direction(bias_s: np.ndarray, bias_r: np.ndarray, sft: np.ndarray, rl: np.ndarray) -> Error:
    """E for the target grad J; biases [..., d] of both branches' expectations."""
    delta = ((bias_s - bias_r) ** 2).sum(-1)
    square = (bias_r**2).sum(-1)
    return Error(delta + sft + rl, square - (bias_s * bias_r).sum(-1) + rl, square + rl)
