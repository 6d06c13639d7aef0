"""The exact gradients behind the mix, by separate backward passes: what a controller's proxies only estimate.

The rows of each branch, RL and SFT, are split by question into M parts. With G_m = M times the gradient of part m,
g = mean of G_m is the branch's gradient on the step, and

    sigma^2 = sum_m |G_m - g|^2 / (M (M - 1))                      the variance of g, trace over parameters
    Delta^2 = |g_s - g_r|^2 - sigma_s^2 - sigma_r^2                 unbiased for |E g_s - E g_r|^2; may be below 0
    mu*     = (alpha Delta^2 + sigma_r^2) / (Delta^2 + sigma_s^2 + sigma_r^2)
    E(mu) - E(mu*) = (mu - mu*)^2 (Delta^2 + sigma_s^2 + sigma_r^2)

(GAC, arXiv 2605.26184, section 3: the mean squared error of mu g_s + (1 - mu) g_r against alpha g_s + (1 - alpha) g_r,
with Delta^2 taken as 0 where the estimate is below it).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from harness.core import Learner
from harness.seeds import permutation
from strategies.base import Batch, Role, Row, Step
from strategies.estimator import Counts, branch_losses

PARTS = 8  # at most; a branch with fewer questions has a part for each


class GradientProbe:
    """`measure` is handed to `Learner.update`; `result` holds what it found."""

    def __init__(self, learner: Learner, rows: Sequence[Row], step: Step) -> None:
        self.learner = learner
        self.rows = rows
        self.step = step
        self.result: dict[str, float] = {}
        self.seconds = 0.0

    def measure(self, whole: Batch, counts: Counts) -> None:
        """Fills `result`; empty if a branch has fewer than two questions with a gradient."""
        started = time.perf_counter()
        found = {name: self._branch(name, whole, counts) for name in ("rl", "sft")}
        self.seconds = time.perf_counter() - started
        (rl, rl_noise), (sft, sft_noise) = found["rl"], found["sft"]
        if rl is None or sft is None:
            return
        metrics = self.learner.strategy.metrics()
        alpha, mu = metrics.get("alpha", 0.5), metrics.get("mu")
        delta = float((sft - rl).square().sum()) - sft_noise - rl_noise
        spread = max(delta, 0.0)
        total = spread + sft_noise + rl_noise
        norms = float(rl.norm()), float(sft.norm())
        self.result = {
            "true_sigma_r2": rl_noise,
            "true_sigma_s2": sft_noise,
            "true_delta_g2": delta,
            "true_norm_rl": norms[0],
            "true_norm_sft": norms[1],
        }
        if norms[0] and norms[1]:
            self.result["true_cosine"] = float(rl @ sft) / (norms[0] * norms[1])
        if total > 0:
            best = (alpha * spread + rl_noise) / total
            self.result["mu_optimal"] = best
            self.result["error_optimal"] = (
                (best - alpha) ** 2 * spread + best**2 * sft_noise + (1 - best) ** 2 * rl_noise
            )
            if mu is not None:
                self.result["mu_regret"] = (mu - best) ** 2 * total

    def _branch(self, name: str, whole: Batch, counts: Counts) -> tuple[Tensor | None, float]:
        """(gradient, its variance) of a branch; None if it cannot be split."""
        parts = self._parts(name)
        m = len(parts)
        if m < 2:
            return None, 0.0
        total, squares = None, 0.0
        for index in parts:
            gradient = m * self._gradient(name, index, whole, counts).double()
            total = gradient if total is None else total + gradient
            squares += float(gradient.square().sum())
        assert total is not None
        mean = total / m
        # sum_m |G_m - g|^2 = sum |G_m|^2 - M |g|^2
        return mean, max(squares - m * float(mean.square().sum()), 0.0) / (m * (m - 1))

    def _parts(self, name: str) -> list[list[int]]:
        """Rows of the branch in parts of whole questions, whose rows share a baseline."""

        def belongs(row: Row) -> bool:
            return row.role == Role.ROLLOUT if name == "rl" else row.role != Role.ROLLOUT or row.prefix > 0

        rows = [i for i, row in enumerate(self.rows) if belongs(row)]
        groups = sorted({self.rows[i].group for i in rows})
        m = min(PARTS, len(groups))
        order = permutation(len(groups), "gradient probe", self.step.index)
        place = {groups[g]: k % m for k, g in enumerate(order)}
        parts: list[list[int]] = [[] for _ in range(m)]
        for i in rows:
            parts[place[self.rows[i].group]].append(i)
        return parts

    def _gradient(self, name: str, index: list[int], whole: Batch, counts: Counts) -> Tensor:
        learner = self.learner
        parameters = [p for p in learner.model.parameters() if p.requires_grad]
        total = torch.zeros(sum(p.numel() for p in parameters), device=learner.device)
        step = learner.spec.train.micro_rows
        for start in range(0, len(index), step):
            chunk = index[start : start + step]
            tokens = learner.tokens([self.rows[i] for i in chunk], whole.prefix is not None)
            batch, _ = learner.micro(whole, chunk, tokens, gradient=True)
            loss = branch_losses(learner.strategy, batch, self.step, counts)[name]
            grads = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
            total = total + torch.cat([grad.flatten() for grad in grads])
        return total
