"""The demonstration as a member of its prompt's group: what LUFFY and its descendants share.

Sources: LUFFY, arXiv 2504.14945, section 3.1; ElliottYan/LUFFY `compute_grpo_outcome_advantage` and
`compute_grpo_outcome_advantage_split`.

A group is (group - 1) rollouts and the prompt's full expert demonstration. All are scored by the verifier, so that a
demonstration which it rejects has reward 0 and is pushed down. A = R - mean, over the whole group or over its rollouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strategies.base import Batch, Component, Group, Request, Role, Row, SamplingPlan, Sizes, Step, Strategy
from strategies.estimator import group_advantage
from strategies.policy_gradient import PolicyGradient
from strategies.policy_options import VARIANTS, PolicyOptions

if TYPE_CHECKING:
    from torch import Tensor

MEMBERS = (Role.ROLLOUT, Role.DEMO)
ROLLOUTS = replace(VARIANTS["dr_grpo"], clip_low="off", clip_high="off", aggregation="constant_sum")
LEAST_SPREAD = 1e-6  # summed |R - mean| of a group below which its rewards count as equal


@dataclass(frozen=True)
class DemoGroupOptions:
    """Options of every strategy with the demonstration in the group."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    baseline: Literal["group", "rollouts"] = "group"  # rows that form mean and deviation; "rollouts": LUFFY's `_split`
    missing: Literal["rollout", "smaller"] = "rollout"  # no demonstration: one more rollout, or a smaller group
    entropy_coefficient: float = 0.001

    def __post_init__(self) -> None:
        if not self.entropy_coefficient >= 0.0:
            raise ValueError(f"option entropy_coefficient must be >= 0, not {self.entropy_coefficient}")


def counted_together(component: Component, batch: Batch, roles: tuple[Role, ...] = MEMBERS) -> Component:
    """The component on its own rows, with tokens and rows of all `roles` in the aggregator's counts.

    Its other parts must be finite on the rows of all `roles`.
    """
    if component.aggregator == "constant_sum":  # counts nothing
        return component
    keep = batch.is_role(*component.roles).to(batch.logp.dtype).unsqueeze(-1)
    return replace(component, roles=roles, stable=keep if component.stable is None else component.stable * keep)


class DemoGroup(Strategy):
    """Rows, advantages and the rollouts' term; a subclass defines `demo_terms`."""

    def __init__(self, config: Any, sizes: Sizes, policy: PolicyOptions) -> None:
        """`policy`: options of the rollouts' term; None of them takes LUFFY's, which are `ROLLOUTS`."""
        super().__init__(config, sizes)
        if sizes.group < 2:
            raise ValueError(
                f"strategy {self.name} needs a rollout beside the demonstration: set the run's `group` to >= 2"
            )
        self.policy = PolicyGradient(policy, ROLLOUTS)
        self.entropy_coefficient = config.entropy_coefficient
        self.requires = self.policy.requires | ({"entropy"} if config.entropy_coefficient else frozenset())
        self._filled = False  # whether groups without a demonstration got their rollout in this step
        self._seen = {"demo_groups": 0.0, "demo_reward": 0.0, "demo_advantage": 0.0}

    def plan(self, step: Step) -> SamplingPlan:
        self._filled = self.config.missing == "smaller"
        return SamplingPlan(self.sizes.prompts, self.sizes.group - 1, expert=1)

    def more(self, groups: Sequence[Group], step: Step) -> Sequence[Request]:
        if self._filled:
            return ()
        self._filled = True
        return [Request(1, group=i) for i, group in enumerate(groups) if not group.demos]

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        demos = [row for group in groups for row in group.demos]
        self._seen = {
            "demo_groups": sum(bool(group.demos) for group in groups) / max(len(groups), 1),
            "demo_reward": sum(row.reward for row in demos) / max(len(demos), 1),
            "demo_advantage": 0.0,
        }
        if self.policy.options.drop_uniform_groups:
            groups = [group for group in groups if len({row.reward for row in (*group.rollouts, *group.demos)}) > 1]
        return super().route(groups, pool, step)

    def advantages(self, batch: Batch) -> Tensor:
        rows = batch.is_role(*(MEMBERS if self.config.baseline == "group" else (Role.ROLLOUT,)))
        value = group_advantage(batch.reward, batch.group, rows, std=False)
        if self.policy.options.normalize_std:
            # where the rollouts' rewards are equal, the demonstration's may differ: nothing to divide by (as `_split`)
            _, index = batch.group.unique(return_inverse=True)
            size = int(index.max()) + 1 if index.numel() else 0
            spread = value.new_zeros(size).scatter_add(0, index, value.abs() * rows)
            scaled = group_advantage(batch.reward, batch.group, rows)
            value = scaled.where(spread[index] > LEAST_SPREAD, value)
        demos = batch.is_role(Role.DEMO)
        self._seen["demo_advantage"] = float(value[demos].mean()) if bool(demos.any()) else 0.0
        return value

    def rollout_terms(self, batch: Batch) -> list[Component]:
        """The terms on rollouts."""
        rollouts = batch.is_role(Role.ROLLOUT).unsqueeze(-1)
        # given tokens have no sampler: their ratio is 1, whatever stands there
        batch = replace(batch, old_logp=batch.old_logp.where(rollouts, batch.logp.detach()))
        return [counted_together(component, batch) for component in self.policy.components(batch)]

    def demo_terms(self, batch: Batch) -> list[Component]:
        """The terms on demonstrations."""
        raise NotImplementedError

    def demo_term(self, batch: Batch, log_reference: Tensor, weight: Tensor | None = None) -> Component:
        """The policy-gradient term on demonstrations for given pi_ref and token weight."""
        term = Component(
            "demonstration",
            (Role.DEMO,),
            batch.advantage,
            log_reference,
            weight=weight,
            aggregator=self.policy.options.aggregation,
            part="continuation",
        )
        return counted_together(term, batch)

    def components(self, batch: Batch, step: Step) -> list[Component]:
        return [*self.rollout_terms(batch), *self.demo_terms(batch)]

    def branches(self, batch: Batch, step: Step) -> dict[str, list[Component]]:
        return {"rl": self.rollout_terms(batch), "sft": self.demo_terms(batch)}

    def metrics(self) -> dict[str, float]:
        """Of the last step: share of groups with a demonstration, mean reward and advantage of demonstrations."""
        return dict(self._seen)
