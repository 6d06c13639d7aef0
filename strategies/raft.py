"""RAFT, rejection fine-tuning: SFT on the policy's own correct rollouts.

Sources: arXiv 2304.06767 (the best of n responses to each prompt); arXiv 2504.11343 (every response with the correct
reward, on policy, as a baseline of RL).

    L = - sum over tokens of correct rollouts of log pi(y_it) / (their tokens in the step)

The four parts: pi_ref = pi_theta; advantage 1; no mask; weight 1. Wrong rollouts are not trained; they have been paid
for. What a correct rollout's token weighs is a choice as for demonstrations: options as in `sft_losses`. `sft_loss`
"psft" with `psft_clip` c is r 1[r <= 1 + c], which is RAFT++ of arXiv 2504.11343 (PPO's clip with advantage 1).

Option `best_of_n`: "all" (default) keeps every correct rollout, so that easy prompts weigh more; "one" the first
correct one of each prompt. A step without a correct rollout makes no update.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from strategies.base import Batch, Component, Group, Role, Row, SamplingPlan, Sizes, Step, Strategy
from strategies.registry import register
from strategies.sft_losses import SftLossOptions, SftTerm

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RaftOptions(SftLossOptions):
    """Options of `raft`, and of its loss."""

    best_of_n: Literal["all", "one"] = "all"  # correct rollouts kept of a prompt: all, or the first


@register
class Raft(Strategy):
    name = "raft"
    summary = "rejection fine-tuning: SFT on the policy's own correct rollouts"
    source = "arXiv 2304.06767, 2504.11343"
    kind = "single"
    parity = "formula"
    Config = RaftOptions

    def __init__(self, config: RaftOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.sft = SftTerm(config, (Role.ROLLOUT,))
        # of rollouts, log-probs of the policy before the update are the sampler's
        self.requires = frozenset("old_logp" if need == "given_logp" else need for need in self.sft.requires)
        self._kept = 0.0

    def plan(self, step: Step) -> SamplingPlan:
        return SamplingPlan(prompts=self.sizes.prompts, rollouts=self.sizes.group)

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        most = 1 if self.config.best_of_n == "one" else None
        rows = [row for group in groups for row in [row for row in group.rollouts if row.correct][:most]]
        self._kept = len(rows) / max(sum(len(group.rollouts) for group in groups), 1)
        return rows

    def components(self, batch: Batch, step: Step) -> list[Component]:
        return self.sft.components(batch)

    def soft_target(self, ref_log_probs: Tensor, target: Tensor) -> Tensor:
        return self.sft.soft_target(ref_log_probs, target)

    def metrics(self) -> dict[str, float]:
        """kept: share of the last step's rollouts that were trained."""
        return {"kept": self._kept}
