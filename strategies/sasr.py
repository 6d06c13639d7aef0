"""SASR: each step is either SFT or GRPO, drawn with a probability that follows the norm of the SFT gradient.

Source: arXiv 2505.13026. Known from it: an SFT warm-up; then the SFT gradient's norm now, relative to its value at the
end of warm-up, and the divergence from the initial distribution decide how likely a step is SFT. The exact formula was
not obtained; this one is a proposal of ours, without a term of its own for the divergence:

    L = L_SFT with probability p, else L_GRPO;   p = G / (G + gamma G_ref);   p = 1 during warm-up

G is the gradient norm of the newest SFT step. `reference` says what G_ref is: "warmup" (default) the norm of the last
SFT step of the warm-up, so that p falls from 1 / (1 + gamma) as the demonstrations are learnt; "rl" the norm of the
newest GRPO step. Until a norm is known, p = 1 / (1 + gamma). Norms are those before clipping.

The four parts: RL as in `grpo`, SFT as `sft_loss` says; one of them has weight 1, the other 0. mu, in the log, is 1 in
SFT steps. SFT steps make no rollouts, GRPO steps read no demonstrations.

Defaults, ours as well: gamma 1, warm-up 100 of `horizon` (1,000) ticks. gamma = 0, or warmup = horizon, is SFT alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from strategies.base import SamplingPlan, Sizes, Step
from strategies.mixture import Mixture, MixtureOptions
from strategies.registry import register
from strategies.schedules import ClockOptions


@dataclass(frozen=True)
class SasrOptions(ClockOptions, MixtureOptions):
    """Options of `sasr`: warm-up, probability and clock, and those of both losses."""

    warmup: float = 100.0
    gamma: float = 1.0
    reference: Literal["warmup", "rl"] = "warmup"

    def __post_init__(self) -> None:
        MixtureOptions.__post_init__(self)
        ClockOptions.__post_init__(self)
        for option in ("warmup", "gamma"):
            if not getattr(self, option) >= 0.0:
                raise ValueError(f"option {option} must be >= 0, not {getattr(self, option)}")


@register
class Sasr(Mixture):
    name = "sasr"
    summary = "each step is SFT or GRPO, SFT with a probability from gradient norms, after an SFT warm-up"
    source = "arXiv 2505.13026; its formula was not obtained, this one is a proposal"
    kind = "controller"
    parity = "none: a proposal, the formula was not obtained"
    Config = SasrOptions
    STATE = ("sft_norm", "rl_norm", "warmup_norm")

    def __init__(self, config: SasrOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.sft_norm: float | None = None  # of the newest SFT step
        self.rl_norm: float | None = None  # of the newest GRPO step
        self.warmup_norm: float | None = None  # of the last SFT step of the warm-up; without one, of the first SFT step
        self._probability = 1.0  # of this step
        self._warming = True

    def probability(self, step: Step) -> float:
        """How likely `step` is SFT."""
        config = self.config
        if config.position(step) < config.warmup:
            return 1.0
        reference = self.warmup_norm if config.reference == "warmup" else self.rl_norm
        if self.sft_norm is None or reference is None or self.sft_norm + config.gamma * reference == 0.0:
            return 1.0 / (1.0 + config.gamma)
        return self.sft_norm / (self.sft_norm + config.gamma * reference)

    def mu_at(self, step: Step) -> float:
        return float(random.Random(step.seed).random() < self.probability(step))

    def plan(self, step: Step) -> SamplingPlan:
        return self.plan_for(self.mu_at(step))

    def adapt(self, statistics: Mapping[str, float], step: Step) -> None:
        super().adapt(statistics, step)
        self._probability = self.probability(step)
        self._warming = self.config.position(step) < self.config.warmup

    def accept(self, grad_norm: float) -> bool:
        """Learns the norm of the step's loss; a norm that is not finite teaches nothing."""
        if math.isfinite(grad_norm) and self.mu == 1.0:
            self.sft_norm = grad_norm
            if self._warming or self.warmup_norm is None:
                self.warmup_norm = grad_norm
        elif math.isfinite(grad_norm):
            self.rl_norm = grad_norm
        return True

    def metrics(self) -> dict[str, float]:
        """mu: 1 in an SFT step, 0 in a GRPO step; p_sft: the probability it was drawn with."""
        return {"mu": self.mu, "p_sft": self._probability}
