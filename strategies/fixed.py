"""A fixed weighted sum of RL and SFT.

Sources: Trinity-RFT `mix_policy_loss.py` (mu = 0.1); LUFFY `train_rl_sft_loss.sh`, whose "RL w/ SFT loss" adds both
losses with weight 1 (half of each here, and twice the learning rate).

    L = (1 - mu) L_RL + mu L_SFT

The four parts: RL as in `grpo`, scale 1 - mu. SFT: as `sft_loss` says (`sft_losses`), scale mu; "plain" by default.

Defaults: mu 0.1 (Trinity's mixture). Trinity averages the RL branch over tokens: `aggregation = "token"`. At mu = 1 no
rollouts are made, at mu = 0 no demonstrations are read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from strategies.base import SamplingPlan, Sizes, Step
from strategies.mixture import Mixture, MixtureOptions, check_unit
from strategies.registry import register


@dataclass(frozen=True)
class FixedOptions(MixtureOptions):
    """Options of `fixed`: the weight of SFT, and those of both branches."""

    mu: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unit(self, "mu")


@register
class Fixed(Mixture):
    name = "fixed"
    summary = "fixed weighted sum: (1 - mu) GRPO + mu SFT"
    source = "Trinity-RFT mix_policy_loss.py; LUFFY train_rl_sft_loss.sh"
    kind = "mixture"
    parity = "original code: LUFFY RL with SFT loss"
    Config = FixedOptions

    def __init__(self, config: FixedOptions, sizes: Sizes) -> None:
        # without a weight on SFT there is nothing to demonstrate
        super().__init__(config, sizes if config.mu > 0.0 else replace(sizes, demos=max(sizes.demos, 1)))
        self.mu = config.mu
        if self.mu == 1.0:  # there are no log-probs of a sampler
            self.requires = self.sft.requires
        elif self.mu == 0.0:
            self.requires = self.policy.requires

    def plan(self, step: Step) -> SamplingPlan:
        return self.plan_for(self.mu)
