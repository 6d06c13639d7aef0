"""A fixed weighted sum of RL and SFT.

Sources: Trinity-RFT `mix_policy_loss.py` (mu = 0.1); CHORD-phi, arXiv 2508.11408, Trinity-RFT `chord_policy_loss.py`.

    L = (1 - mu) L_RL + mu L_SFT

Each branch is normalised by its own counts over the step, so that mu alone sets the mix. The RL branch is that of
`grpo`, with its options, on rollouts; the SFT branch trains on rows from a pool of demonstrations, whose prompts need
not be those of the rollouts.

The four parts: RL as in `grpo`, scale 1 - mu. SFT: pi_ref = pi_theta, advantage 1, no mask, weight 1, scale mu, mean
over the demonstrations' tokens. With `phi`: pi_ref = 1 and weight 1 - p, so that the coefficient is p (1 - p).

Defaults: mu 0.1 (Trinity's mixture; CHORD-phi in the paper's run), phi off (CHORD-phi: on). Trinity averages the RL
branch over tokens: `aggregation = "token"`. At mu = 1 no rollouts are made, at mu = 0 no demonstrations are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strategies.base import Batch, Component, Group, Row, SamplingPlan, Sizes, Step, Strategy
from strategies.policy_gradient import GrpoOptions, PolicyGradient
from strategies.registry import register
from strategies.sft import phi_component, sft_component

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FixedOptions(GrpoOptions):
    """Options of `fixed`: the weight of SFT, its token weight, and the options of `grpo`."""

    mu: float = 0.1
    phi: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.mu <= 1.0:
            raise ValueError(f"option mu must be in [0, 1], not {self.mu}")


@register
class Fixed(Strategy):
    name = "fixed"
    summary = "fixed weighted sum: (1 - mu) GRPO + mu SFT"
    source = "Trinity-RFT mix_policy_loss.py; CHORD-phi, arXiv 2508.11408"
    kind = "mixture"
    Config = FixedOptions

    def __init__(self, config: FixedOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.policy = PolicyGradient.of_variant(config)
        self.requires = self.policy.requires if config.mu < 1.0 else frozenset()
        if config.mu > 0.0 and sizes.demos < 1:
            raise ValueError("strategy fixed needs demonstrations: set the run's `demos` to >= 1, or mu to 0")

    def plan(self, step: Step) -> SamplingPlan:
        pool = self.sizes.demos if self.config.mu > 0.0 else 0
        if self.config.mu == 1.0:
            return SamplingPlan(pool=pool)
        return SamplingPlan(prompts=self.sizes.prompts, rollouts=self.sizes.group, pool=pool)

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        return super().route(self.policy.select(groups), pool, step)

    def advantages(self, batch: Batch) -> Tensor:
        return self.policy.advantages(batch)

    def components(self, batch: Batch, step: Step) -> list[Component]:
        mu = self.config.mu
        components = self.policy.components(batch, 1.0 - mu) if mu < 1.0 else []
        if mu > 0.0:
            components.append(phi_component(batch, mu) if self.config.phi else sft_component(mu))
        return components

    def metrics(self) -> dict[str, float]:
        return {"mu": self.config.mu}
