"""HPT: each question goes to RL or to SFT, by how many of its rollouts are correct.

Sources: Hybrid Post-Training, arXiv 2509.04419 (v2), Eq. 10-13; TsinghuaC3I/Unify-Post-Training `mix_trainer.py`,
`mix_actor.py`, `exp_scripts/train.sh`.

Gate (inclusive, as Eq. 10 and the code have it; the prose of section 4.5 says otherwise): n_correct <= gate -> its
rollouts are dropped and the expert demonstration is trained with SFT; else the rollouts with RL. Rollouts are made, and
cost, before they are dropped. A question without a demonstration keeps its rollouts.

The four parts: RL: pi_ref = pi_old, advantage R - group mean, mask = PPO clip if any, weight 1. SFT: pi_ref = pi_theta,
advantage 1, no mask, weight 1, scale `sft_coefficient`, each demonstration by its own token mean (Eq. 12).

`definition` sets what the other options leave open:

                          "code" (default)                 "paper"
    clip_low, clip_high   "off"                            0.2
    normalisation         "global"                         "question"
    entropy_coefficient   0.001                            0
    skip_grad_norm        80                               "off"

`normalize_std` is off in both: the paper names Dr.GRPO, but its text divides by the deviation. `normalisation`:
  global     every trained row weighs 1 / (rows of the step): a demonstration its token mean, a rollout its sum / L_max.
             The default, because it is the released weighting without its accident (next line).
  question   every question weighs the same, a rollout 1/n of it (Eq. 11), each sum again over L_max.
  released   rollouts sum / L_max, not divided by rows; demonstrations the token mean of each MICRO-batch, summed over
             micro-batches. The weight of SFT is then the number of micro-batches that hold a demonstration, so that it
             depends on packing.

Other defaults: gate 0 (Qwen; LLaMA: 2 of 8); sft_coefficient 1.0 (the 1.5B script: 0.3). `gate_fraction`, if given,
takes the place of `gate`: P <= gate_fraction. gate = -1 is RL alone, gate = group SFT alone. An update whose gradient
norm is above `skip_grad_norm`, or not finite, is left out (the code; LLaMA script: off).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from strategies.base import Batch, Component, Group, Role, Row, SamplingPlan, Sizes, Step, Strategy
from strategies.policy_gradient import VARIANTS, PolicyGradient, PolicyOptions
from strategies.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class HptOptions(PolicyOptions):
    """Options of `hpt`, and of its RL term. None takes the value from `definition`."""

    definition: Literal["code", "paper"] = "code"
    gate: int = 0
    gate_fraction: float | None = None
    sft_coefficient: float = 1.0
    normalisation: Literal["global", "question", "released"] | None = None
    entropy_coefficient: float | None = None
    skip_grad_norm: float | Literal["off"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gate < -1:
            raise ValueError(f"option gate must be >= -1, not {self.gate}")
        if self.gate_fraction is not None and not 0.0 <= self.gate_fraction <= 1.0:
            raise ValueError(f"option gate_fraction must be in [0, 1], not {self.gate_fraction}")
        if self.gate_fraction is not None and self.gate != 0:
            raise ValueError("options gate and gate_fraction exclude each other: give one")
        if not self.sft_coefficient >= 0.0:
            raise ValueError(f"option sft_coefficient must be >= 0, not {self.sft_coefficient}")
        if self.entropy_coefficient is not None and not self.entropy_coefficient >= 0.0:
            raise ValueError(f"option entropy_coefficient must be >= 0, not {self.entropy_coefficient}")
        if isinstance(self.skip_grad_norm, float | int) and not self.skip_grad_norm > 0:
            raise ValueError(f'option skip_grad_norm must be a number > 0 or "off", not {self.skip_grad_norm}')


UNCLIPPED = replace(VARIANTS["dr_grpo"], clip_low="off", clip_high="off")
RL_TERM = {"code": UNCLIPPED, "paper": VARIANTS["dr_grpo"]}
DEFINITIONS: dict[str, dict[str, str | float]] = {
    "code": {"normalisation": "global", "entropy_coefficient": 0.001, "skip_grad_norm": 80.0},
    "paper": {"normalisation": "question", "entropy_coefficient": 0.0, "skip_grad_norm": "off"},
}


@register
class Hpt(Strategy):
    name = "hpt"
    summary = "a gate per question: SFT on the demonstration if too few rollouts are correct, else RL"
    source = "arXiv 2509.04419, Eq. 10-13; TsinghuaC3I/Unify-Post-Training"
    kind = "gate"
    Config = HptOptions

    def __init__(self, config: HptOptions, sizes: Sizes) -> None:
        defaults = DEFINITIONS[config.definition]
        config = replace(config, **{name: value for name, value in defaults.items() if getattr(config, name) is None})
        super().__init__(config, sizes)
        released = config.normalisation == "released"
        rl = replace(RL_TERM[config.definition], aggregation="constant_sum" if released else "constant")
        self.policy = PolicyGradient(config, rl)
        self.entropy_coefficient = config.entropy_coefficient
        self.requires = self.policy.requires | ({"entropy"} if config.entropy_coefficient else frozenset())
        self.gate = config.gate
        if config.gate_fraction is not None:
            self.gate = math.floor(config.gate_fraction * sizes.group + 1e-9)
        if self.gate > sizes.group:
            raise ValueError(f"option gate of strategy hpt is {self.gate}, above the run's group of {sizes.group}")
        self._shares = (1.0, 1.0)  # weight of the RL and of the SFT term, set from the rows of the step
        self._gated = 0.0
        self._skipped = 0.0

    def plan(self, step: Step) -> SamplingPlan:
        return SamplingPlan(self.sizes.prompts, self.sizes.group, expert=int(self.gate >= 0))

    def is_gated(self, group: Group) -> bool:
        """Whether the question goes to SFT."""
        return bool(group.demos) and group.n_correct <= self.gate

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        demos = [g.demos[0] for g in groups if self.is_gated(g)]
        rest = self.policy.select([group for group in groups if not self.is_gated(group)])
        self._gated = len(demos) / max(len(groups), 1)
        return [row for group in rest for row in group.rollouts] + demos

    def advantages(self, batch: Batch) -> Tensor:
        """Group advantages. Also counts the rows or questions that each term gets."""
        rollouts, demos = batch.is_role(Role.ROLLOUT), batch.is_role(Role.DEMO)
        if self.config.normalisation == "global":
            rl, sft = float(rollouts.sum()), float(demos.sum())
        else:
            rl, sft = float(batch.group[rollouts].unique().numel()), float(batch.group[demos].unique().numel())
        total = max(rl + sft, 1.0)
        self._shares = (1.0, 1.0) if self.config.normalisation == "released" else (rl / total, sft / total)
        return self.policy.advantages(batch)

    def components(self, batch: Batch, step: Step) -> list[Component]:
        rl, sft = self._shares
        aggregator = "token_micro" if self.config.normalisation == "released" else "sequence"
        demos = Component("sft", (Role.DEMO,), aggregator=aggregator, scale=sft * self.config.sft_coefficient)
        return [*self.policy.components(batch, rl), demos]

    def accept(self, grad_norm: float) -> bool:
        limit = math.inf if self.config.skip_grad_norm == "off" else self.config.skip_grad_norm
        accepted = math.isfinite(grad_norm) and grad_norm <= limit
        self._skipped = float(not accepted)
        return accepted

    def metrics(self) -> dict[str, float]:
        """gate: in correct rollouts; gated: share of the last step's questions sent to SFT; skipped: 1 if left out."""
        return {"gate": float(self.gate), "gated": self._gated, "skipped": self._skipped}
