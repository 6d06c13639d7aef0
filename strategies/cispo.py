"""CISPO: the importance ratio as a clipped weight, so that no token loses its gradient.

Source: MiniMax-M1, arXiv 2506.13585, Eq. 4-5; verl `compute_policy_loss_cispo`, open-instruct `compute_grpo_loss`, TRL
`grpo_trainer.py`.

    L = - (1 / tokens) sum_{i,t} stop_grad[clip(r)] A log pi_theta,   r = pi_theta / pi_old

The four parts: pi_ref = pi_theta; advantage as in `grpo`; no mask; weight clip(r).

Option `cispo_clip`, where paper and code differ:

    verl           clip(r, 1 - clip_low, 1 + clip_high), the paper's Eq. 5 (default)
    open_instruct  min(r, 1 + clip_high)
    trl            min(r, clip_high): an absolute value, 5.0 unless given (TRL's advice; ScaleRL, arXiv 2510.13786)

Defaults: `clip_low` "off", as the paper runs it (verl's example: 10, the same), so that the first two forms agree until
it is set; `clip_high` 0.28 (Trinity-RFT; verl's example: 0.2; the paper gives none); mean over all tokens of the step;
advantages divided by the deviation; no KL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from strategies.grpo import RolloutOnly
from strategies.policy_options import PolicyOptions
from strategies.registry import register


@dataclass(frozen=True)
class CispoOptions(PolicyOptions):
    """Options of `cispo`."""

    variant: ClassVar[str] = "cispo"


@register
class Cispo(RolloutOnly):
    name = "cispo"
    summary = "RL alone: clipped importance ratio as a weight on every token (CISPO)"
    source = "arXiv 2506.13585, Eq. 4-5; verl, open-instruct, TRL"
    kind = "single"
    parity = "original code: verl, open-instruct"
    Config = CispoOptions
