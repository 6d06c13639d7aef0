"""No update: the rollouts and the gradients of GRPO, thrown away. A control: how far scores move by evaluation alone.

Source: none; the same as a learning rate of 0 without weight decay.

The four parts: those of `grpo`, whose options this strategy has; the optimiser never takes a step. Every difference
between its evaluations is noise of sampling, and its cost is that of `grpo`.
"""

from __future__ import annotations

from strategies.grpo import RolloutOnly
from strategies.policy_gradient import GrpoOptions
from strategies.registry import register


@register
class NoOp(RolloutOnly):
    name = "no_op"
    summary = "control: GRPO's rollouts and gradients, but no update"
    source = "none"
    kind = "control"
    parity = "none: control"
    Config = GrpoOptions

    def accept(self, grad_norm: float) -> bool:
        return False
