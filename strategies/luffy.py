"""LUFFY: the full expert demonstration is one member of the group, its likelihood shaped by f(p) = p / (p + gamma).

Sources: arXiv 2504.14945, Eq. 4-7; ElliottYan/LUFFY `compute_token_on_off_policy_loss`, `exp_scripts/train.sh`.

    L = - (1 / L_max) sum_{i,t} A_i r_it  (rollouts),   - (1 / L_max) sum_t A f(p_t)  (demonstration)

with r = pi_theta / pi_old, p = pi_theta, and the demonstration's behaviour policy set to 1. A = R - mean over rollouts
and demonstration, no deviation; the sums are not divided by rows. Entropy bonus on all tokens.

The four parts: rollouts: pi_ref = pi_old, A, no mask, weight 1. Demonstration: A, no mask, weight 1, and the pi_ref
that gives the coefficient d f / d log p = p f'(p):

    reshape       f(p)             coefficient              pi_ref
    p_div_p       p / (p + gamma)  gamma p / (p + gamma)^2  (p + gamma)^2 / gamma   default, gamma 0.1: at most 1/4
    no_reshape    p                p                        1
    logp          w log p          w                        p / w
    p_logp        p + w log p      p + w                    p / (p + w)
    square_root   sqrt(p)          sqrt(p) / 2              2 sqrt(p)
    pow           p^e              e p^e                    p^(1 - e) / e

w = `reshape_weight` (1.0), e = `reshape_power` (0.5). The code's p_div_p_0.1, _0.3 and _0.5 are `gamma`. Its reshape of
rollouts, `target_probs` and bounds of f, all unused in the script, are not offered.

Defaults are the script's. The paper differs: clip 0.2 on rollouts and one mean over all tokens of the group (Eq. 6;
`clip_low`, `clip_high`, `aggregation = "token"`), although its section 4 follows Dr.GRPO; deviation in Eq. 4
(`normalize_std`); `entropy_coefficient` 0.01. `baseline = "rollouts"` is the code's `_split`. Every aggregation counts
rollouts and demonstrations together. A prompt without a fitting demonstration, which the published data has not, takes
one more rollout (`missing = "rollout"`), so that groups keep their size, or trains its smaller group ("smaller").
`drop_uniform_groups` looks at the demonstration's reward too; `kl_coefficient` is on rollouts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strategies.base import Batch, Component, Sizes
from strategies.demo_group import ROLLOUTS, DemoGroup, DemoGroupOptions
from strategies.policy_options import PolicyOptions, complete
from strategies.registry import register

if TYPE_CHECKING:
    from torch import Tensor

Reshape = Literal["p_div_p", "no_reshape", "logp", "p_logp", "square_root", "pow"]


@dataclass(frozen=True)
class ReshapeOptions:
    """The shaping f of the demonstration's likelihood."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    reshape: Reshape = "p_div_p"
    gamma: float = 0.1
    reshape_weight: float = 1.0
    reshape_power: float = 0.5

    def __post_init__(self) -> None:
        for option in ("gamma", "reshape_weight", "reshape_power"):
            if not getattr(self, option) > 0.0:
                raise ValueError(f"option {option} must be > 0, not {getattr(self, option)}")


def shaped_reference(logp: Tensor, options: ReshapeOptions) -> Tensor:
    """[B, T] log pi_ref, with which p / pi_ref = d f(p) / d log p."""
    match options.reshape:
        case "no_reshape":
            return logp * 0.0
        case "logp":
            return logp - math.log(options.reshape_weight)
        case "p_logp":
            return logp - (logp.exp() + options.reshape_weight).log()
        case "square_root":
            return 0.5 * logp + math.log(2.0)
        case "pow":
            return (1.0 - options.reshape_power) * logp - math.log(options.reshape_power)
    return 2.0 * (logp.exp() + options.gamma).log() - math.log(options.gamma)  # p_div_p


@dataclass(frozen=True)
class LuffyOptions(ReshapeOptions, DemoGroupOptions, PolicyOptions):
    """Options of `luffy`: the shaping, the group, and the rollouts' term, whose None takes the script's."""

    def __post_init__(self) -> None:
        ReshapeOptions.__post_init__(self)
        DemoGroupOptions.__post_init__(self)
        PolicyOptions.__post_init__(self)
        complete(self, ROLLOUTS)


@register
class Luffy(DemoGroup):
    name = "luffy"
    summary = "the expert demonstration inside the group of rollouts, its likelihood shaped by p / (p + gamma)"
    source = "arXiv 2504.14945, Eq. 4-7; ElliottYan/LUFFY train.sh"
    kind = "group"
    parity = "original code: compute_token_on_off_policy_loss"
    Config = LuffyOptions

    def __init__(self, config: LuffyOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes, config)

    def demo_terms(self, batch: Batch) -> list[Component]:
        return [self.demo_term(batch, shaped_reference(batch.logp.detach(), self.config))]
