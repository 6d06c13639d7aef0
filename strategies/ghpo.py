"""GHPO: a group without a correct rollout is sampled again, with a part of the solution shown in the prompt.

Sources: arXiv 2507.10628; hkgc-1/GHPO, `ghpo_trainer.py`, `config_ghpo.yaml`.

If no rollout of a prompt is correct, the first 25% of the solution is appended to the prompt and a new group is sampled
that replaces the old one; then 50%, then 75%, each only if the group before has no correct rollout either. The last one
sampled is trained on. Replaced rollouts are dropped, but paid for. Nothing is trained on hints: they are prompt.

The four parts: those of GRPO on what remains: pi_ref = pi_old, advantage of the group (of the last stage), mask = PPO
clip 0.2, weight 1.

Known from the code: the stages, the rule that starts them (no answer of the group is right), replacement, no KL, and
TRL's loss: deviation in the advantage, mean over tokens ("bnpo", there of a micro-batch). Its configuration has
hint_ratio = 0.5, the trainer has the three stages fixed: `hint_ratios` = [0.5] is the single stage. Ours: the share is
of tokens (there of characters), without the end of the solution, the verifier's reward alone decides (there a reward
for format is added to A), and 1e-6 instead of 1e-4 is added to the deviation. Without a demonstration, no hint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from strategies.base import Batch, Component, Group, Request, Row, SamplingPlan, Sizes, Step, Strategy
from strategies.policy_gradient import PolicyGradient
from strategies.policy_options import GRPO, PolicyOptions, complete
from strategies.prefixes import cut, rollouts_of
from strategies.registry import register

if TYPE_CHECKING:
    from torch import Tensor


DEFAULTS = replace(GRPO, aggregation="token")


@dataclass(frozen=True)
class GhpoOptions(PolicyOptions):
    """Options of `ghpo`, and of its RL term."""

    hint_ratios: tuple[float, ...] = (0.25, 0.5, 0.75)  # shares of the solution, a stage each

    def __post_init__(self) -> None:
        super().__post_init__()
        complete(self, DEFAULTS)
        inside = all(0.0 < ratio <= 1.0 for ratio in self.hint_ratios)
        if not inside or list(self.hint_ratios) != sorted(set(self.hint_ratios)):
            raise ValueError(f"option hint_ratios must be increasing numbers in (0, 1], not {list(self.hint_ratios)}")


def newest(group: Group) -> Group:
    """The group with the rollouts of its last stage only."""
    hint = max((row.hint for row in group.rollouts), default=0)
    return replace(group, rollouts=tuple(row for row in group.rollouts if row.hint == hint))


@register
class Ghpo(Strategy):
    name = "ghpo"
    summary = "GRPO; a group without a success is sampled again with 25, 50, 75% of the solution in the prompt"
    source = "arXiv 2507.10628; hkgc-1/GHPO"
    kind = "prefix"
    parity = "none: rule as in the released trainer"
    Config = GhpoOptions

    def __init__(self, config: GhpoOptions, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.policy = PolicyGradient(config, DEFAULTS)
        self.requires = self.policy.requires
        self._stage = 0  # stages asked for in this step
        self._hints: dict[int, int] = {}  # tokens of the longest hint asked for, by group
        self._hinted = 0.0

    def plan(self, step: Step) -> SamplingPlan:
        self._stage, self._hints = 0, {}
        # as if each group was sampled twice: the rollouts themselves decide how often
        return SamplingPlan(self.sizes.prompts, self.sizes.group, expert=1, later=self.sizes.group)

    def more(self, groups: Sequence[Group], step: Step) -> Sequence[Request]:
        failed = [g for g, group in enumerate(groups) if group.demos and newest(group).n_correct == 0]
        while self._stage < len(self.config.hint_ratios):
            ratio = self.config.hint_ratios[self._stage]
            self._stage += 1
            hints = {g: cut(groups[g].demos[0], ratio) for g in failed}
            longer = {g: hint for g, hint in hints.items() if hint > self._hints.get(g, 0)}
            if longer:  # a short solution has no new token at some stages
                self._hints |= longer
                return [Request(self.sizes.group, g, hint=hint) for g, hint in longer.items()]
        return ()

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        kept = [newest(group) for group in groups]
        self._hinted = sum(any(row.hint for row in group.rollouts) for group in kept) / max(len(kept), 1)
        return rollouts_of(self.policy.select(kept))

    def advantages(self, batch: Batch) -> Tensor:
        return self.policy.advantages(batch)

    def components(self, batch: Batch, step: Step) -> list[Component]:
        return self.policy.components(batch)

    def metrics(self) -> dict[str, float]:
        """hinted: share of the last step's groups whose prompt shows a hint."""
        return {"hinted": self._hinted}
