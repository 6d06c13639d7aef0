"""A rule-based controller: the weight of SFT is what the mean reward lacks to a target.

Source: ablation of CHORD, arXiv 2508.11408 (tool use: tau 0.5 good, 0.7 bad).

    L = (1 - mu) L_RL + mu L_SFT,   mu = max(0, tau - mean reward of the step's rollouts), at most 1

The four parts: RL as in `grpo`, scale 1 - mu; SFT as `sft_loss` says, scale mu.

Defaults: tau 0.5; token means in both branches, as in `chord_mu`, on whose losses the ablation is made. tau = 0 is RL
alone for rewards >= 0. The mean is of the step alone, before groups are dropped; a step without rollouts keeps mu, and
before the first mu is tau, as if no rollout were correct.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from strategies.base import Sizes, Step
from strategies.mixture import Mixture, MixtureOptions, check_unit
from strategies.policy_options import Aggregation
from strategies.registry import register


@dataclass(frozen=True)
class RewardAdaptiveOptions(MixtureOptions):
    """Options of `reward_adaptive`: the target of the mean reward, and those of both branches."""

    tau: float = 0.5
    aggregation: Aggregation | None = "token"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unit(self, "tau")


@register
class RewardAdaptive(Mixture):
    name = "reward_adaptive"
    summary = "(1 - mu) GRPO + mu SFT, mu = max(0, tau - mean reward)"
    source = "arXiv 2508.11408, ablation of the global weight"
    kind = "controller"
    parity = "formula"
    Config = RewardAdaptiveOptions
    STATE = ("mu",)

    def __init__(self, config: RewardAdaptiveOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.mu = config.tau

    def adapt(self, statistics: Mapping[str, float], step: Step) -> None:
        """Uses `reward`."""
        if "reward" in statistics:
            self.mu = min(max(self.config.tau - statistics["reward"], 0.0), 1.0)
