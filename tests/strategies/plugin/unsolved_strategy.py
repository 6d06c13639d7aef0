"""Demonstrations where the policy is helpless: the weight of SFT follows the share of prompts it cannot solve.

Source: none, an example.

    L = (1 - mu) L_RL + mu L_SFT,   mu = mu_max * share of the step's prompts without a correct rollout

The four parts: RL as in `grpo`, scale 1 - mu; SFT as `sft_loss` says, scale mu.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from strategies.base import Group, Row, Step
from strategies.mixture import Mixture, MixtureOptions, check_unit
from strategies.registry import register


@dataclass(frozen=True)
class UnsolvedOptions(MixtureOptions):
    mu_max: float = 0.5  # mu when no prompt has a correct rollout

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unit(self, "mu_max")


@register
class Unsolved(Mixture):
    name = "unsolved"
    summary = "(1 - mu) GRPO + mu SFT, mu grows with the share of prompts without a correct rollout"
    source = "none: an example"
    kind = "controller"
    parity = "none: an example"
    Config = UnsolvedOptions

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        unsolved = sum(group.n_correct == 0 for group in groups)
        self.mu = self.config.mu_max * unsolved / max(len(groups), 1)
        return super().route(groups, pool, step)
