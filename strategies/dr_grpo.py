"""Dr.GRPO: GRPO without the two normalisations that bias it, by length and by difficulty.

Source: arXiv 2503.20783; sail-sg/understand-r1-zero (`masked_sum / generate_max_length`).

    L = - (1 / N) sum_i (1 / L_max) sum_t min(r A, clip(r, 1 - clip_low, 1 + clip_high) A),   A = R - group mean

The four parts: as in `grpo`, with advantages that are not divided by the deviation. N is the rows of the step, L_max
the run's longest response.

Defaults: clip .2/.2, no KL. `aggregation` "constant_sum" leaves 1 / N out, as LUFFY, HPT and ReLIFT do. The paper's
advantage is R - mean over all rows of the group, the row itself included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from strategies.grpo import RolloutOnly
from strategies.policy_options import PolicyOptions
from strategies.registry import register


@dataclass(frozen=True)
class DrGrpoOptions(PolicyOptions):
    """Options of `dr_grpo`."""

    variant: ClassVar[str] = "dr_grpo"


@register
class DrGrpo(RolloutOnly):
    name = "dr_grpo"
    summary = "RL alone: GRPO without the normalisation by length and by deviation"
    source = "arXiv 2503.20783; sail-sg/understand-r1-zero"
    kind = "single"
    parity = "original code: ReLIFT, verl token-sum-norm"
    Config = DrGrpoOptions
