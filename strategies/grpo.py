"""Group relative policy optimisation and two descendants: RL on rollouts alone.

Sources: GRPO, DeepSeekMath, arXiv 2402.03300, Eq. 3; Dr.GRPO, arXiv 2503.20783, and sail-sg/understand-r1-zero;
DAPO, arXiv 2503.14476, Eq. 8-12; policy loss of verl `core_algos.py`.

    L = - sum_{i,t} agg(i,t) min(r A, clip(r, 1 - clip_low, 1 + clip_high) A),   r = pi_theta / pi_old

The four parts: pi_ref = pi_old; advantage A = R - group mean, divided by the sample standard deviation + 1e-6 if
`normalize_std`; stability mask = 0 where the clipped branch is active; weight = 1.

Option `variant` is a named bundle, and every other option overrides one part of it:

    grpo     std, clip .2/.2, mean over tokens of a row, then over rows ("sequence")
    dr_grpo  no std, clip .2/.2, sum over tokens / L_max, mean over rows ("constant")
    dapo     std, clip .2/.28, mean over all tokens ("token"), groups with uniform reward dropped

Differences between paper and code, as options: GRPO's KL penalty (`kl_coefficient`, 0.04 in the paper, 0 in most code
today; needs reference log-probs); verl's dual clip (`dual_clip`, 3.0 there); no clipping, as LUFFY, ReLIFT and HPT are
run (`clip_low` and `clip_high` = "off"); their sum that is not divided by rows ("constant_sum"). DAPO samples new
prompts for dropped groups, here the step is smaller; its overlong penalty belongs to the reward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from strategies.base import Batch, Component, Group, Row, SamplingPlan, Sizes, Step, Strategy
from strategies.policy_gradient import GrpoOptions, PolicyGradient
from strategies.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register
class Grpo(Strategy):
    name = "grpo"
    summary = "RL alone: group-normalised advantages with PPO clipping (GRPO, Dr.GRPO, DAPO)"
    source = "arXiv 2402.03300, 2503.20783, 2503.14476; verl core_algos.py"
    kind = "single"
    Config = GrpoOptions

    def __init__(self, config: GrpoOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.policy = PolicyGradient.of_variant(config)
        self.requires = self.policy.requires
        self._dropped = 0.0

    def plan(self, step: Step) -> SamplingPlan:
        return SamplingPlan(prompts=self.sizes.prompts, rollouts=self.sizes.group)

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        kept = self.policy.select(groups)
        self._dropped = 1.0 - len(kept) / max(len(groups), 1)
        return super().route(kept, pool, step)

    def advantages(self, batch: Batch) -> Tensor:
        return self.policy.advantages(batch)

    def components(self, batch: Batch, step: Step) -> list[Component]:
        return self.policy.components(batch)

    def metrics(self) -> dict[str, float]:
        """dropped: share of the last step's groups left out for uniform reward."""
        return {"dropped": self._dropped}
