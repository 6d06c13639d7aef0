"""What the methods that choose per question share: RL on a question's rollouts, or SFT on its demonstrations.

A gated question loses its rollouts, which were made and paid for, and keeps its demonstrations. A question that has
none keeps its rollouts. Every trained question weighs the same, whichever term it goes to:

    L = (1 / Q) ( sum_{q in RL} L_RL(q) + sum_{q in SFT} L_SFT(q) )

if the terms are means over questions; in general each term's mean times its share of the Q trained questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from strategies.base import Batch, Component, Group, Role, Row, SamplingPlan, Sizes, Step, Strategy
from strategies.policy_gradient import PolicyGradient
from strategies.sft_losses import SftTerm

if TYPE_CHECKING:
    from torch import Tensor


def question_shares(batch: Batch, roles: tuple[Role, ...]) -> tuple[float, float]:
    """Of the step's questions, the share with rollouts and the share with rows of `roles`, its demonstrations."""
    rollouts, demos = batch.is_role(Role.ROLLOUT), batch.is_role(*roles)
    total = max(batch.group[rollouts | demos].unique().numel(), 1)
    return batch.group[rollouts].unique().numel() / total, batch.group[demos].unique().numel() / total


def weighted(component: Component, rows: Tensor) -> Component:
    """The component with its token weights times `rows` [B]."""
    weight = component.weight
    if weight is not None:
        rows = weight * (rows if weight.dim() == 1 else rows.unsqueeze(-1))
    return replace(component, weight=rows)


class Gate(Strategy):
    """A strategy that sends each question to RL or to SFT. Subclasses say which: `gates`."""

    kind = "gate"
    demo_roles: tuple[Role, ...] = (Role.DEMO,)

    def __init__(self, config: Any, sizes: Sizes, policy: PolicyGradient) -> None:
        """`config`: its own options and those of `SftLossOptions`."""
        super().__init__(config, sizes)
        self.policy = policy
        self.sft = SftTerm(config, self.demo_roles)
        self.requires = self.policy.requires | self.sft.requires
        self._shares = (1.0, 1.0)  # weight of the RL and of the SFT term, from the rows of the step
        self._gated = 0.0

    def gates(self, groups: Sequence[Group]) -> list[bool]:
        """Whether each question goes to SFT, if it has a demonstration."""
        raise NotImplementedError

    def plan(self, step: Step) -> SamplingPlan:
        return SamplingPlan(self.sizes.prompts, self.sizes.group, expert=1)

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        gated = [gate and bool(g.demos) for gate, g in zip(self.gates(groups), groups, strict=True)]
        kept = self.policy.select([g for gate, g in zip(gated, groups, strict=True) if not gate])
        demos = [g.demos[0] for gate, g in zip(gated, groups, strict=True) if gate]
        self._gated = len(demos) / max(len(groups), 1)
        return [row for group in kept for row in group.rollouts] + demos

    def advantages(self, batch: Batch) -> Tensor:
        """Group advantages of rollouts. Also counts the questions that each term gets."""
        self._shares = question_shares(batch, self.demo_roles)
        return self.policy.advantages(batch)

    def terms(self, batch: Batch, rl: float, sft: float) -> list[Component]:
        """The components, the RL term times `rl`, the SFT term times `sft`."""
        return [*self.policy.components(batch, rl), *self.sft.components(batch, sft)]

    def components(self, batch: Batch, step: Step) -> list[Component]:
        return self.terms(batch, *self._shares)

    def branches(self, batch: Batch, step: Step) -> dict[str, list[Component]]:
        terms = self.terms(batch, 1.0, 1.0)
        return {
            "rl": [term for term in terms if Role.ROLLOUT in term.roles],
            "sft": [term for term in terms if Role.ROLLOUT not in term.roles],
        }

    def soft_target(self, ref_log_probs: Tensor, target: Tensor) -> Tensor:
        return self.sft.soft_target(ref_log_probs, target)

    def metrics(self) -> dict[str, float]:
        """gated: share of the last step's questions sent to SFT."""
        return {"gated": self._gated}
