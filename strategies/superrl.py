"""SuperRL: a question whose rollouts carry no signal at all goes to SFT, every other one to RL.

Sources: arXiv 2506.01096 (v2), the rule for "any data instance"; microsoft/SuperRL, actors for verl 0.5, known here
from descriptions of it only.

    c = 1[some |x_i| > 1e-8],   L = c L_PG + (1 - c) L_SFT,   x = reward or advantage

The four parts: RL as in `grpo`, with its options. SFT as `sft_loss` says (`sft_losses`), "plain" by default, on the
question's demonstration. Each question weighs the same (`gates`).

Options: `granularity`, what c is decided for:
  question   each question by its own rollouts, as the paper's text says. The default.
  batch      all questions at once, by all rollouts of the step, as the code decides per tensor of a batch. In the
             code that tensor can be a micro-batch, so that the choice depends on packing; here it is the step.
`signal`:
  reward     the default: any reward that is not 0. With rewards of 0 and 1 and granularity "question" this is the gate
             of `hpt` at 0. A reward below 0 is a signal, although every rollout may have failed.
  advantage  any advantage that is not 0: a question that is always solved goes to SFT too.
A question without a demonstration keeps its rollouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from strategies.base import Group, Sizes
from strategies.gates import Gate
from strategies.policy_gradient import GrpoOptions, PolicyGradient
from strategies.registry import register
from strategies.sft_losses import SftLossOptions

NO_SIGNAL = 1e-8


@dataclass(frozen=True)
class SuperRlOptions(SftLossOptions, GrpoOptions):
    """Options of `superrl`, and of both terms."""

    granularity: Literal["question", "batch"] = "question"
    signal: Literal["reward", "advantage"] = "reward"

    def __post_init__(self) -> None:
        SftLossOptions.__post_init__(self)
        GrpoOptions.__post_init__(self)


@register
class SuperRl(Gate):
    name = "superrl"
    summary = "SFT on the demonstration where no rollout of the question has a reward, else RL"
    source = "arXiv 2506.01096; microsoft/SuperRL"
    parity = "formula"
    Config = SuperRlOptions

    def __init__(self, config: SuperRlOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes, PolicyGradient.of_variant(config))

    def has_signal(self, group: Group) -> bool:
        """c of one question."""
        values = [row.reward for row in group.rollouts]
        if self.config.signal == "advantage" and len(values) > 1:  # one rollout alone has its reward as advantage
            mean = sum(values) / len(values)
            values = [value - mean for value in values]
        return any(abs(value) > NO_SIGNAL for value in values)

    def gates(self, groups: Sequence[Group]) -> list[bool]:
        silent = [not self.has_signal(group) for group in groups]
        return [all(silent)] * len(silent) if self.config.granularity == "batch" else silent
