"""GSPO: group sequence policy optimisation, with one importance ratio and one clip for a whole response.

Source: arXiv 2507.18071, Eq. 5-7 (GSPO-token, Eq. 13-14, has the same gradient, since A is the same for all tokens of
a row); verl `compute_policy_loss_gspo`.

    L = - (1 / N) sum_i min(s_i A_i, clip(s_i, 1 - clip_low, 1 + clip_high) A_i)
    s_i = exp((1 / |y_i|) sum_t (log pi_theta - log pi_old))

The four parts: pi_ref = pi_theta; advantage as in `grpo`; mask = 0 on rows whose clipped branch is active; weight s_i.
The gradient of s_i puts s_i A_i / |y_i| on each token of row i: the aggregation is "sequence" and cannot be another.

Defaults: clip 3e-4 / 4e-4 (section 5.1), advantages divided by the deviation, no KL. verl clamps log s_i at 10: no
gradient beyond.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from strategies.grpo import RolloutOnly
from strategies.policy_options import PolicyOptions
from strategies.registry import register


@dataclass(frozen=True)
class GspoOptions(PolicyOptions):
    """Options of `gspo`."""

    variant: ClassVar[str] = "gspo"


@register
class Gspo(RolloutOnly):
    name = "gspo"
    summary = "RL alone: one importance ratio and clip per response (GSPO)"
    source = "arXiv 2507.18071, Eq. 5-7; verl core_algos.py"
    kind = "single"
    parity = "formula"
    Config = GspoOptions
