"""A weighted sum of RL and SFT whose weight of SFT falls by a schedule.

Sources: the half cosine is CHORD's (arXiv 2508.11408, Trinity-RFT `mu_schedule_function`); KDRL (arXiv 2506.02208)
anneals the weight of its distillation term along a straight line.

    L = (1 - mu) L_RL + mu L_SFT,   mu: 0 -> peak over `warmup`, peak -> valley over `decay`, then valley

The four parts: RL as in `grpo`, scale 1 - mu; SFT as `sft_loss` says, scale mu.

Options: `shape` of the fall, "linear" (default) or "cosine"; `peak`, `valley`, `warmup`, `decay`; `clock` and `horizon`
say what the last two count (`schedules.ClockOptions`). Defaults: CHORD-mu's peak 0.9 and valley 0.05 on KDRL's straight
line over the whole run. This choice is ours: KDRL's own weights, 5e-3 to 1e-3, are those of a distillation loss that is
added to the RL loss. In a step where mu is 0 no demonstrations are read, where it is 1 no rollouts are made.
"""

from __future__ import annotations

from dataclasses import dataclass

from strategies.base import SamplingPlan, Step
from strategies.mixture import Mixture, MixtureOptions, check_unit
from strategies.registry import register
from strategies.schedules import SHAPES, ClockOptions, Shape


@dataclass(frozen=True)
class DecayOptions(ClockOptions, MixtureOptions):
    """Options of `decay`: the schedule, its clock, and those of both branches."""

    shape: Shape = "linear"
    peak: float = 0.9
    valley: float = 0.05
    warmup: float = 0.0
    decay: float = 1000.0

    def __post_init__(self) -> None:
        MixtureOptions.__post_init__(self)
        ClockOptions.__post_init__(self)
        check_unit(self, "peak", "valley")
        for option in ("warmup", "decay"):
            value = getattr(self, option)
            if value is not None and not value >= 0.0:
                raise ValueError(f"option {option} must be >= 0, not {value}")


@register
class Decay(Mixture):
    name = "decay"
    summary = "(1 - mu) GRPO + mu SFT, mu falls along a line or a cosine"
    source = "arXiv 2508.11408 (cosine), 2506.02208 (line)"
    kind = "mixture"
    parity = "original code: schedule"
    Config = DecayOptions

    def mu_at(self, step: Step) -> float:
        config = self.config
        position = config.position(step)
        return SHAPES[config.shape](position, config.warmup, config.decay, config.peak, config.valley)

    def plan(self, step: Step) -> SamplingPlan:
        return self.plan_for(self.mu_at(step))
