"""SFT first, then RL: the sequential baseline that mixtures must beat.

Sources: standard; the audit arXiv 2604.23747 (alek6kun/sft_then_rl): same demonstrations and prompts in both stages,
and a correctly normalised first stage. RETU, arXiv 2512.11470, for the choice of the switch.

    L = L_SFT  until the switch,  L_RL  after it

The four parts are those of `sft` (token-normalised), then those of `grpo`, whose options this strategy has.

Options: `switch` (0.5), the share of the budget spent on SFT, 0 for RL alone and 1 for SFT alone; `switch_step` (None),
the number of SFT steps, which takes the place of `switch`. The papers give no share: they run SFT for epochs, or until
its validation loss is within 2% of its minimum (RETU). The optimiser's state is the trainer's and is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strategies.base import Batch, Component, Group, Row, SamplingPlan, Sizes, Step, Strategy
from strategies.policy_gradient import GrpoOptions, PolicyGradient
from strategies.registry import register
from strategies.sft import sft_component

if TYPE_CHECKING:
    from torch import Tensor

STAGES = ("sft", "rl")


@dataclass(frozen=True)
class SftThenRlOptions(GrpoOptions):
    """Options of `sft_then_rl`: the switch, and those of `grpo`."""

    switch: float = 0.5
    switch_step: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.switch <= 1.0:
            raise ValueError(f"option switch must be in [0, 1], not {self.switch}")
        if self.switch_step is not None and self.switch_step < 0:
            raise ValueError(f"option switch_step must be >= 0, not {self.switch_step}")


@register
class SftThenRl(Strategy):
    name = "sft_then_rl"
    summary = "sequential: SFT for a share of the budget, then GRPO"
    source = "standard; arXiv 2604.23747, 2512.11470"
    kind = "sequential"
    Config = SftThenRlOptions

    def __init__(self, config: SftThenRlOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.policy = PolicyGradient.of_variant(config)
        self.requires = self.policy.requires
        self.stage = "sft"

    def stage_at(self, step: Step) -> str:
        """The stage, sft or rl; there is no way back from rl."""
        if self.config.switch_step is None:
            over = step.fraction >= self.config.switch
        else:
            over = step.index >= self.config.switch_step
        return "rl" if over or self.stage == "rl" else "sft"

    def plan(self, step: Step) -> SamplingPlan:
        self.stage = self.stage_at(step)
        if self.stage == "sft":
            return SamplingPlan(pool=self.sizes.demos)
        return SamplingPlan(prompts=self.sizes.prompts, rollouts=self.sizes.group)

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        return super().route(self.policy.select(groups), pool, step)

    def advantages(self, batch: Batch) -> Tensor:
        return self.policy.advantages(batch)

    def components(self, batch: Batch, step: Step) -> list[Component]:
        return [sft_component()] if self.stage_at(step) == "sft" else self.policy.components(batch)

    def metrics(self) -> dict[str, float]:
        """stage: 0 in SFT, 1 in RL."""
        return {"stage": float(STAGES.index(self.stage))}

    def state_dict(self) -> dict[str, Any]:
        return {"stage": self.stage}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if set(state) != {"stage"} or state["stage"] not in STAGES:
            raise ValueError(f"state of strategy {self.name} must be a stage of {STAGES}, not {dict(state)}")
        self.stage = state["stage"]
