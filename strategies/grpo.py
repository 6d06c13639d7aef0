"""Group relative policy optimisation, or a named variant of it: RL on rollouts alone.

Sources: GRPO, DeepSeekMath, arXiv 2402.03300, Eq. 3; policy loss of verl `core_algos.py`.

    L = - sum_{i,t} agg(i,t) min(r A, clip(r, 1 - clip_low, 1 + clip_high) A),   r = pi_theta / pi_old

The four parts: pi_ref = pi_old; advantage A = R - group mean, divided by the sample standard deviation + 1e-6 if
`normalize_std`; stability mask = 0 where the clipped branch is active; weight = 1. Other policy losses, GSPO's and
CISPO's, have parts of their own: see `policy_gradient`.

Option `variant` (grpo, dr_grpo, dapo, gspo, cispo) is a named bundle, see `policy_options`; every other option
overrides one part of it. Each variant is a strategy of its own too. Here "dapo" is only its loss, with dropped groups
making the step smaller; the strategy `dapo` adds dynamic sampling and the overlong penalty.

Differences between paper and code, as options: GRPO's KL penalty (`kl_coefficient`, 0.04 in the paper, 0 in most code
today; needs reference log-probs); verl's dual clip (`dual_clip`, 3.0 there); no clipping, as LUFFY, ReLIFT and HPT are
run (`clip_low` and `clip_high` = "off"); their sum that is not divided by rows ("constant_sum").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from strategies.base import Batch, Component, Group, Row, SamplingPlan, Sizes, Step, Strategy
from strategies.policy_gradient import GrpoOptions, PolicyGradient, PolicyOptions
from strategies.registry import register

if TYPE_CHECKING:
    from torch import Tensor


class RolloutOnly(Strategy):
    """RL on the run's prompts, without demonstrations; `config.variant` names the loss."""

    def __init__(self, config: PolicyOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.policy = PolicyGradient.of_variant(config)
        self.requires = self.policy.requires
        self._dropped = 0.0

    def plan(self, step: Step) -> SamplingPlan:
        return SamplingPlan(prompts=self.sizes.prompts, rollouts=self.sizes.group)

    def keep(self, groups: Sequence[Group]) -> list[Group]:
        """The groups to train on."""
        kept = self.policy.select(groups)
        self._dropped = 1.0 - len(kept) / max(len(groups), 1)
        return kept

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        return super().route(self.keep(groups), pool, step)

    def advantages(self, batch: Batch) -> Tensor:
        return self.policy.advantages(batch)

    def components(self, batch: Batch, step: Step) -> list[Component]:
        return self.policy.components(batch)

    def metrics(self) -> dict[str, float]:
        """dropped: share of the last step's groups left out for uniform reward."""
        return {"dropped": self._dropped}


@register
class Grpo(RolloutOnly):
    name = "grpo"
    summary = "RL alone: group-normalised advantages with PPO clipping, or a variant of it"
    source = "arXiv 2402.03300; verl core_algos.py"
    kind = "single"
    parity = "original code: verl, ReLIFT, open-instruct"
    Config = GrpoOptions
