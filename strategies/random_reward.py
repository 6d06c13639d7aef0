"""Random rewards: GRPO whose rollouts are rewarded by a coin. A control: what RL does without a signal.

Source: Spurious Rewards, arXiv 2506.10947 (Bernoulli rewards of rate 0.5 raise Qwen2.5-Math on MATH-500 by 21 points).

    R ~ Bernoulli(p), whatever the response; then as `grpo`, whose options this strategy has

The four parts: those of `grpo`.

Option `p`: the rate, 0.5 (the paper's), or "match", the mean of the step's own rewards, so that the spread of the
advantages is about that of the true ones. The verifier's reward stays in the run's log.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from strategies.base import Group, Row, Sizes, Step
from strategies.grpo import RolloutOnly
from strategies.policy_gradient import GrpoOptions
from strategies.registry import register


@dataclass(frozen=True)
class RandomRewardOptions(GrpoOptions):
    """Options of `random_reward`: the rate, and those of `grpo`."""

    p: float | Literal["match"] = 0.5  # rate of reward 1; "match": the step's mean reward

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.p != "match" and not 0.0 <= self.p <= 1.0:
            raise ValueError(f'option p must be in [0, 1] or "match", not {self.p}')


@register
class RandomReward(RolloutOnly):
    name = "random_reward"
    summary = "control: GRPO with rewards drawn at random, whatever the response"
    source = "arXiv 2506.10947"
    kind = "control"
    parity = "none: control"
    Config = RandomRewardOptions

    def __init__(self, config: RandomRewardOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self._drawn = 0.0

    def rate(self, groups: Sequence[Group]) -> float:
        """The probability of reward 1 in a step with these groups."""
        if self.config.p != "match":
            return self.config.p
        rewards = [row.reward for group in groups for row in group.rollouts]
        return min(max(sum(rewards) / max(len(rewards), 1), 0.0), 1.0)

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        rate, coin = self.rate(groups), random.Random(step.seed)
        drawn = [
            replace(group, rollouts=tuple(replace(row, reward=float(coin.random() < rate)) for row in group.rollouts))
            for group in groups
        ]
        rewards = [row.reward for group in drawn for row in group.rollouts]
        self._drawn = sum(rewards) / max(len(rewards), 1)
        return super().route(drawn, pool, step)

    def metrics(self) -> dict[str, float]:
        """dropped: as in `grpo`; drawn: mean of the rewards that were drawn in the last step."""
        return {**super().metrics(), "drawn": self._drawn}
