"""RL-PLUS: LUFFY's group with multiple importance sampling and an exploration weight on the demonstration.

Sources: arXiv 2508.00222, Eq. 4-7; YihongDong/RL-PLUS `rlplus_core_alg.py`, `exp_scripts/train_RL-PLUS.sh`.

    L = - (1 / L_max) sum_{i,t} A_i r_it  (rollouts)
        - (1 / L_max) sum_t A sg[(1 - p_t)^exploration] 2 p_t / (pi_old + pi_b)  (demonstration),
    pi_b = (pi_old + 1) / 2

p = pi_theta, sg = stop gradient. pi_b is the estimate of the unknown policy that wrote the demonstration: half the old
policy, half probability 1. The paper calls the second half uniform; its code has 1.

The four parts: rollouts: as in `luffy`. Demonstration: pi_ref = (1.5 pi_old + 0.5) / 2, advantage A, no mask, weight
(1 - p)^exploration. pi_old of the demonstration's tokens is the policy's before the step's first update.

Defaults are the script's: `exploration` 0.5 (best in the paper), the rest as in `luffy`: no deviation, no clip, sums
over L_max that are not divided by rows, entropy bonus 0.001. The paper divides A by the deviation (`normalize_std`).
`importance = "none"` takes pi_ref = 1, the function's other strategy, which has no exploration weight
(`exploration = 0`). `baseline`, `missing` and the options of the rollouts' term: see `luffy`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from strategies.base import Batch, Component, Sizes
from strategies.demo_group import ROLLOUTS, DemoGroup, DemoGroupOptions
from strategies.policy_options import PolicyOptions, complete
from strategies.registry import register


@dataclass(frozen=True)
class RlPlusOptions(DemoGroupOptions, PolicyOptions):
    """Options of `rl_plus`: the demonstration's term, the group, and the rollouts' term."""

    importance: Literal["multiple", "none"] = "multiple"
    exploration: float = 0.5  # power of 1 - p; 0: no exploration weight

    def __post_init__(self) -> None:
        DemoGroupOptions.__post_init__(self)
        PolicyOptions.__post_init__(self)
        complete(self, ROLLOUTS)
        if not self.exploration >= 0.0:
            raise ValueError(f"option exploration must be >= 0, not {self.exploration}")


@register
class RlPlus(DemoGroup):
    name = "rl_plus"
    summary = "the demonstration inside the group, with multiple importance sampling and weight (1 - p)^0.5"
    source = "arXiv 2508.00222, Eq. 4-7; YihongDong/RL-PLUS train_RL-PLUS.sh"
    kind = "group"
    parity = "formula, as the released function has it"
    Config = RlPlusOptions

    def __init__(self, config: RlPlusOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes, config)
        if config.importance == "multiple":
            self.requires = self.requires | {"given_logp"}

    def demo_terms(self, batch: Batch) -> list[Component]:
        logp = batch.logp.detach()
        reference = logp * 0.0
        if self.config.importance == "multiple":
            reference = (1.5 * batch.old_logp.exp() + 0.5).log() - math.log(2.0)
        weight = (1.0 - logp.exp()).clamp(min=0.0) ** self.config.exploration
        return [self.demo_term(batch, reference, weight)]
