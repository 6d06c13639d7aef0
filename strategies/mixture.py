"""The scalar mixture that fixed, scheduled and controlled weights share: L = (1 - mu) L_RL + mu L_SFT.

Each branch is normalised by its own counts over the step, so that mu alone sets the mix (as CHORD in Trinity-RFT does).
The RL branch is that of `grpo`, with its options, on rollouts; the SFT branch trains on rows from a pool of
demonstrations, whose prompts need not be those of the rollouts, with a loss of `sft_losses`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from strategies.base import Batch, Component, Group, Row, SamplingPlan, Sizes, Step, Strategy
from strategies.policy_gradient import GrpoOptions, PolicyGradient
from strategies.sft_losses import SftLossOptions, SftTerm

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MixtureOptions(SftLossOptions, GrpoOptions):
    """Options of both branches."""

    def __post_init__(self) -> None:
        SftLossOptions.__post_init__(self)
        GrpoOptions.__post_init__(self)


def check_unit(options: Any, *names: str) -> None:
    """ValueError if an option of `names` is outside [0, 1]."""
    for name in names:
        value = getattr(options, name)
        if value is not None and not 0.0 <= value <= 1.0:
            raise ValueError(f"option {name} must be in [0, 1], not {value}")


class Mixture(Strategy):
    """A strategy whose one decision is mu: a schedule overrides `mu_at`, a controller `adapt`.

    `adapt` moves the controller from named statistics of the step, so that it can be driven without a language model.
    In a run they are `reward`, the mean over the step's rollouts, and what `statistics` makes of the signals.
    """

    STATE: ClassVar[tuple[str, ...]] = ()  # attributes that the next step depends on

    def __init__(self, config: Any, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.policy = PolicyGradient.of_variant(config)
        self.sft = SftTerm(config)
        self.requires = self.policy.requires | self.sft.requires
        self.mu = 0.0
        self._reward: float | None = None  # of the newest rollouts; set by route, before observe
        if sizes.demos < 1:
            raise ValueError(f"strategy {self.name} needs demonstrations: set the run's `demos` to >= 1")

    def mu_at(self, step: Step) -> float:
        """The weight of the SFT branch in this step, after `adapt`."""
        return self.mu

    def adapt(self, statistics: Mapping[str, float], step: Step) -> None:
        """Sets `self.mu` for this step, once an optimiser step."""
        self.mu = self.mu_at(step)

    def statistics(self, signals: Mapping[str, Tensor]) -> dict[str, float]:
        """Named statistics from the step's signals."""
        return {}

    def plan(self, step: Step) -> SamplingPlan:
        return SamplingPlan(self.sizes.prompts, self.sizes.group, pool=self.sizes.demos)

    def plan_for(self, mu: float) -> SamplingPlan:
        """The plan of a step whose mu is known before it: a branch without weight samples, or reads, nothing."""
        rollouts = (self.sizes.prompts, self.sizes.group) if mu < 1.0 else (0, 0)
        return SamplingPlan(*rollouts, pool=self.sizes.demos if mu > 0.0 else 0)

    def route(self, groups: Sequence[Group], pool: Sequence[Row], step: Step) -> list[Row]:
        rewards = [row.reward for group in groups for row in group.rollouts]
        self._reward = sum(rewards) / len(rewards) if rewards else None
        return super().route(self.policy.select(groups), pool, step)

    def advantages(self, batch: Batch) -> Tensor:
        return self.policy.advantages(batch)

    def observe(self, signals: Mapping[str, Tensor], step: Step) -> None:
        statistics = self.statistics(signals) if signals else {}
        if self._reward is not None:
            statistics["reward"] = self._reward
        self.adapt(statistics, step)

    def components(self, batch: Batch, step: Step) -> list[Component]:
        return self.weighted(batch, 1.0 - self.mu_at(step), self.mu_at(step))

    def weighted(self, batch: Batch, rl: float, sft: float) -> list[Component]:
        """Both branches with their weights; one without weight has no terms, and needs no tensors."""
        terms = self.policy.components(batch, rl) if rl else []
        return [*terms, *self.sft.components(batch, sft)] if sft else terms

    def branches(self, batch: Batch, step: Step) -> dict[str, list[Component]]:
        return {"rl": self.policy.components(batch), "sft": self.sft.components(batch)}

    def soft_target(self, ref_log_probs: Tensor, target: Tensor) -> Tensor:
        return self.sft.soft_target(ref_log_probs, target)

    def metrics(self) -> dict[str, float]:
        return {"mu": self.mu}

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.STATE}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """ValueError if the fields are not those of `state_dict`."""
        if set(state) != set(self.STATE):
            raise ValueError(f"state of strategy {self.name} must have the fields {self.STATE}, not {sorted(state)}")
        for name in self.STATE:
            setattr(self, name, state[name])
